"""The command line: argparse, one file per command."""
