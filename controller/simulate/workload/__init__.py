"""Where simulated requests come from: recorded requests, recorded rates, recorded clients, invented shapes, and what
may be done to them. Everything is made block by block from seeds, so that weeks of requests fit in memory and the same
seed gives the same requests. Pure: no I/O, no clock, no randomness without a seed."""
