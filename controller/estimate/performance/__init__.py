"""How fast an engine is and what it carries: a prior from tables, what the readings correct, and the queueing between
them. Pure arithmetic."""
