"""What a token takes of every variant's engines, as far as looking ahead knows them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from controller.estimate.outlook import Lookout, token_step_of
from controller.estimate.phases import NOTHING_SEEN
from controller.estimate.work import work_rate
from controller.facts.accounts import WorkRate
from controller.facts.demand import Outlook
from controller.facts.missing import Missing
from controller.facts.performance import ReplicaCapacity


def work_rates(
    services: Iterable[str],
    outlooks: Mapping[str, Outlook],
    lookouts: Mapping[str, Lookout],
    cached_token_weight: float = 0.0,
) -> tuple[WorkRate, ...]:
    """One a variant of ``services`` whose capacity is known; nothing of the others, whose hours are split by what was
    known before, or by the engines' own seconds."""
    return tuple(
        rate for name in services for rate in _of_service(name, outlooks[name], lookouts[name], cached_token_weight)
    )


def _of_service(service: str, outlook: Outlook, lookout: Lookout, weight: float) -> Iterator[WorkRate]:
    shape, at = outlook.demand.shape, lookout.mark.at
    if isinstance(shape, Missing) or at is None:
        return
    for name, engine in lookout.engines.items():
        capacity = outlook.capacity.get(name)
        if not isinstance(capacity, ReplicaCapacity) or isinstance(engine.learned, Missing):
            continue
        phases = lookout.phases.get(name, NOTHING_SEEN)
        step = token_step_of(engine.learned, engine.pace)
        rate = work_rate(
            step, capacity, shape, phases, service=service, variant=name, at=at, cached_token_weight=weight
        )
        if not isinstance(rate, Missing):
            yield rate
