"""What an hour is settled from is what the daemon's passes wrote."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from controller.facts.accounts import STRANDED, WorkRate
from controller.facts.fleet import CapacityType
from controller.facts.readings import Counter, Phase
from controller.ledger.accounts.hours import hour_of
from controller.ledger.accounts.inputs import Names, found, hour_seen
from controller.ledger.accounts.rates import COEFFICIENTS
from controller.ledger.accounts.settle import Settler
from controller.ledger.accounts.verify import verify
from controller.ledger.engine import reader_engine, writer_engine
from controller.ledger.write import Ledger


@pytest.fixture
def seen(url: str, ledger: Ledger) -> Any:
    """Reads what an hour is settled from."""

    def read(hour: int) -> Any:
        writing, reading = writer_engine(url), reader_engine(url)
        try:
            with reading.begin() as connection:
                rows = found(connection, hour)
            return hour_seen(rows, Names(writing, reading), {}, {})
        finally:
            writing.dispose()
            reading.dispose()

    return read


@pytest.fixture
def passes(ledger: Ledger, make: Any) -> Any:
    """Records a pass every ``step_s`` from noon on; ``uses(start_s, end_s)`` are those of each."""

    def recorded(count: int, step_s: int, uses: Any, **given: Any) -> None:
        for number in range(count):
            start = number * step_s
            ledger.record_intent(make.record(start + step_s, uses=uses(start, start + step_s), **given))

    return recorded


def by_replica(hour: Any, flags: Any) -> dict[str, bool]:
    """Whether any minute of each replica has the flag."""
    told: dict[str, bool] = {}
    for seat, flag in zip(hour.seen.seat.tolist(), flags.tolist(), strict=True):
        name = hour.book.seats[seat].replica
        told[name] = told.get(name, False) or flag
    return told


def test_costs_phases_and_nodes_of_passes_are_what_is_settled(passes, seen, make) -> None:
    def uses(start: float, end: float) -> Any:
        told = {"prefill_s": 1.5, "decode_s": 9.0, "node": "n1", "counts": {Counter.OUTPUT_TOKENS: 100.0}}
        costs = {"cost_nanousd": 100, "list_nanousd": 400, "contracted_nanousd": 300, "billed_nanousd": 0}
        lost = {"replica": STRANDED, "gpus": 6, "missing": "nobody uses them", "cost_nanousd": 7}
        return (make.use(start, end, **told, **costs), make.use(start, end, **lost))

    passes(40, 30, uses)
    hour = seen(hour_of(make.noon))
    seats = {hour.book.seats[seat].replica: hour.book.seats[seat].node for seat in hour.seen.seat.tolist()}
    assert seats == {"chat-0": "n1", STRANDED: ""}
    assert hour.seen.costs.sum(axis=0).tolist() == [40 * 400, 40 * 300, 40 * 107, 0]
    replicas = [hour.book.seats[seat].replica == "chat-0" for seat in hour.seen.seat.tolist()]
    assert (hour.seen.prefill_s[replicas].sum(), hour.seen.decode_s[replicas].sum()) == (60.0, 360.0)
    stranded = hour.seen.taken(~hour.seen.known[:, 0])
    assert len(stranded.seat) == 20, "nobody told what stranded GPUs are at list price"


def test_what_every_minute_was_asked_for_is_known_also_when_passes_are_rarer(passes, seen, make) -> None:
    decision = make.decision(0, desired=3)
    passes(1, 240, lambda start, end: (), decisions=(decision,))
    first = (make.at(240) - make.at(0)).seconds // 60
    asked = seen(hour_of(make.noon)).asked
    minutes = sorted(minute - hour_of(make.noon) * 60 for _, _, minute in asked)
    assert minutes == list(range(first, first + 15)), "a quarter of an hour, and not for ever"
    assert set(asked.values()) == {3.0}


def test_starting_while_another_variant_drains_is_swapping(passes, seen, make) -> None:
    def uses(start: float, end: float) -> Any:
        return (
            make.use(start, end, replica="old", variant="h100", phase=Phase.DRAINING),
            make.use(start, end, replica="new", variant="l40s", phase=Phase.STARTING),
            make.use(start, end, replica="more", variant="h100", phase=Phase.READY),
        )

    passes(4, 30, uses)
    hour = seen(hour_of(make.noon))
    assert by_replica(hour, hour.seen.swapping) == {"old": False, "new": True, "more": False}


@pytest.mark.parametrize(("lost", "stands_in"), [(CapacityType.SPOT, True), (CapacityType.ON_DEMAND, False)])
def test_starting_after_a_spot_replica_failed_stands_in_for_it(passes, seen, make, lost, stands_in) -> None:
    def uses(start: float, end: float) -> Any:
        failed = (make.use(start, end, replica="gone", capacity_type=lost, phase=Phase.FAILED),) if start == 0 else ()
        return (*failed, make.use(start, end, replica="next", phase=Phase.STARTING))

    passes(4, 30, uses)
    hour = seen(hour_of(make.noon))
    assert by_replica(hour, hour.seen.replaces_interrupted)["next"] is stands_in


@pytest.fixture
def settler(url: str, ledger: Ledger) -> Iterator[Settler]:
    with closing(Settler(url)) as made:
        yield made


def test_the_rates_of_a_pass_split_its_hours(url, ledger, settler, make) -> None:
    rate = WorkRate(
        service="chat",
        variant="h100",
        at=make.at(30),
        basis="learned",
        band_ratio=0.1,
        **dict.fromkeys(COEFFICIENTS, 0.0) | {"prefill_s_per_token": 0.001, "decode_s_per_token": 0.02},
        **dict.fromkeys(("mean_uncached", "mean_cached", "mean_output"), 100.0),
    )
    counts = {Counter.PROMPT_TOKENS: 3000.0, Counter.OUTPUT_TOKENS: 300.0, Counter.REQUESTS: 3.0}
    ledger.record_intent(make.record(30, uses=(make.use(0, 30, counts=counts, cost_nanousd=30_000_000),)))
    ledger.record_outcomes(make.result(30, work_rates=(rate,)), make.record(30).memory)
    settler.settle(make.at(4 * 3600))
    engine = reader_engine(url)
    with engine.begin() as connection:
        parts = connection.exec_driver_sql(
            "SELECT prefill_nanousd, decode_nanousd, idle_unscheduled_nanousd FROM cost_hour"
        ).all()
    engine.dispose()
    assert [tuple(one) for one in parts] == [(3_000_000, 6_000_000, 21_000_000)]
    assert verify(url).balances
