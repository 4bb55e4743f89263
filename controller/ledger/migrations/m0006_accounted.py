"""Version 6: usage records as sums, hours as lines, and the cubes that answer questions about months.

Times of these tables are whole minutes, hours or days since 1970 UTC: small keys, the same on both engines.
"""

PARTS = """
        prefill_nanousd BIGINT NOT NULL,
        cached_nanousd BIGINT NOT NULL,
        decode_nanousd BIGINT NOT NULL,
        unmeasured_nanousd BIGINT NOT NULL,
        idle_warm_nanousd BIGINT NOT NULL,
        idle_unscheduled_nanousd BIGINT NOT NULL,
        idle_stuck_nanousd BIGINT NOT NULL,
        idle_stranded_nanousd BIGINT NOT NULL,
        overhead_starting_nanousd BIGINT NOT NULL,
        overhead_draining_nanousd BIGINT NOT NULL,
        overhead_swapping_nanousd BIGINT NOT NULL,
        overhead_interrupted_nanousd BIGINT NOT NULL
"""

TOKENS = """
        uncached BIGINT NOT NULL,
        cached BIGINT NOT NULL,
        output BIGINT NOT NULL,
        requests BIGINT NOT NULL
"""

CAPACITY = """
        list_nanousd BIGINT,
        contracted_nanousd BIGINT,
        billed_nanousd BIGINT,
        gpu_us BIGINT NOT NULL,
        covered_us BIGINT NOT NULL,
        unpriced_us BIGINT NOT NULL,
        energy_j DOUBLE PRECISION
"""

STATEMENTS = (
    "ALTER TABLE replica_minute ADD COLUMN list_nanousd BIGINT",
    "ALTER TABLE replica_minute ADD COLUMN contracted_nanousd BIGINT",
    "ALTER TABLE replica_minute ADD COLUMN billed_nanousd BIGINT",
    "ALTER TABLE replica_minute ADD COLUMN node TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE replica_minute ADD COLUMN prefill_s DOUBLE PRECISION",
    "ALTER TABLE replica_minute ADD COLUMN decode_s DOUBLE PRECISION",
    "ALTER TABLE replica_minute ADD COLUMN engine_steps DOUBLE PRECISION",
    """
    CREATE TABLE pool (
        id {id},
        service TEXT NOT NULL,
        variant TEXT NOT NULL,
        capacity_type TEXT NOT NULL,
        UNIQUE (service, variant, capacity_type)
    )
    """,
    """
    CREATE TABLE seat (
        id {id},
        service TEXT NOT NULL,
        variant TEXT NOT NULL,
        replica TEXT NOT NULL,
        capacity_type TEXT NOT NULL,
        node TEXT NOT NULL,
        pool INTEGER NOT NULL,
        UNIQUE (service, variant, replica, capacity_type, node)
    )
    """,
    """
    CREATE TABLE identity (
        id {id},
        team TEXT NOT NULL,
        tenant TEXT NOT NULL,
        feature TEXT NOT NULL,
        environment TEXT NOT NULL,
        api_key TEXT NOT NULL,
        UNIQUE (team, tenant, feature, environment, api_key)
    )
    """,
    """
    INSERT INTO identity (id, team, tenant, feature, environment, api_key) VALUES
        (1, '__unattributed__', '', '', '', ''),
        (2, '__idle__', '', '', '', ''),
        (3, '__overhead__', '', '', '', ''),
        (4, '__other__', '', '', '', ''),
        (5, '__shared__', '', '', '', ''),
        (6, '__adjustment__', '', '', '', '')
    """,
    """
    CREATE TABLE work_rate (
        service TEXT NOT NULL,
        variant TEXT NOT NULL,
        at {timestamp} NOT NULL,
        prefill_s_per_token DOUBLE PRECISION NOT NULL,
        prefill_s_per_square DOUBLE PRECISION NOT NULL,
        cached_s_per_cross DOUBLE PRECISION NOT NULL,
        cached_s_per_token DOUBLE PRECISION NOT NULL,
        decode_s_per_token DOUBLE PRECISION NOT NULL,
        decode_s_per_context DOUBLE PRECISION NOT NULL,
        mean_uncached DOUBLE PRECISION NOT NULL,
        mean_cached DOUBLE PRECISION NOT NULL,
        mean_output DOUBLE PRECISION NOT NULL,
        basis TEXT NOT NULL,
        band_ratio DOUBLE PRECISION NOT NULL,
        uncached_cv DOUBLE PRECISION NOT NULL,
        PRIMARY KEY (service, variant, at)
    )
    """,
    """
    CREATE TABLE usage_minute (
        minute INTEGER NOT NULL,
        service TEXT NOT NULL,
        variant TEXT NOT NULL,
        identity INTEGER NOT NULL,
        requests BIGINT NOT NULL,
        uncached BIGINT NOT NULL,
        cached BIGINT NOT NULL,
        output BIGINT NOT NULL,
        uncached_sq BIGINT NOT NULL,
        cached_cross BIGINT NOT NULL,
        output_context BIGINT NOT NULL,
        cached_responses BIGINT NOT NULL,
        PRIMARY KEY (minute, service, variant, identity)
    ){rowid}{by_minute}
    """,
    """
    CREATE TABLE usage_seen (
        hour INTEGER NOT NULL,
        a BIGINT NOT NULL,
        b BIGINT NOT NULL,
        PRIMARY KEY (hour, a, b)
    ){rowid}{by_hour}
    """,
    """
    CREATE TABLE usage_hour (
        hour INTEGER NOT NULL,
        source TEXT NOT NULL,
        records BIGINT NOT NULL,
        settled_records BIGINT NOT NULL,
        PRIMARY KEY (hour, source)
    ){rowid}
    """,
    """
    CREATE TABLE usage_source (
        source TEXT NOT NULL PRIMARY KEY,
        watermark_at {timestamp},
        watermark_id TEXT NOT NULL DEFAULT '',
        read_at {timestamp},
        records BIGINT NOT NULL,
        duplicates BIGINT NOT NULL,
        refused BIGINT NOT NULL,
        tokens BIGINT NOT NULL,
        beyond_cap BIGINT NOT NULL
    )
    """,
    f"""
    CREATE TABLE cost_minute (
        minute INTEGER NOT NULL,
        pool INTEGER NOT NULL,
        {PARTS},
        priced_us BIGINT NOT NULL,
        unpriced_us BIGINT NOT NULL,
        PRIMARY KEY (minute, pool)
    ){{rowid}}
    """,
    f"""
    CREATE TABLE cost_hour (
        hour INTEGER NOT NULL,
        seat INTEGER NOT NULL,
        revision INTEGER NOT NULL,
        {PARTS},
        {CAPACITY},
        {TOKENS},
        PRIMARY KEY (hour, seat, revision)
    ){{rowid}}
    """,
    f"""
    CREATE TABLE allocation_hour (
        hour INTEGER NOT NULL,
        pool INTEGER NOT NULL,
        identity INTEGER NOT NULL,
        revision INTEGER NOT NULL,
        {PARTS},
        {TOKENS},
        PRIMARY KEY (hour, pool, identity, revision)
    ){{rowid}}
    """,
    "CREATE INDEX allocation_hour_by_identity ON allocation_hour (identity, hour)",
    """
    CREATE TABLE hour_state (
        hour INTEGER NOT NULL PRIMARY KEY,
        state TEXT NOT NULL,
        revision INTEGER NOT NULL,
        worked_at {timestamp} NOT NULL,
        settled_at {timestamp},
        method TEXT NOT NULL,
        note TEXT NOT NULL,
        measured_nanousd BIGINT NOT NULL,
        cost_nanousd BIGINT NOT NULL,
        engine_uncached BIGINT NOT NULL,
        engine_cached BIGINT NOT NULL,
        engine_output BIGINT NOT NULL,
        engine_requests BIGINT NOT NULL,
        logged_uncached BIGINT NOT NULL,
        logged_cached BIGINT NOT NULL,
        logged_output BIGINT NOT NULL,
        logged_requests BIGINT NOT NULL
    )
    """,
    """
    CREATE TABLE allocation_revision (
        hour INTEGER NOT NULL,
        revision INTEGER NOT NULL,
        posted_at {timestamp} NOT NULL,
        why TEXT NOT NULL,
        source TEXT NOT NULL,
        cost_nanousd BIGINT NOT NULL,
        PRIMARY KEY (hour, revision)
    )
    """,
    f"""
    CREATE TABLE spend (
        grain INTEGER NOT NULL,
        scope INTEGER NOT NULL,
        start INTEGER NOT NULL,
        pool INTEGER NOT NULL,
        identity INTEGER NOT NULL,
        {PARTS},
        {TOKENS},
        PRIMARY KEY (grain, scope, start, pool, identity)
    ){{rowid}}
    """,
    f"""
    CREATE TABLE capacity_spend (
        grain INTEGER NOT NULL,
        start INTEGER NOT NULL,
        seat INTEGER NOT NULL,
        {PARTS},
        {CAPACITY},
        {TOKENS},
        PRIMARY KEY (grain, start, seat)
    ){{rowid}}
    """,
)
