"""Version 15: what was announced about machines, by fleet: a queue tells it once."""

STATEMENTS = (
    """
    CREATE TABLE notice (
        fleet TEXT NOT NULL,
        node TEXT NOT NULL,
        kind TEXT NOT NULL,
        undated INTEGER NOT NULL,
        announcement TEXT NOT NULL,
        at {timestamp} NOT NULL,
        heard_at {timestamp} NOT NULL,
        deadline {timestamp},
        source TEXT NOT NULL,
        PRIMARY KEY (fleet, node, kind, undated, announcement)
    )
    """,
)
