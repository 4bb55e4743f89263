"""Version 5: which replicas are ready, and which were lost after they had served."""

STATEMENTS = (
    """
    CREATE TABLE ready_replica (
        service TEXT NOT NULL,
        replica TEXT NOT NULL,
        since {timestamp} NOT NULL,
        PRIMARY KEY (service, replica)
    )
    """,
    """
    CREATE TABLE lost_replica (
        service TEXT NOT NULL,
        replica TEXT NOT NULL,
        at {timestamp} NOT NULL,
        PRIMARY KEY (service, replica)
    )
    """,
)
