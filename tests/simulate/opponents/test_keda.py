"""KEDA between zero and one; an HPA above. https://keda.sh/docs/latest/reference/scaledobject-spec/"""

from __future__ import annotations

from collections.abc import Callable

from controller.simulate.opponents.keda import Fallback, Keda, KedaSettings
from controller.simulate.sight import Sight

MakeSight = Callable[..., Sight]


def test_the_total_is_divided_by_the_threshold(sight: MakeSight) -> None:
    assert Keda(KedaSettings(threshold=5)).desired(sight(ready=4, waiting=9)) == 8  # 36 / 5 = 7.2
    counting = Keda(KedaSettings(threshold=50, count_running=True))
    assert counting.desired(sight(ready=2, running=60, waiting=9, waiting_at_router=2)) == 3  # 140 / 50


def test_the_router_s_queue_wakes_it_from_zero_at_a_poll(sight: MakeSight) -> None:
    keda = Keda(KedaSettings(threshold=5))
    assert keda.desired(sight(at_s=0.0, ready=0)) == 0
    assert keda.desired(sight(at_s=15.0, ready=0, waiting_at_router=40)) == 0  # polls are 30 s apart
    assert keda.desired(sight(at_s=30.0, ready=0, waiting_at_router=40)) == 1


def test_a_queue_at_the_activation_threshold_does_not_wake_it(sight: MakeSight) -> None:
    keda = Keda(KedaSettings(threshold=5, activation_threshold=40))
    assert keda.desired(sight(ready=0, waiting_at_router=40)) == 0
    assert keda.desired(sight(at_s=30.0, ready=0, waiting_at_router=41)) == 1


def test_the_cooldown_only_delays_the_way_to_zero(sight: MakeSight) -> None:
    keda = Keda(KedaSettings(threshold=5))
    current, scales = 4, []
    for look in range(41):
        current = keda.desired(sight(at_s=15.0 * look, ready=current, waiting=5 if look <= 2 and current else 0))
        scales.append(current)
    assert scales[20] == 4  # the HPA's own 300 s
    assert scales[21] == 4
    assert 0 in scales
    assert scales.index(0) == 22  # active at the poll at 30 s, so zero 300 s after


def test_with_a_minimum_there_is_no_cooldown_and_no_zero(sight: MakeSight) -> None:
    keda = Keda(KedaSettings(threshold=5, min_replicas=2))
    assert [keda.desired(sight(at_s=15.0 * look, ready=2)) for look in range(60)] == [2] * 60


def test_engines_that_do_not_answer_read_as_an_empty_queue_unless_told_otherwise(sight: MakeSight) -> None:
    blind = [sight(at_s=30.0 * look, ready=0, starting=4) for look in range(12)]
    default = Keda(KedaSettings(threshold=5, min_replicas=1))
    assert [default.desired(one) for one in blind][-1] == 1
    told = Keda(KedaSettings(threshold=5, min_replicas=1, ignore_null_values=False))
    assert [told.desired(one) for one in blind] == [4] * 12


def test_the_fallback_comes_after_its_failures(sight: MakeSight) -> None:
    settings = KedaSettings(threshold=5, min_replicas=1, ignore_null_values=False, fallback=Fallback(replicas=6))
    keda = Keda(settings)
    assert [keda.desired(sight(at_s=30.0 * look, ready=0, starting=4)) for look in range(4)] == [4, 4, 6, 6]
