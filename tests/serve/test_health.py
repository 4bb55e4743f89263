"""/readyz, beside yes or no: what cannot be read, and who stopped what."""

from dataclasses import replace

import pytest
from fastapi.testclient import TestClient

from controller.facts.missing import Missing
from controller.facts.readings import Target
from controller.serve.api import create_app
from controller.serve.exporter import Exporter
from controller.serve.health import MOST_TOLD

REFUSED = Missing("metrics", "connection refused")


@pytest.fixture
def ready(view):
    """The status and the body of /readyz."""

    def asked():
        with TestClient(create_app(view, Exporter(view))) as ask:
            answer = ask.get("/readyz")
        return answer.status_code, answer.json()

    return asked


def lost(view, *urls, targets=None, **more):
    """The view's last pass, in which nobody at ``urls`` answered."""
    seen = view.result.observation
    engines = {**seen.engines, **dict.fromkeys(urls, REFUSED)}
    targets = seen.targets if targets is None else targets
    view.result = replace(view.result, observation=replace(seen, engines=engines, targets=targets, **more))


def test_a_fleet_that_is_seen_says_no_more_than_yes(view, ready):
    view.reload_ok = True
    assert ready() == (200, {"ready": True, "reasons": []})


def test_a_refused_reload_is_told_by_a_daemon_that_works(ready):
    status, told = ready()
    assert (status, told["ready"]) == (200, True)
    assert "the files of before are in force" in told["reload"]


def test_engines_that_are_gone_leave_the_daemon_ready_and_its_body_says_so(view, ready):
    urls = [one.url for one in view.result.observation.targets]
    lost(view, *urls)
    status, told = ready()
    assert (status, told["ready"]) == (200, True)
    assert told["blind"] == (f"none of {len(urls)} targets could be read: nothing shrinks, and nothing grows for load")
    assert told["unread"] == [
        f"chat/h100: {len(urls)} of {len(urls)} targets cannot be read; the first: connection refused"
    ]


def test_one_engine_of_several_is_named_and_the_fleet_is_not_blind(view, ready):
    seen = view.result.observation.targets
    lost(view, seen[0].url)
    told = ready()[1]
    assert "blind" not in told
    assert told["unread"] == [f"chat/h100: 1 of {len(seen)} targets cannot be read; the first: connection refused"]


def test_who_starts_or_drains_need_not_answer(view, ready):
    seen = view.result.observation.targets
    lost(view, seen[0].url, targets=(replace(seen[0], labels={"phase": "starting"}), *seen[1:]))
    assert "unread" not in ready()[1]


def test_what_could_not_be_discovered_is_told(view, ready):
    lost(view, discovery_problems=(Missing("targets of chat/h100", "no answer within 5 s"),))
    assert ready()[1]["unread"] == ["targets of chat/h100 missing: no answer within 5 s"]


def test_a_large_fleet_s_losses_are_no_flood(view, ready):
    targets = tuple(
        Target(service=f"s{index}", variant="a", replica="r", url=f"http://{index}") for index in range(MOST_TOLD + 3)
    )
    lost(view, *(one.url for one in targets), targets=targets)
    told = ready()[1]
    assert (len(told["unread"]), told["unread"][-1]) == (MOST_TOLD + 1, "and 3 more")
    assert told["blind"].startswith(f"none of {MOST_TOLD + 3} targets")
