"""Version 3: what the next pass must remember, and the operators' pauses."""

STATEMENTS = (
    """
    CREATE TABLE service_memory (
        service TEXT NOT NULL PRIMARY KEY,
        live_since {timestamp},
        idle_since {timestamp},
        foreign_until {timestamp}
    )
    """,
    """
    CREATE TABLE recommendation (
        service TEXT NOT NULL,
        position INTEGER NOT NULL,
        at {timestamp} NOT NULL,
        wanted INTEGER NOT NULL,
        PRIMARY KEY (service, position)
    )
    """,
    """
    CREATE TABLE scale_event (
        service TEXT NOT NULL,
        position INTEGER NOT NULL,
        at {timestamp} NOT NULL,
        variant TEXT NOT NULL,
        replicas_before INTEGER NOT NULL,
        replicas_after INTEGER NOT NULL,
        PRIMARY KEY (service, position)
    )
    """,
    """
    CREATE TABLE given_up (
        service TEXT NOT NULL,
        replica TEXT NOT NULL,
        at {timestamp} NOT NULL,
        PRIMARY KEY (service, replica)
    )
    """,
    """
    CREATE TABLE expected_replicas (
        service TEXT NOT NULL,
        variant TEXT NOT NULL,
        replicas INTEGER NOT NULL,
        PRIMARY KEY (service, variant)
    )
    """,
    """
    CREATE TABLE alert_state (
        service TEXT NOT NULL,
        name TEXT NOT NULL,
        phase TEXT NOT NULL,
        since {timestamp} NOT NULL,
        last_sent {timestamp},
        cleared_since {timestamp},
        PRIMARY KEY (service, name)
    )
    """,
    """
    CREATE TABLE pause (
        service TEXT NOT NULL,
        since {timestamp} NOT NULL,
        paused_by TEXT NOT NULL,
        reason TEXT NOT NULL,
        resumed_at {timestamp},
        resumed_by TEXT,
        PRIMARY KEY (service, since)
    )
    """,
)
