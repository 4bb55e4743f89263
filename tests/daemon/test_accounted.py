"""Two hours of the emulated demo, from what its engines' pages say to hours that balance."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from controller import wiring
from controller.demo.actuator import EmulatedActuator
from controller.demo.emulated import VirtualClock
from controller.demo.files import DemoFiles, write_files
from controller.demo.ports import PortPicker
from controller.demo.world import EmulatedWorld
from controller.facts.accounts import STRANDED, Part
from controller.ledger.accounts.rates import known_rates
from controller.ledger.accounts.settle import Settler
from controller.ledger.accounts.tables import PART_COLUMNS
from controller.ledger.accounts.verify import verify
from controller.ledger.engine import reader_engine
from controller.settings.load import load_settings

START = datetime(2026, 11, 16, 22, tzinfo=UTC)
INTERVAL = timedelta(seconds=60)
COSTS = ("cost_nanousd", "list_nanousd", "contracted_nanousd", "billed_nanousd")


class Outliving:
    """The emulated actuator, whose engines run on when a daemon ends, as real ones do."""

    name = "emulated"

    def __init__(self, actuator: EmulatedActuator) -> None:
        self.replicas = actuator.replicas
        self.apply = actuator.apply

    def close(self) -> None:
        """The engines stay."""


def run(files: DemoFiles, world: EmulatedWorld, clock: VirtualClock, passes: int) -> None:
    """The real daemon, new, for so many passes."""
    settings = load_settings(files.fleet, {})
    with wiring.built(settings, clock=clock, actuators={"emulated": Outliving(world.actuator)}) as built:
        for _ in range(passes):
            world.advance(clock.now.timestamp())
            built.daemon.step()
            clock.now += INTERVAL


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> DemoFiles:
    """After two hours with a restart in between. On demand only nodes of eight GPUs are to be had; a pass a minute."""
    files = write_files(tmp_path_factory.mktemp("demo"))
    told = files.fleet.read_text(encoding="utf-8")
    told = told.replace("interval: 30s", "interval: 60s\nrate_window: 120s").replace(
        "48xlarge}", "48xlarge, node_gpus: 8}"
    )
    files.fleet.write_text(told, encoding="utf-8")
    clock = VirtualClock(START)
    with ExitStack() as stack:
        world = EmulatedWorld(start_s=START.timestamp(), seed=1, targets=files.targets, ports=PortPicker())
        stack.callback(world.close)
        run(files, world, clock, 50)
        run(files, world, clock, 71)
    with closing(Settler(files.ledger_url)) as settler:
        done = settler.settle(clock.now + timedelta(hours=3))
    assert (len(done.settled), done.problems) == (3, ())
    return files


@pytest.fixture
def ask(files: DemoFiles) -> Iterator[Any]:
    """Asks the ledger for one row."""
    path = Path(files.ledger_url.removeprefix("sqlite:///"))
    with closing(sqlite3.connect(path)) as connection:
        yield lambda sql: connection.execute(sql).fetchone()


def test_every_hour_has_its_work_rate(files: DemoFiles) -> None:
    engine = reader_engine(files.ledger_url)
    with engine.begin() as connection:
        for hour in (1, 2):
            rate = known_rates(connection, START + timedelta(hours=hour))["chat", "h100-fp8"]
            assert START + timedelta(hours=hour - 1) <= rate.at < START + timedelta(hours=hour)
            assert 0 < rate.prefill_s_per_token < rate.decode_s_per_token
    engine.dispose()


def test_costs_are_parted_and_the_parts_are_what_the_minutes_cost(ask: Any) -> None:
    sums = ", ".join(f"SUM({one})" for one in PART_COLUMNS)
    parts = dict(zip(PART_COLUMNS, ask(f"SELECT {sums} FROM cost_hour"), strict=True))
    (paid,) = ask("SELECT SUM(cost_nanousd) FROM replica_minute")
    assert sum(parts.values()) == paid
    work = (Part.PREFILL, Part.CACHED, Part.DECODE)
    for part in (*work, Part.IDLE_WARM, Part.IDLE_STRANDED, Part.OVERHEAD_STARTING):
        assert parts[f"{part}_nanousd"] > 0, part
    assert sum(parts[f"{part}_nanousd"] for part in work) < paid / 2, "at night its engines are half empty"
    assert parts["idle_unscheduled_nanousd"] < paid / 50, "every minute knows what it was asked for"
    lines = " + ".join(PART_COLUMNS)
    assert ask(f"SELECT SUM({lines}) FROM allocation_hour") == (paid,)


def test_four_costs_go_from_the_price_to_the_hour(ask: Any) -> None:
    sums = ", ".join(f"SUM({name})" for name in COSTS[1:])
    assert ask(f"SELECT {sums} FROM replica_minute") == ask(f"SELECT {sums} FROM cost_hour")
    sums = ", ".join(f"SUM({name})" for name in COSTS)
    on_demand = ask(f"SELECT {sums} FROM replica_minute WHERE replica = '{STRANDED}'")
    assert on_demand[0] > 0
    assert len(set(on_demand)) == 1, "on demand all four are one"


def test_the_engines_tokens_are_those_of_the_minutes(ask: Any) -> None:
    sums = "SUM(engine_uncached), SUM(engine_cached), SUM(engine_output), SUM(engine_requests)"
    uncached, cached, output, requests = ask(f"SELECT {sums} FROM hour_state")
    minutes = ask(
        "SELECT SUM(prompt_tokens), SUM(cached_prompt_tokens), SUM(output_tokens), SUM(requests) FROM replica_minute"
    )
    assert (uncached + cached, cached, output, requests) == minutes
    assert requests > 0


def test_the_engines_seconds_in_both_phases_are_the_requests_that_ran(ask: Any) -> None:
    """Little's law: seconds spent inside = mean number inside x time."""
    phases, running = ask("SELECT SUM(prefill_s + decode_s), SUM(running_integral) FROM replica_minute")
    assert phases == pytest.approx(running, rel=0.2)
    assert ask("SELECT MIN(engine_steps) > 0 FROM replica_minute WHERE requests > 0") == (1,)


def test_the_ledger_proves_its_balance(files: DemoFiles) -> None:
    proof = verify(files.ledger_url)
    assert proof.balances
    assert proof.hours >= 3
    assert proof.differences == ()
