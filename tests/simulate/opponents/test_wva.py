"""WVA's saturation analyzers by the examples of its docs/user-guide/saturation-analyzer.md and
docs/developer-guide/saturation-scaling-config.md (https://github.com/llm-d/llm-d-workload-variant-autoscaler)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from controller.simulate.opponents.wva import (
    Peak,
    Percentage,
    Recent,
    Tokens,
    TokensSettings,
    Wva,
    WvaSettings,
)
from controller.simulate.sight import Sight

MakeSight = Callable[..., Sight]


def recent(*peaks: tuple[float, int], lengths: tuple[float, float] | None = None) -> Recent:
    return Recent(
        peaks=tuple(Peak(kv_cache_ratio=kv, waiting=waiting) for kv, waiting in peaks),
        arrivals_per_s=0.0,
        input_tokens=lengths[0] if lengths else None,
        output_tokens=lengths[1] if lengths else None,
    )


@pytest.mark.parametrize(
    ("case", "peaks", "step"),
    [
        ("65 % and 72 % leave 11.5 % on average: enough", [(0.65, 0), (0.72, 0)], 0),
        ("65 % and 76 % leave 9.5 %: too little", [(0.65, 0), (0.76, 0)], 1),
        ("3 waiting leave 2 of 5: too little", [(0.1, 3), (0.1, 3)], 1),
        ("all saturated", [(0.9, 0), (0.1, 5)], 1),
        ("30 % on two would be 60 % on one", [(0.3, 0), (0.3, 0)], -1),
        ("36 % on two would be 72 % on one", [(0.36, 0), (0.36, 0)], 0),
        ("one is never taken away", [(0.0, 0)], 0),
        ("only unsaturated ones count", [(0.3, 0), (0.9, 9)], 0),
    ],
)
def test_v1_steps(sight: MakeSight, case: str, peaks: list[tuple[float, int]], step: int) -> None:
    assert Percentage().wanted(sight(ready=len(peaks)), recent(*peaks)) == len(peaks) + step


def test_v1_decides_nothing_while_its_last_change_is_under_way(sight: MakeSight) -> None:
    v1 = Percentage()
    full = recent((0.79, 0), (0.79, 0))
    assert v1.wanted(sight(ready=2), full) == 3
    assert v1.wanted(sight(ready=2, starting=1), full) == 3
    assert v1.wanted(sight(ready=2, starting=1), full) == 3
    assert v1.wanted(sight(ready=3), full) == 4


SETTINGS = TokensSettings(token_budget=8192, max_sequences=256)
"""Memory bound of the fixture's 400,000 tokens: 320,000."""


@pytest.mark.parametrize(
    ("case", "ready", "starting", "kv", "lengths", "expected"),
    [
        # 2 x 0.7 x 400k = 560k; / 0.85 = 658.8k > 640k
        ("18.8k tokens short are one more", 2, 0, 0.7, None, 3),
        ("which a starting one covers", 2, 1, 0.7, None, 3),
        # 4 x 0.2 x 400k = 320k; / 0.70 = 457k; 1280k - 457k = 823k spare = 2.57 replicas
        ("823k tokens to spare are two fewer", 4, 0, 0.2, None, 2),
        ("between the two thresholds nothing", 2, 0, 0.6, None, 2),
        # n = min(8192 x 100 / 1100, 256) = 256; x 1050 = 268.8k; demand 2 x 0.6 x 400k = 480k / 0.85 = 564.7k
        ("the scheduler's limit bounds the compute", 2, 0, 0.6, (1000.0, 100.0), 3),
    ],
)
def test_v2_capacity_and_demand(
    sight: MakeSight,
    case: str,
    ready: int,
    starting: int,
    kv: float,
    lengths: tuple[float, float] | None,
    expected: int,
) -> None:
    seen = sight(ready=ready, starting=starting)
    assert Tokens(SETTINGS).wanted(seen, recent(*[(kv, 0)] * ready, lengths=lengths)) == expected


def test_v2_learns_the_compute_bound_from_a_saturated_queue(sight: MakeSight) -> None:
    v2 = Tokens(replace(SETTINGS, max_sequences=10_000))
    lengths = (1000.0, 100.0)
    # 40k tokens in use with 5 waiting: capacity 40k each; demand 2 x (40k + 5 x 1000) = 90k; / 0.85 - 80k = 25.9k
    assert v2.wanted(sight(ready=2), recent((0.1, 5), (0.1, 5), lengths=lengths)) == 3
    # remembered: 3 x 40k; demand 3 x 36k = 108k; / 0.85 = 127k
    assert v2.wanted(sight(ready=3), recent(*[(0.09, 0)] * 3, lengths=lengths)) == 4
    # of another length of output nothing is known: 400k x 0.8 again
    assert v2.wanted(sight(ready=3), recent(*[(0.09, 0)] * 3, lengths=(1000.0, 600.0))) == 1


def test_v2_counts_the_gateway_s_queue_in_whole_requests(sight: MakeSight) -> None:
    v2 = Tokens(replace(SETTINGS, cached_ratio=0.5))
    seen = sight(ready=1, waiting_at_router=1000)
    # 1000 x (500 + 100) = 600k; / 0.85 = 706k; capacity 268.8k
    assert v2.wanted(seen, recent((0.0, 0), lengths=(1000.0, 100.0))) == 3


class Always:
    """An analyzer of one mind."""

    def __init__(self, replicas: int) -> None:
        self.replicas = replicas
        self.asked = 0

    words = ""

    def wanted(self, sight: Sight, recent: Recent) -> int:
        self.asked += 1
        return self.replicas


def test_its_loop_comes_round_every_minute_and_the_hpa_follows_by_ten_pods(sight: MakeSight) -> None:
    analyzer = Always(30)
    wva = Wva(WvaSettings(min_replicas=1, max_replicas=40), analyzer)
    scales, current = [], 2
    for look in range(8):
        current = wva.desired(sight(at_s=15.0 * look, ready=current))
        scales.append(current)
    assert scales[:4] == [12, 22, 30, 30]
    assert analyzer.asked == 2


def test_peaks_of_the_last_minute_are_what_it_sees(sight: MakeSight) -> None:
    wva = Wva(WvaSettings(min_replicas=1, max_replicas=40), Percentage())
    for look in range(3):
        wva.desired(sight(at_s=15.0 * look, ready=2, kv_cache_ratio=0.5))
    assert wva.desired(sight(at_s=45.0, ready=2, kv_cache_ratio=0.79)) == 2
    assert wva.desired(sight(at_s=60.0, ready=2, kv_cache_ratio=0.5)) == 3


def test_zero_takes_ten_quiet_minutes_and_one_request_ends_it(sight: MakeSight) -> None:
    wva = Wva(WvaSettings(min_replicas=0, max_replicas=4), Always(1))
    scales = [wva.desired(sight(at_s=15.0 * look, ready=1)) for look in range(45)]
    assert scales.index(0) * 15 == 600
    assert wva.desired(sight(at_s=700.0, ready=0, waiting_at_router=1)) == 1
