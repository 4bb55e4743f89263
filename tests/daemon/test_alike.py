"""Two daemons over one ledger whose files say different things of its accounts, and the same source of records."""

from __future__ import annotations

import json
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from controller.facts.decisions import AlertPhase
from controller.settings.load import load_settings
from controller.wiring import Built, built, policies_of
from tests.small_fleet import SmallFleet

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
SHARED = "  shared: [{name: gateway-machines, usd_per_month: 720}]\n"


class Fleet:
    """A daemon in this process, and what it tells."""

    def __init__(self, folder: Path, name: str, service: str, account: str) -> None:
        (folder / name).mkdir()
        self.small = SmallFleet(folder / name)
        self.small.write()
        text = self.small.file.read_text(encoding="utf-8")
        text = text.replace("sqlite:///ledger/pennyweight.db", f"sqlite:///{folder / 'shared.db'}\nfleet: {name}")
        self.plain = text.replace("  chat:", f"  {service}:")
        policy = self.small.policy
        policy.write_text(policy.read_text(encoding="utf-8").replace("service: chat", f"service: {service}"))
        self.account(account)

    def account(self, block: str) -> None:
        self.small.file.write_text(f"{self.plain}account:\n{block}", encoding="utf-8")

    def reload(self, everything: Built) -> None:
        fresh = load_settings(self.small.file, {})
        everything.accounting.reload(fresh, policies_of(fresh))


def firing(everything: Built, now: datetime) -> dict[str, tuple[str, ...]]:
    """After a round: what is told, and the problems of the round."""
    done = everything.accounting.accountant.step(now)
    told = [one.name for one in everything.accounting.accountant.alerts() if one.phase is AlertPhase.FIRING]
    return {"told": tuple(told), "problems": tuple(done.problems)}


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """What both fleets' files name as a source."""
    file = tmp_path / "usage.jsonl"
    rows = [
        {
            "id": f"r{number}",
            "model": "llama-3.1-8b",
            "prompt_tokens": 10,
            "output_tokens": 5,
            "ended_at": (NOON - timedelta(minutes=number)).isoformat(),
            "team": "search",
        }
        for number in range(5)
    ]
    file.write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")
    return file


def test_fleets_that_differ_are_told_and_a_source_of_both_is_read_by_one(tmp_path: Path, log: Path) -> None:
    source = f"  sources: [{{name: gateway, access_log: {{path: {log}, trusted: true}}}}]\n"
    fleets = [Fleet(tmp_path, "eu", "chat", source + SHARED), Fleet(tmp_path, "us", "code", source)]
    quiet = {"told": (), "problems": ()}
    with ExitStack() as stack:
        for one in fleets:
            stack.callback(one.small.close)
        eu = stack.enter_context(built(load_settings(fleets[0].small.file, {}), clock=lambda: NOON))
        leaving = stack.enter_context(ExitStack())
        us = leaving.enter_context(built(load_settings(fleets[1].small.file, {}), clock=lambda: NOON))
        assert firing(eu, NOON) == quiet, "the other one has said nothing yet"
        differing = {"told": ("accounts_differ", "hours_not_settled"), "problems": ()}
        assert firing(us, NOON) == differing
        assert firing(eu, NOON) == differing
        assert [one.accounting.reads("gateway") for one in (eu, us)] == [True, False]

        fleets[1].account(source + SHARED)
        fleets[1].reload(us)
        assert firing(us, NOON + timedelta(minutes=5)) == quiet
        assert firing(eu, NOON + timedelta(minutes=5)) == quiet

        fleets[1].account(source)
        fleets[1].reload(us)
        assert firing(us, NOON + timedelta(minutes=10)) == differing
        leaving.close()
        assert firing(eu, NOON + timedelta(minutes=15)) == quiet, "nobody runs who says something else"
