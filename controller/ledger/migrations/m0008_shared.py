"""Version 8: several fleets share a ledger, each service with one of them; and why usage records were refused.

What a daemon writes of itself (its passes, their problems, gaps, how far it counted) is kept apart by its fleet.
"""

STATEMENTS = (
    "ALTER TABLE passes RENAME TO passes_before",
    """
    CREATE TABLE passes (
        at {timestamp} NOT NULL,
        fleet TEXT NOT NULL,
        mode TEXT NOT NULL,
        services INTEGER NOT NULL,
        replicas INTEGER NOT NULL,
        duration_s DOUBLE PRECISION,
        PRIMARY KEY (at, fleet)
    )
    """,
    """
    INSERT INTO passes (at, fleet, mode, services, replicas, duration_s)
    SELECT at, '', mode, services, replicas, duration_s FROM passes_before
    """,
    "DROP TABLE passes_before",
    "CREATE INDEX passes_by_fleet ON passes (fleet, at)",
    "ALTER TABLE pass_problem RENAME TO pass_problem_before",
    """
    CREATE TABLE pass_problem (
        at {timestamp} NOT NULL,
        fleet TEXT NOT NULL,
        position INTEGER NOT NULL,
        problem TEXT NOT NULL,
        PRIMARY KEY (at, fleet, position)
    )
    """,
    """
    INSERT INTO pass_problem (at, fleet, position, problem)
    SELECT at, '', position, problem FROM pass_problem_before
    """,
    "DROP TABLE pass_problem_before",
    "ALTER TABLE gap RENAME TO gap_before",
    """
    CREATE TABLE gap (
        started_at {timestamp} NOT NULL,
        ended_at {timestamp} NOT NULL,
        fleet TEXT NOT NULL,
        why TEXT NOT NULL,
        PRIMARY KEY (started_at, ended_at, fleet)
    )
    """,
    "INSERT INTO gap (started_at, ended_at, fleet, why) SELECT started_at, ended_at, '', why FROM gap_before",
    "DROP TABLE gap_before",
    "ALTER TABLE counter_mark RENAME TO counter_mark_before",
    """
    CREATE TABLE counter_mark (
        fleet TEXT NOT NULL,
        target_url TEXT NOT NULL,
        series TEXT NOT NULL,
        started_s DOUBLE PRECISION,
        value DOUBLE PRECISION NOT NULL,
        at {timestamp} NOT NULL,
        PRIMARY KEY (fleet, target_url, series)
    )
    """,
    """
    INSERT INTO counter_mark (fleet, target_url, series, started_s, value, at)
    SELECT '', target_url, series, started_s, value, at FROM counter_mark_before
    """,
    "DROP TABLE counter_mark_before",
    """
    CREATE TABLE fleet_service (
        service TEXT NOT NULL PRIMARY KEY,
        fleet TEXT NOT NULL,
        since {timestamp} NOT NULL
    )
    """,
    """
    CREATE TABLE fleet_capacity (
        service TEXT NOT NULL,
        variant TEXT NOT NULL,
        capacity_type TEXT NOT NULL,
        offer TEXT NOT NULL,
        commitment TEXT NOT NULL,
        PRIMARY KEY (service, variant, capacity_type)
    )
    """,
    """
    CREATE TABLE usage_refused (
        source TEXT NOT NULL,
        day INTEGER NOT NULL,
        reason TEXT NOT NULL,
        records BIGINT NOT NULL,
        PRIMARY KEY (source, day, reason)
    ){rowid}
    """,
)
