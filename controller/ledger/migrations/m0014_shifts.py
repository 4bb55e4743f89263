"""Version 14: sums of six hours, so that a window which ends within a day is a few rows; and of all grains by team.

Shifts are made of the last two weeks only, so that a daemon is not kept from starting for long. Older hours stay hours,
until `pennyweight ledger rebuild` makes theirs too.
"""

NAMES = (
    "prefill_nanousd, cached_nanousd, decode_nanousd, unmeasured_nanousd, idle_warm_nanousd, idle_unscheduled_nanousd, "
    "idle_stuck_nanousd, idle_stranded_nanousd, overhead_starting_nanousd, overhead_draining_nanousd, "
    "overhead_swapping_nanousd, overhead_interrupted_nanousd, uncached, cached, output, requests"
)
CAPACITY = f"{NAMES}, list_nanousd, contracted_nanousd, billed_nanousd, gpu_us, covered_us, unpriced_us, energy_j"

THROUGH = "((SELECT MAX(hour) FROM hour_state WHERE state = 'settled') + 1) / 6 * 6"
"""Where the last shift ends all of whose hours are settled; NULL, and so before everything, where none is."""

RECENT = f"hour >= {THROUGH} - 14 * 24 AND hour < {THROUGH}"
SPEND = f"INSERT INTO spend (grain, scope, start, pool, identity, {NAMES})"
OF_TEAM = "(SELECT team, MIN(id) AS id FROM identity GROUP BY team) AS of_team"


def _sums(names: str) -> str:
    return ", ".join(f"SUM({name})" for name in names.split(", "))


STATEMENTS = (
    f"""
    {SPEND}
    SELECT 6, 1, hour / 6 * 6, pool, identity, {_sums(NAMES)}
    FROM allocation_hour WHERE {RECENT} GROUP BY hour / 6 * 6, pool, identity
    """,
    f"""
    {SPEND}
    SELECT 6, 0, start, 0, identity, {_sums(NAMES)}
    FROM spend WHERE grain = 6 AND scope = 1 GROUP BY start, identity
    """,
    f"""
    {SPEND}
    SELECT 6, 2, start, pool, 0, {_sums(NAMES)}
    FROM spend WHERE grain = 6 AND scope = 1 GROUP BY start, pool
    """,
    f"""
    {SPEND}
    SELECT grain, 3, start, pool, of_team.id, {_sums(NAMES)}
    FROM spend JOIN identity ON identity.id = spend.identity JOIN {OF_TEAM} ON of_team.team = identity.team
    WHERE grain IN (6, 24, 168) AND scope = 1 GROUP BY grain, start, pool, of_team.id
    """,
    f"""
    INSERT INTO capacity_spend (grain, start, seat, {CAPACITY})
    SELECT 6, hour / 6 * 6, seat, {_sums(CAPACITY)} FROM cost_hour WHERE {RECENT} GROUP BY hour / 6 * 6, seat
    """,
)
