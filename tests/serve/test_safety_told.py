"""What the safety kernel holds back, as the endpoints tell it."""

import json
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from controller.facts.safety import Damping, SafetySeen, Stop, Storm
from controller.serve.api import create_app
from controller.serve.exporter import Exporter


@pytest.fixture
def stormy(view, after):
    """A stopped fleet in a storm, whose one service flaps."""
    storm = Storm(domain="z-a", since=after(0), last=after(0), until=after(1800), why="3 replicas of z-a were lost")
    view.result = replace(
        view.result,
        safety=SafetySeen(
            stops=(Stop(since=after(0), by="ann", reason="wrong image"),),
            storms=(storm,),
            damped={"chat": Damping(since=after(0), until=after(600), hold_s=600.0)},
            flap_ratios={"chat": 12.5},
            moved={"grow": 4, "shrink": 1},
        ),
    )
    return view


def samples(view):
    families = text_string_to_metric_families(Exporter(view).render().decode())
    return {(one.name, *one.labels.values()): one.value for family in families for one in family.samples}


def test_metrics_tell_stops_storms_flapping_and_moves(stormy):
    shown = samples(stormy)
    assert shown[("pennyweight_stopped", "")] == 1
    assert shown[("pennyweight_stopped", "chat")] == 0
    assert shown[("pennyweight_storm", "z-a")] == 1
    assert shown[("pennyweight_flap_ratio", "chat")] == 12.5
    assert shown[("pennyweight_flapping", "chat")] == 1
    assert shown[("pennyweight_moved_replicas", "grow")] == 4


def test_in_calm_weather_the_same_series_are_zero(view):
    shown = samples(view)
    assert shown[("pennyweight_stopped", "")] == shown[("pennyweight_flapping", "chat")] == 0
    assert not any(name == "pennyweight_storm" for name, *_ in shown)


def test_a_stopped_daemon_is_ready_and_says_who_stopped_it(stormy):
    with TestClient(create_app(stormy, Exporter(stormy))) as ask:
        answer = ask.get("/readyz")
        assert answer.status_code == 200
        assert "everything is stopped by ann" in answer.json()["stopped"][0]
        told = json.loads(ask.get("/api/v1/safety").text)["safety"]
    assert (told["stops"][0]["reason"], told["storms"][0]["domain"]) == ("wrong image", "z-a")
