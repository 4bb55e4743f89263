"""What a pass asks of a cluster, counted by our client and by the API server: nothing, while nothing happens."""

from __future__ import annotations

import pytest

from benchmarks.calls.kubernetes import Counted, counted
from controller.kubernetes.cluster import MOST_SELECTORS


@pytest.fixture(scope="module", params=[3, 50])
def made(request: pytest.FixtureRequest) -> Counted:
    return counted(request.param)


def test_a_steady_pass_makes_no_call_however_many_variants_there_are(made: Counted) -> None:
    assert made.steady == {}


def test_the_start_lists_each_kind_once_a_namespace_and_its_pods_by_a_few_selectors(made: Counted) -> None:
    lists = {resource: count for (verb, resource), count in made.start.items() if verb == "list"}
    pods = lists.pop("pods")
    assert set(lists.values()) == {1}
    assert pods <= MOST_SELECTORS + 1
    assert made.watches <= len(lists) + 1 + MOST_SELECTORS + 1
    assert {verb for verb, _ in made.start} == {"list", "watch"}


def test_a_decision_costs_a_handful_of_calls_that_do_not_grow_with_the_fleet(made: Counted) -> None:
    # One get before the write, and one more for each pass in which the watch still shows what was before it.
    assert made.grown["patch", "deployments.apps"] == 1, "the note of how many are to stay"
    assert made.grown["patch", "deployments.apps/scale"] == 1
    assert sum(made.grown.values()) <= 8
    assert made.shrunk["patch", "pods"] == 2, "that it drains, and that it has"
    assert made.shrunk["patch", "deployments.apps/scale"] == 1
    assert sum(made.shrunk.values()) <= 12
