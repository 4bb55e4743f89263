"""`leader:` of fleet.yaml: what it means, and what is wrong with it."""

from __future__ import annotations

import pytest

from controller.facts.leadership import Electing, LeaderTimes, Lease
from tests.settings.small import SMALL


@pytest.mark.parametrize(
    ("block", "meant"),
    [
        ("", None),
        ("leader: {}\n", Electing(times=LeaderTimes())),
        ("leader: {lease: {}}\n", Electing(times=LeaderTimes(), lease=Lease(name="pennyweight"))),
        (
            "leader: {duration: 60s, renew_deadline: 40s, retry: 5s, lease: {name: eu, namespace: llm}}\n",
            Electing(
                times=LeaderTimes(duration_s=60, renew_deadline_s=40, retry_s=5),
                lease=Lease(name="eu", namespace="llm"),
            ),
        ),
    ],
)
def test_what_it_means(load, block, meant):
    assert load(block + SMALL).electing == meant


@pytest.mark.parametrize(
    ("block", "told"),
    [
        ("leader:\n", "1:1: leader: it stands without a value; for the defaults write {}, else leave it out"),
        (
            "leader: {lease: }\n",
            "1:10: leader.lease: it stands without a value; for the defaults write {}, else leave it out",
        ),
        (
            "leader: {duration: 5s}\n",
            "1:1: leader: a leader must stop before another one may begin: expected `renew_deadline` below the duration of 5s, found 10s",
        ),
        (
            "leader: {renew_deadline: 2400ms}\n",
            "1:1: leader: one renewal that fails must not be the last: expected `renew_deadline` above 1.2 times the retry of 2s, found 2400ms",
        ),
        ("leader: {duration: 15500ms}\n", "1:1: leader: `duration` is written in whole seconds, found 15500ms"),
        ("leader: {retri: 1s}\n", "1:10: leader.retri: unknown key 'retri'; did you mean 'retry'?"),
    ],
)
def test_what_is_wrong_with_it(problems, block, told):
    assert problems(block + SMALL) == [told]


def test_a_lease_has_a_name_that_kubernetes_takes(problems):
    (told,) = problems("leader: {lease: {name: Mine_}}\n" + SMALL)
    assert told.startswith("1:18: leader.lease.name: ")
