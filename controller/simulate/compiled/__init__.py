"""The simulator's inner loop, compiled by numba: plain functions over the arrays of layout.py, with no other state."""
