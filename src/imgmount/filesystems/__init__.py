"""Formats that hold a tree."""
