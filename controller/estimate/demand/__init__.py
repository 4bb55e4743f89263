"""Demand: what arrives at a service now, what it will be when a new replica is ready, and how good that was. Pure
functions over frozen values; ``now`` is an argument."""
