"""Before anything is played: how many replicas the busiest minute needs, and whether any number of them is enough."""

from __future__ import annotations

import pytest

from controller.backtest.reach import Reach, reach_told
from controller.facts.missing import Missing

SOME = Reach(requests_per_s=0.4321, wanted=12)
CARRIES = "a replica carries some 0.43 requests/s inside the SLO: the busiest minute needs 12"
NONE = Missing("capacity", "a lone sequence takes 80 ms a token; the SLO allows 50 ms")


@pytest.mark.parametrize(
    ("reaches", "most", "told"),
    [
        ({"fp8": SOME}, 12, CARRIES),
        ({"fp8": SOME}, 8, f"{CARRIES}, and the policy allows no more than 8"),
        (
            {"fp8": Reach(requests_per_s=583.3, wanted=2)},
            8,
            "a replica carries some 580 requests/s inside the SLO: the busiest minute needs 2",
        ),
        ({"fp8": NONE}, 8, f"by estimate no number of replicas keeps the SLO: {NONE.why}"),
        (
            {"fp8": SOME, "bf16": NONE},
            12,
            f"fp8: {CARRIES}; bf16: by estimate no number of replicas keeps the SLO: {NONE.why}",
        ),
    ],
)
def test_it_says_what_a_replica_carries_and_whether_the_policy_allows_enough(reaches, most, told):
    assert reach_told(reaches, most) == told
