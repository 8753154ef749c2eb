"""Measurements: `python -m bench` makes workloads, times whole processes and writes a table and plots (README.md)."""
