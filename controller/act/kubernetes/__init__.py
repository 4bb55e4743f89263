"""Engines as pods: who is there, who leaves, and what they are started with."""
