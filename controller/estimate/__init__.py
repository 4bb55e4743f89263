"""Efficiency and cost: from readings and prices to what they mean. Pure functions over facts; ``now`` is an
argument."""
