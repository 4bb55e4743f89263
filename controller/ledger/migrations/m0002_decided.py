"""Version 2: what was decided, attempted and achieved, and what people were told."""

STATEMENTS = (
    """
    CREATE TABLE decision (
        id TEXT NOT NULL PRIMARY KEY,
        at {timestamp} NOT NULL,
        mode TEXT NOT NULL,
        service TEXT NOT NULL,
        variant TEXT NOT NULL,
        replicas_current INTEGER NOT NULL,
        replicas_ready INTEGER NOT NULL,
        replicas_desired INTEGER NOT NULL,
        replicas_wanted INTEGER NOT NULL,
        because TEXT NOT NULL,
        detail TEXT NOT NULL,
        signal TEXT NOT NULL,
        usd_per_hour_before DOUBLE PRECISION,
        usd_per_hour_before_missing TEXT,
        usd_per_hour_before_why TEXT,
        usd_per_hour_after DOUBLE PRECISION,
        usd_per_hour_after_missing TEXT,
        usd_per_hour_after_why TEXT
    )
    """,
    "CREATE INDEX decision_by_time ON decision (at)",
    "CREATE INDEX decision_by_service ON decision (service, at)",
    """
    CREATE TABLE decision_number (
        decision_id TEXT NOT NULL REFERENCES decision (id) ON DELETE CASCADE,
        name TEXT NOT NULL,
        value DOUBLE PRECISION,
        PRIMARY KEY (decision_id, name)
    )
    """,
    """
    CREATE TABLE decision_victim (
        decision_id TEXT NOT NULL REFERENCES decision (id) ON DELETE CASCADE,
        position INTEGER NOT NULL,
        replica TEXT NOT NULL,
        PRIMARY KEY (decision_id, position)
    )
    """,
    """
    CREATE TABLE action (
        decision_id TEXT NOT NULL PRIMARY KEY REFERENCES decision (id) ON DELETE CASCADE,
        at {timestamp} NOT NULL
    )
    """,
    """
    CREATE TABLE outcome (
        decision_id TEXT NOT NULL PRIMARY KEY REFERENCES decision (id) ON DELETE CASCADE,
        service TEXT NOT NULL,
        variant TEXT NOT NULL,
        kind TEXT NOT NULL,
        detail TEXT NOT NULL,
        at {timestamp} NOT NULL
    )
    """,
    """
    CREATE TABLE alert_event (
        at {timestamp} NOT NULL,
        service TEXT NOT NULL,
        name TEXT NOT NULL,
        phase TEXT NOT NULL,
        severity TEXT NOT NULL,
        condition TEXT NOT NULL,
        summary TEXT NOT NULL,
        remedy TEXT NOT NULL,
        since {timestamp} NOT NULL,
        PRIMARY KEY (at, service, name, phase)
    )
    """,
)
