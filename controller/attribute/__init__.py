"""Whose cost it was: pure functions from what an hour cost and did to lines that add up to it, to the nanodollar."""
