"""Version 1: what was measured and what it cost."""

STATEMENTS = (
    """
    CREATE TABLE passes (
        at {timestamp} NOT NULL PRIMARY KEY,
        mode TEXT NOT NULL,
        services INTEGER NOT NULL,
        replicas INTEGER NOT NULL,
        duration_s DOUBLE PRECISION
    )
    """,
    """
    CREATE TABLE pass_problem (
        at {timestamp} NOT NULL,
        position INTEGER NOT NULL,
        problem TEXT NOT NULL,
        PRIMARY KEY (at, position)
    )
    """,
    """
    CREATE TABLE replica_minute (
        minute {timestamp} NOT NULL,
        service TEXT NOT NULL,
        variant TEXT NOT NULL,
        replica TEXT NOT NULL,
        capacity_type TEXT NOT NULL,
        gpus INTEGER NOT NULL,
        ready_s DOUBLE PRECISION NOT NULL,
        starting_s DOUBLE PRECISION NOT NULL,
        draining_s DOUBLE PRECISION NOT NULL,
        failed_s DOUBLE PRECISION NOT NULL,
        covered_s DOUBLE PRECISION NOT NULL,
        missing_s DOUBLE PRECISION NOT NULL,
        missing_why TEXT NOT NULL,
        prompt_tokens DOUBLE PRECISION,
        cached_prompt_tokens DOUBLE PRECISION,
        output_tokens DOUBLE PRECISION,
        requests DOUBLE PRECISION,
        rejections DOUBLE PRECISION,
        preemptions DOUBLE PRECISION,
        running_integral DOUBLE PRECISION,
        running_s DOUBLE PRECISION NOT NULL,
        queue_depth_integral DOUBLE PRECISION,
        queue_depth_s DOUBLE PRECISION NOT NULL,
        kv_cache_ratio_integral DOUBLE PRECISION,
        kv_cache_ratio_s DOUBLE PRECISION NOT NULL,
        mfu_ratio_integral DOUBLE PRECISION,
        mfu_ratio_s DOUBLE PRECISION NOT NULL,
        energy_j DOUBLE PRECISION,
        cost_nanousd BIGINT,
        unpriced_s DOUBLE PRECISION NOT NULL,
        PRIMARY KEY (minute, service, variant, replica, capacity_type)
    )
    """,
    "CREATE INDEX replica_minute_by_service ON replica_minute (service, minute)",
    """
    CREATE TABLE service_minute (
        minute {timestamp} NOT NULL,
        service TEXT NOT NULL,
        variant TEXT NOT NULL,
        replicas_current INTEGER NOT NULL,
        replicas_ready INTEGER NOT NULL,
        replicas_desired INTEGER,
        gpus INTEGER NOT NULL,
        ttft_p50_s DOUBLE PRECISION,
        ttft_p95_s DOUBLE PRECISION,
        ttft_p99_s DOUBLE PRECISION,
        tpot_p50_s DOUBLE PRECISION,
        tpot_p95_s DOUBLE PRECISION,
        tpot_p99_s DOUBLE PRECISION,
        e2e_p95_s DOUBLE PRECISION,
        queue_time_p95_s DOUBLE PRECISION,
        queue_depth DOUBLE PRECISION,
        running DOUBLE PRECISION,
        kv_cache_ratio DOUBLE PRECISION,
        prefix_hit_ratio DOUBLE PRECISION,
        acceptance_ratio DOUBLE PRECISION,
        mfu_ratio DOUBLE PRECISION,
        mbu_ratio DOUBLE PRECISION,
        gpu_utilization_ratio DOUBLE PRECISION,
        power_w DOUBLE PRECISION,
        joules_per_token DOUBLE PRECISION,
        requests_per_s DOUBLE PRECISION,
        rejections_per_s DOUBLE PRECISION,
        prompt_tokens_per_s DOUBLE PRECISION,
        output_tokens_per_s DOUBLE PRECISION,
        usd_per_hour DOUBLE PRECISION,
        usd_per_million_output_tokens DOUBLE PRECISION,
        usd_per_million_tokens DOUBLE PRECISION,
        output_tokens_per_usd DOUBLE PRECISION,
        tokens_per_usd DOUBLE PRECISION,
        PRIMARY KEY (minute, service, variant)
    )
    """,
    "CREATE INDEX service_minute_by_service ON service_minute (service, variant, minute)",
    """
    CREATE TABLE counter_mark (
        target_url TEXT NOT NULL,
        series TEXT NOT NULL,
        started_s DOUBLE PRECISION,
        value DOUBLE PRECISION NOT NULL,
        at {timestamp} NOT NULL,
        PRIMARY KEY (target_url, series)
    )
    """,
    """
    CREATE TABLE gap (
        started_at {timestamp} NOT NULL,
        ended_at {timestamp} NOT NULL,
        why TEXT NOT NULL,
        PRIMARY KEY (started_at, ended_at)
    )
    """,
)
