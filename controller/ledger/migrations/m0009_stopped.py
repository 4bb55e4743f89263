"""Version 9: operators' stops, and what the safety kernel must remember. All of it by fleet."""

STATEMENTS = (
    """
    CREATE TABLE stop (
        fleet TEXT NOT NULL,
        service TEXT NOT NULL,
        since {timestamp} NOT NULL,
        stopped_by TEXT NOT NULL,
        reason TEXT NOT NULL,
        ends_at {timestamp},
        lifted_at {timestamp},
        lifted_by TEXT,
        PRIMARY KEY (fleet, service, since)
    )
    """,
    """
    CREATE TABLE stop_elsewhere (
        fleet TEXT NOT NULL,
        source TEXT NOT NULL,
        service TEXT NOT NULL,
        since {timestamp} NOT NULL,
        stopped_by TEXT NOT NULL,
        reason TEXT NOT NULL,
        unsure INTEGER NOT NULL,
        PRIMARY KEY (fleet, source, service)
    )
    """,
    """
    CREATE TABLE safety_move (
        fleet TEXT NOT NULL,
        decision_id TEXT NOT NULL,
        position INTEGER NOT NULL,
        at {timestamp} NOT NULL,
        service TEXT NOT NULL,
        variant TEXT NOT NULL,
        replicas INTEGER NOT NULL,
        usd_per_hour DOUBLE PRECISION,
        unwound INTEGER NOT NULL,
        replicas_before INTEGER,
        PRIMARY KEY (fleet, decision_id)
    )
    """,
    """
    CREATE TABLE safety_loss (
        fleet TEXT NOT NULL,
        position INTEGER NOT NULL,
        service TEXT NOT NULL,
        variant TEXT NOT NULL,
        replica TEXT NOT NULL,
        at {timestamp} NOT NULL,
        domain TEXT NOT NULL,
        spot INTEGER NOT NULL,
        PRIMARY KEY (fleet, position)
    )
    """,
    """
    CREATE TABLE safety_storm (
        fleet TEXT NOT NULL,
        domain TEXT NOT NULL,
        since {timestamp} NOT NULL,
        last_at {timestamp} NOT NULL,
        ends_at {timestamp} NOT NULL,
        why TEXT NOT NULL,
        PRIMARY KEY (fleet, domain)
    )
    """,
    """
    CREATE TABLE safety_damping (
        fleet TEXT NOT NULL,
        service TEXT NOT NULL,
        since {timestamp} NOT NULL,
        ends_at {timestamp} NOT NULL,
        hold_s DOUBLE PRECISION NOT NULL,
        PRIMARY KEY (fleet, service)
    )
    """,
)
