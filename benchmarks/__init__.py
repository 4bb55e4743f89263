"""Measurements that anybody can repeat; their figures are in BENCHMARKS.md."""
