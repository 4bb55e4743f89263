"""Emulated engines, fleets and traffic: what serving would do, step by step. Pure: no I/O, no clock, no randomness
without a seed. The demo serves it over HTTP; the simulator will run whole traces through it."""
