"""Version 12: how often spot is lost, by variant and failure domain."""

STATEMENTS = (
    """
    CREATE TABLE spot_record (
        service TEXT NOT NULL,
        variant TEXT NOT NULL,
        domain TEXT NOT NULL,
        replica_hours DOUBLE PRECISION NOT NULL,
        losses DOUBLE PRECISION NOT NULL,
        at {timestamp} NOT NULL,
        lost_at {timestamp},
        PRIMARY KEY (service, variant, domain)
    )
    """,
)
