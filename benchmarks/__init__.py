"""Speed beside the programs that people use today: ``python -m benchmarks``."""
