"""Version 13: decisions that change a variant's engines, not their number."""

STATEMENTS = ("ALTER TABLE decision ADD COLUMN change TEXT NOT NULL DEFAULT ''",)
