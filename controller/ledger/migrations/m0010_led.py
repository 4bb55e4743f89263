"""Version 10: who led when, and under which epoch everything was decided and done."""

STATEMENTS = (
    """
    CREATE TABLE leadership (
        fleet TEXT NOT NULL,
        epoch BIGINT NOT NULL,
        holder TEXT NOT NULL,
        since {timestamp},
        PRIMARY KEY (fleet, epoch)
    )
    """,
    "ALTER TABLE decision ADD COLUMN epoch BIGINT",
    "ALTER TABLE action ADD COLUMN epoch BIGINT",
)
