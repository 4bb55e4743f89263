"""The daemon and another autoscaler together: what a pass decides is asked for, followed or not, and told."""

from __future__ import annotations

import json
import urllib.request
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta

import grpc
import pytest

from controller.facts.actuators import ExternalOptions
from controller.facts.decisions import AlertPhase, OutcomeKind
from controller.scalers import scalers_of
from controller.serving import served
from controller.settings.load import load_settings
from controller.wiring import built
from tests.small_fleet import Engine, SmallFleet

ASK = b"\x0a\x04chat\x12\x03llm\x1a\x0f\x0a\x07service\x12\x04chat\x1a\x0f\x0a\x07variant\x12\x04h100"
QUESTION = b"\x0a" + bytes([len(ASK)]) + ASK
INTERVAL = timedelta(seconds=15)


class Stand:
    """Four engines, of which a scaler runs ``there``; a daemon that another autoscaler may ask."""

    def __init__(self, folder) -> None:
        self.fleet = SmallFleet(folder, [Engine() for _ in range(6)])
        self.now = datetime(2026, 11, 21, 12, tzinfo=UTC)
        self.targets = folder / "targets.json"

    def write(self, *, mode: str = "act", serve: str = "keda: {port: 0}, wva_names: true") -> None:
        self.fleet.write(mode=mode, actuator="external")
        text = self.fleet.file.read_text(encoding="utf-8")
        before, _, rest = text.partition("        scrape:")
        text = f"{before}        scrape: {{file_sd: [{self.targets}]}}{rest[rest.index(chr(10)) :]}"
        self.fleet.file.write_text(text.replace("serve: {port: 0}", f"serve: {{port: 0, {serve}}}"), encoding="utf-8")

    def run(self, there: int) -> None:
        """Somebody else's doing."""
        names = [engine.url.removeprefix("http://") for engine in self.fleet.engines[:there]]
        self.targets.write_text(json.dumps([{"targets": names}]))

    @contextmanager
    def daemon(self):
        with ExitStack() as stack:
            settings = load_settings(self.fleet.file, {})
            everything = stack.enter_context(built(settings, clock=lambda: self.now))
            scalers = stack.enter_context(
                scalers_of(everything.daemon, everything.external, lambda: settings, everything.dispatcher.post)
            )
            channel = stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{scalers.keda_port}"))
            yield Asking(self, everything.daemon, scalers, channel)

    def close(self) -> None:
        self.fleet.close()


class Asking:
    """A running daemon, and KEDA's view of it."""

    def __init__(self, stand, daemon, scalers, channel) -> None:
        self.stand, self.daemon, self.scalers, self.channel = stand, daemon, scalers, channel

    def step(self, times: int = 1):
        for _ in range(times):
            self.stand.now += INTERVAL
            result = self.daemon.step()
        return result

    def value(self) -> int | str:
        """What KEDA's HPA is told, or the code of why not."""
        try:
            answer = self.channel.unary_unary("/externalscaler.ExternalScaler/GetMetrics")(QUESTION, timeout=60.0)
        except grpc.RpcError as error:
            return error.code().name
        return answer[answer.index(b"\x10") + 1] if b"\x10" in answer else 0


@pytest.fixture
def stand(tmp_path):
    made = Stand(tmp_path)
    made.run(2)
    made.write()
    yield made
    made.close()


def test_what_a_pass_decides_is_told_and_done_when_the_targets_follow(stand):
    with stand.daemon() as asking:
        assert asking.value() == "UNAVAILABLE", "no pass yet"
        asking.step(2)
        assert asking.value() == 2
        stand.fleet.queue(30.0)
        result = asking.step()
        (decision,) = result.decisions
        (outcome,) = result.outcomes
        assert decision.desired > decision.current == 2
        assert outcome.kind is OutcomeKind.DONE
        assert asking.value() == decision.desired
        stand.fleet.queue(0.0)
        held = asking.step()
        assert held.decisions[0].current == decision.desired, "what was asked for counts, once"
        assert asking.value() == decision.desired
        stand.run(decision.desired)
        followed = asking.step()
        assert followed.decisions[0].ready == decision.desired
        assert not followed.outcomes


def test_after_a_kill_the_next_process_tells_the_same_number(stand):
    with stand.daemon() as asking:
        asking.step(2)
        stand.fleet.queue(30.0)
        asking.step()
        told = asking.value()
    stand.fleet.queue(0.0)
    with stand.daemon() as asking:
        assert asking.value() == "UNAVAILABLE"
        asking.step()
        assert asking.value() == told > 2


def test_a_target_list_that_is_gone_is_unavailable_and_never_a_smaller_number(stand):
    with stand.daemon() as asking:
        asking.step(2)
        stand.targets.unlink()
        asking.step()
        assert asking.value() == "UNAVAILABLE"
        stand.run(2)
        asking.step()
        assert asking.value() == 2


def test_in_advise_nobody_is_told_a_number(stand):
    stand.write(mode="advise")
    with stand.daemon() as asking:
        asking.step(2)
        assert asking.value() == "UNAVAILABLE"


def test_whoever_does_not_follow_is_told_to_people_with_what_to_look_at(stand):
    with stand.daemon() as asking:
        asking.step(2)
        stand.fleet.queue(30.0)
        asking.step()
        asking.step(9)
        (alert,) = asking.scalers.following.states
        assert (alert.service, alert.name, alert.phase) == ("chat", "not_followed", AlertPhase.FIRING)
        names = {(one.name, one.samples[0].value) for one in asking.scalers.metrics() if one.samples}
        assert ("pennyweight_external_unfollowed_seconds", 135.0) in names


def test_an_old_pass_tells_nothing(stand):
    with stand.daemon() as asking:
        asking.step(2)
        stand.now += 4 * INTERVAL
        assert asking.value() == "UNAVAILABLE"


def test_the_page_of_metrics_has_both_names(stand):
    settings = load_settings(stand.fleet.file, {})
    with built(settings, clock=lambda: stand.now) as everything, served(settings, everything) as server:
        for _ in range(2):
            stand.now += INTERVAL
            everything.daemon.step()
        with urllib.request.urlopen(f"{server.url}/metrics", timeout=60.0) as answer:
            page = answer.read().decode()
    assert 'pennyweight_external_replicas{service="chat",variant="h100"} 2.0' in page
    labels = 'accelerator_type="H100-SXM",namespace="unknown",service="chat",variant_name="h100"'
    assert f"wva_desired_replicas{{{labels}}} 2.0" in page


def test_options_reach_the_actuator(stand):
    (variant,) = load_settings(stand.fleet.file, {}).fleet.variants()
    assert variant.actuator_options == ExternalOptions()
