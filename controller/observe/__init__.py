"""Reads engines, GPUs, Prometheus servers and discovery: one file a source. Converts units once, decides nothing."""
