"""Version 4: what was learned, what was forecast, how good that was, and what a replica carries."""

STATEMENTS = (
    """
    CREATE TABLE learned_state (
        kind TEXT NOT NULL,
        service TEXT NOT NULL,
        variant TEXT NOT NULL,
        at {timestamp} NOT NULL,
        payload TEXT NOT NULL,
        PRIMARY KEY (kind, service, variant)
    )
    """,
    """
    CREATE TABLE forecast (
        service TEXT NOT NULL,
        horizon_s DOUBLE PRECISION NOT NULL,
        slot {timestamp} NOT NULL,
        made_at {timestamp} NOT NULL,
        due_at {timestamp} NOT NULL,
        p50 DOUBLE PRECISION,
        p90 DOUBLE PRECISION,
        p95 DOUBLE PRECISION,
        p99 DOUBLE PRECISION,
        basis TEXT NOT NULL,
        scored INTEGER NOT NULL,
        PRIMARY KEY (service, horizon_s, slot)
    )
    """,
    "CREATE INDEX forecast_by_slot ON forecast (slot)",
    """
    CREATE TABLE forecast_accuracy (
        service TEXT NOT NULL,
        horizon_s DOUBLE PRECISION NOT NULL,
        hour {timestamp} NOT NULL,
        scored INTEGER NOT NULL,
        error_ratio DOUBLE PRECISION,
        bias_ratio DOUBLE PRECISION,
        unknown_why TEXT NOT NULL,
        coverage TEXT NOT NULL,
        PRIMARY KEY (service, horizon_s, hour)
    )
    """,
    """
    CREATE TABLE capacity (
        service TEXT NOT NULL,
        variant TEXT NOT NULL,
        hour {timestamp} NOT NULL,
        at {timestamp} NOT NULL,
        requests_per_s DOUBLE PRECISION,
        unknown_why TEXT NOT NULL,
        binding TEXT NOT NULL,
        source TEXT NOT NULL,
        band_ratio DOUBLE PRECISION,
        running DOUBLE PRECISION,
        kv_cache_ratio DOUBLE PRECISION,
        busy_ratio DOUBLE PRECISION,
        ttft_s DOUBLE PRECISION,
        tpot_s DOUBLE PRECISION,
        PRIMARY KEY (service, variant, hour)
    )
    """,
)
