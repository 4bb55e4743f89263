"""Version 7: prices and what they were, commitments by the hour, bills and what they change, budgets, closed months.

A seat that a commitment covers in part becomes two: the covered part is a seat of its own, and adds up like any other.
Days and hours are whole ones since 1970 UTC.
"""

STATEMENTS = (
    "ALTER TABLE seat RENAME TO seat_before",
    """
    CREATE TABLE seat (
        id {id},
        service TEXT NOT NULL,
        variant TEXT NOT NULL,
        replica TEXT NOT NULL,
        capacity_type TEXT NOT NULL,
        node TEXT NOT NULL,
        commitment TEXT NOT NULL,
        pool INTEGER NOT NULL,
        UNIQUE (service, variant, replica, capacity_type, node, commitment)
    )
    """,
    """
    INSERT INTO seat (id, service, variant, replica, capacity_type, node, commitment, pool)
    SELECT id, service, variant, replica, capacity_type, node, '', pool FROM seat_before
    """,
    "DROP TABLE seat_before",
    "{count_seats}",
    """
    CREATE TABLE price_quote (
        offer TEXT NOT NULL,
        capacity_type TEXT NOT NULL,
        zone TEXT NOT NULL,
        effective_at {timestamp} NOT NULL,
        currency TEXT NOT NULL,
        nano_per_hour BIGINT NOT NULL,
        gpus INTEGER,
        fetched_at {timestamp} NOT NULL,
        source TEXT NOT NULL,
        PRIMARY KEY (offer, capacity_type, zone, effective_at)
    )
    """,
    """
    CREATE TABLE price_applied (
        service TEXT NOT NULL,
        variant TEXT NOT NULL,
        capacity_type TEXT NOT NULL,
        since {timestamp} NOT NULL,
        list_nanousd BIGINT,
        contracted_nanousd BIGINT,
        effective_nanousd BIGINT,
        billed_nanousd BIGINT,
        currency TEXT NOT NULL,
        source TEXT NOT NULL,
        as_of_day INTEGER,
        why_missing TEXT NOT NULL,
        PRIMARY KEY (service, variant, capacity_type, since)
    )
    """,
    """
    CREATE TABLE commitment (
        id TEXT NOT NULL PRIMARY KEY,
        kind TEXT NOT NULL,
        offer TEXT NOT NULL,
        reference TEXT NOT NULL,
        starts_at {timestamp} NOT NULL,
        ends_at {timestamp} NOT NULL,
        gpus INTEGER NOT NULL
    )
    """,
    """
    CREATE TABLE commitment_hour (
        hour INTEGER NOT NULL,
        commitment TEXT NOT NULL,
        revision INTEGER NOT NULL,
        amortised_nanousd BIGINT NOT NULL,
        used_nanousd BIGINT NOT NULL,
        billed_nanousd BIGINT NOT NULL,
        upfront_nanousd BIGINT NOT NULL,
        covered_on_demand_nanousd BIGINT,
        eligible_on_demand_nanousd BIGINT,
        units BIGINT NOT NULL,
        used_units BIGINT NOT NULL,
        used_gpu_us BIGINT NOT NULL,
        PRIMARY KEY (hour, commitment, revision)
    ){rowid}
    """,
    """
    CREATE TABLE bill (
        sha256 TEXT NOT NULL PRIMARY KEY,
        provider TEXT NOT NULL,
        source TEXT NOT NULL,
        period TEXT NOT NULL,
        first_day INTEGER NOT NULL,
        until_day INTEGER NOT NULL,
        imported_at {timestamp} NOT NULL,
        lines INTEGER NOT NULL,
        billed_nanousd BIGINT NOT NULL,
        effective_nanousd BIGINT NOT NULL
    )
    """,
    """
    CREATE TABLE adjustment (
        id TEXT NOT NULL PRIMARY KEY,
        bill TEXT NOT NULL,
        posted_at {timestamp} NOT NULL,
        key TEXT NOT NULL,
        day INTEGER NOT NULL,
        until_day INTEGER NOT NULL,
        pool INTEGER NOT NULL,
        commitment TEXT NOT NULL,
        cost TEXT NOT NULL,
        amount_nanousd BIGINT NOT NULL,
        estimated_nanousd BIGINT NOT NULL,
        billed_nanousd BIGINT NOT NULL,
        why TEXT NOT NULL
    )
    """,
    """
    CREATE TABLE adjustment_line (
        adjustment TEXT NOT NULL,
        day INTEGER NOT NULL,
        pool INTEGER NOT NULL,
        identity INTEGER NOT NULL,
        amount_nanousd BIGINT NOT NULL,
        PRIMARY KEY (adjustment, day, pool, identity)
    ){rowid}
    """,
    "CREATE INDEX adjustment_line_by_day ON adjustment_line (day)",
    """
    CREATE TABLE budget_period (
        budget TEXT NOT NULL,
        start {timestamp} NOT NULL,
        end_at {timestamp} NOT NULL,
        scope TEXT NOT NULL,
        limit_nanousd BIGINT NOT NULL,
        spent_nanousd BIGINT NOT NULL,
        p50_nanousd BIGINT,
        p90_nanousd BIGINT,
        burn_hour DOUBLE PRECISION,
        burn_six_hours DOUBLE PRECISION,
        burn_day DOUBLE PRECISION,
        burn_three_days DOUBLE PRECISION,
        phase TEXT NOT NULL,
        at_limit TEXT NOT NULL,
        told_threshold DOUBLE PRECISION NOT NULL,
        burning_fast INTEGER NOT NULL,
        burning_slow INTEGER NOT NULL,
        told_p50_day INTEGER,
        told_p90_day INTEGER,
        at {timestamp} NOT NULL,
        PRIMARY KEY (budget, start)
    )
    """,
    """
    CREATE TABLE spend_forecast (
        budget TEXT NOT NULL,
        made_day INTEGER NOT NULL,
        horizon_days INTEGER NOT NULL,
        due_day INTEGER NOT NULL,
        p50_nanousd BIGINT NOT NULL,
        p90_nanousd BIGINT NOT NULL,
        actual_nanousd BIGINT,
        PRIMARY KEY (budget, made_day, horizon_days)
    )
    """,
    """
    CREATE TABLE anomaly (
        scope TEXT NOT NULL,
        began_hour INTEGER NOT NULL,
        last_hour INTEGER NOT NULL,
        ended_hour INTEGER,
        expected_nanousd BIGINT NOT NULL,
        actual_nanousd BIGINT NOT NULL,
        driver TEXT NOT NULL,
        by_driver TEXT NOT NULL,
        PRIMARY KEY (scope, began_hour)
    )
    """,
    """
    CREATE TABLE billing_period (
        month TEXT NOT NULL PRIMARY KEY,
        closed_at {timestamp} NOT NULL,
        closed_by TEXT NOT NULL
    )
    """,
)
