"""`pennyweight profile` as a user types it, against a server that answers as its step model says."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from controller.__main__ import main
from controller.facts.fleet import CapacityType
from controller.facts.missing import Missing
from controller.facts.profile import Profile
from controller.prices.book import PriceBook

BRIEF = ("--duration", "400ms", "--warm-up", "100ms", "--prompt-tokens", "60", "--output-tokens", "8")
SHORT = (*BRIEF, "--closed-loop-only")


@dataclass(frozen=True)
class Said:
    """What the command left on the screen."""

    code: int
    out: str
    err: str

    @property
    def words(self) -> str:
        """Standard output as one line: the terminal folds it anywhere."""
        return " ".join(self.out.split())


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments: str) -> Said:
        code = main(("profile", *arguments))
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return run


def kept(path: str = "profile.json") -> Profile:
    return Profile.from_json(Path(path).read_text(encoding="utf-8"))


def test_a_sweep_is_told_kept_and_plotted(server, typed):
    """How well it is fitted: see test_sweep.py."""
    said = typed(
        server.url,
        *("--concurrency", "1,4", "--prompt-tokens", "60,400", "--output-tokens", "12", "--closed-loop-only"),
        *("--duration", "900ms", "--warm-up", "100ms", "--usd-per-hour", "2"),
        *("--out", "profile.json", "--plot", "profile.svg"),
    )
    assert said.code == 0, said.err
    profile = kept()
    assert len(profile.points) == 4
    assert {one.errors == {} for one in profile.points} == {True}
    assert profile.points[0].engine.kv_capacity_tokens == 100_000
    assert profile.points[0].usd_per_million_output_tokens > 0
    assert "step model, from" in said.words
    assert "$/M out" in said.words
    assert Path("profile.svg").stat().st_size > 10_000


def test_by_default_arrivals_at_random_follow_the_closed_loop(server, typed):
    said = typed(server.url, "--concurrency", "1,4", *BRIEF, "--out", "profile.json", "--plot", "profile.svg")
    assert said.code == 0, said.err
    points = kept().points
    assert [one.kind for one in points] == ["concurrency"] * 2 + ["rate"] * 3
    assert [one.closed_loop_share for one in points[2:]] == [0.5, 0.7, 0.85]
    assert "5 points of 0.5 s, about 1 minute; Ctrl-C ends the sweep" in said.words
    assert "/s 85%" in said.words
    assert "85%" in Path("profile.svg").read_text(encoding="utf-8")


def test_rates_that_are_given_take_the_place_of_the_usual_ones(server, typed):
    assert typed(server.url, "--concurrency", "1", "--rates", "5", *BRIEF, "--out", "profile.json").code == 0
    assert [(one.kind, one.load) for one in kept().points] == [("concurrency", 1), ("rate", 5)]


def test_rates_and_a_closed_loop_only_contradict_each_other(typed):
    said = typed("http://127.0.0.1:1", "--rates", "5", "--closed-loop-only")
    assert said.code == 2
    assert "--closed-loop-only: leaves out arrivals at random, which --rates asks for; give one of them" in said.err


def test_json_on_standard_output_is_only_json(server, typed):
    said = typed(server.url, "--concurrency", "2", *SHORT, "--json", "-")
    assert said.code == 0
    assert Profile.from_json(said.out).model == "fake-1b"
    assert "latency from the time each request was due" in said.err


def test_a_stalled_server_shows_as_latency_not_as_fewer_requests(server, typed, later):
    """Twenty requests/s are due whatever the server does; it does nothing for half of the window."""
    behaviour = server.behaviour

    def stall() -> None:
        behaviour.stalled = True

    def wake() -> None:
        behaviour.stalled = False

    later(lambda: len(behaviour.asked) >= 8, stall)
    later(lambda: len(behaviour.asked) >= 24, wake)  # it comes to this only if requests arrive all the same
    said = typed(
        server.url,
        *("--rates", "20", "--duration", "1500ms", "--warm-up", "100ms"),
        *("--prompt-tokens", "20", "--output-tokens", "4", "--spread", "0", "--out", "profile.json"),
    )
    assert said.code == 0, said.err
    (point,) = kept().points
    assert point.requests > 15
    assert point.answered == point.requests
    assert point.ttft.p95 > 4 * 0.03  # not stalled, it takes 10 ms


def test_requests_given_up_are_counted_beside_the_latency(server, typed, later):
    def stall() -> None:
        server.behaviour.stalled = True

    later(lambda: len(server.behaviour.asked) >= 4, stall)
    said = typed(server.url, "--rates", "20", *BRIEF, "--timeout", "600ms", "--out", "profile.json")
    (point,) = kept().points
    assert point.timed_out > 2
    assert point.ttft.p95 >= 0.5
    assert "not used for the fit" in said.words


def test_a_server_that_does_not_count_tokens_is_refused_not_guessed_at(server, typed):
    server.behaviour.usage = False
    said = typed(server.url, *SHORT)
    assert said.code == 1
    assert "does not count tokens" in said.err
    assert "nothing was measured" in said.err


def test_a_refused_key_is_told_without_the_key(server, typed, monkeypatch):
    server.behaviour.key = "right"
    said = typed(server.url, *SHORT)
    assert said.code == 1
    assert "HTTP 401" in said.err
    assert "--api-key-env" in said.err
    monkeypatch.setenv("MY_KEY", "sk-wrong-secret")
    refused = typed(server.url, "--model", "fake-1b", "--api-key-env", "MY_KEY", *SHORT)
    assert refused.code == 1
    assert "secret" not in refused.out + refused.err
    assert "refuses the key that --api-key-env names (HTTP 401)" in refused.err


def test_the_key_opens_the_server_and_stays_out_of_the_profile(server, typed, monkeypatch):
    server.behaviour.key = "sk-secret"
    monkeypatch.setenv("MY_KEY", "sk-secret")
    said = typed(server.url, "--api-key-env", "MY_KEY", "--concurrency", "1", *SHORT, "--out", "profile.json")
    assert said.code == 0
    assert "sk-secret" not in said.out + said.err + Path("profile.json").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("models", "typed_model", "told"),
    [
        (("llama-8b", "llama-70b"), (), "serves llama-8b, llama-70b: choose one with --model"),
        (("llama-8b",), ("--model", "lama-8b"), "serves no model 'lama-8b', only llama-8b; did you mean llama-8b?"),
        ((), (), "names no model (/v1/models: HTTP 200): give one with --model"),
    ],
)
def test_a_model_in_doubt_is_asked_for(server, typed, models, typed_model, told):
    server.behaviour.models = models
    said = typed(server.url, *typed_model, *SHORT)
    assert said.code == 1
    assert told in said.err


@pytest.mark.parametrize("path", ["/v1", "/v1/", "/v1/completions", "/v1/chat/completions"])
def test_an_address_may_be_that_of_a_call(server, typed, path):
    assert typed(server.url + path, "--concurrency", "1", *SHORT, "--out", "profile.json").code == 0
    assert kept().server == server.url


def test_an_address_below_the_root_is_told_as_such(server, typed):
    said = typed(server.url + "/elsewhere", *SHORT)
    assert said.code == 1
    assert f"{server.url}/elsewhere has no /v1/models (HTTP 404): give the address above /v1" in said.err
    assert "--model" in said.err


def test_a_page_where_the_models_should_be_is_told_as_such(server, typed):
    server.behaviour.page = "<html>hello</html>"
    said = typed(server.url, *SHORT)
    assert said.code == 1
    assert f"{server.url}/v1/models is no list of models: is that an OpenAI-compatible server?" in said.err


def test_an_encrypted_address_of_a_server_that_is_not_says_so(server, typed):
    said = typed(server.url.replace("http://", "https://"), *SHORT)
    assert said.code == 1
    assert f"speaks no TLS: is it {server.url}?" in said.err


def test_a_password_in_the_address_is_refused_and_not_repeated(typed):
    said = typed("http://me:hunter2@10.0.0.5:8000", *SHORT)
    assert said.code == 2
    assert "--api-key-env" in said.err
    assert "hunter2" not in said.out + said.err


def test_an_address_where_nobody_listens(typed, unused_port):
    said = typed(f"http://127.0.0.1:{unused_port}", *SHORT)
    assert said.code == 1
    assert "cannot be reached: Connect" in said.err
    assert "nothing was measured" in said.err


def test_a_server_that_dies_midway_leaves_what_was_measured(server, typed):
    server.behaviour.fail_after = 60
    said = typed(server.url, "--concurrency", "4,8", *SHORT, "--duration", "10m", "--out", "profile.json")
    assert said.code == 1
    profile = kept()
    assert profile.points[0].answered > 5
    assert any("HTTP 500 the engine is dead" in note and "is kept" in note for note in profile.notes)


def test_ctrl_c_keeps_what_was_measured(server, typed, later):
    later(lambda: len(server.behaviour.asked) > 30, lambda: os.kill(os.getpid(), signal.SIGINT))
    said = typed(server.url, "--concurrency", "4,8", *SHORT, "--duration", "10m", "--out", "profile.json")
    assert said.code == 130
    profile = kept()
    assert profile.points[0].cut
    assert profile.points[0].answered > 5
    assert profile.points[0].answered == profile.points[0].requests
    assert profile.points[0].errors == {}
    assert any("stopped: 1 of 2 points" in note for note in profile.notes)


def test_an_earlier_profile_is_taken_as_prior_and_a_broken_one_refused(server, typed, profile, later):
    Path("earlier.json").write_text(profile.to_json(), encoding="utf-8")
    later(lambda: len(server.behaviour.asked) > 30, lambda: os.kill(os.getpid(), signal.SIGINT))
    again = (*SHORT, "--duration", "10m", "--prior")
    assert typed(server.url, *again, "earlier.json", "--concurrency", "6").code == 130
    Path("broken.json").write_text("{}", encoding="utf-8")
    refused = typed(server.url, *again, "broken.json")
    assert refused.code == 2
    assert "--prior: broken.json cannot be used: not a profile" in refused.err


def test_a_server_without_ignore_eos_is_asked_without(server, typed):
    server.behaviour.refuse_ignore_eos = True
    said = typed(server.url, "--concurrency", "1", *SHORT)
    assert said.code == 0
    assert "takes no ignore_eos" in said.words
    assert "ignore_eos" not in server.behaviour.asked[-1]


def test_chat_is_measured_from_its_first_word_not_from_its_opening(server, typed):
    slow = replace(server.behaviour.step, base_s=50e-3)
    server.behaviour.step = slow
    said = typed(server.url, "--api", "chat", "--concurrency", "1", *SHORT, "--duration", "1s", "--out", "profile.json")
    assert said.code == 0
    assert "messages" in server.behaviour.asked[-1]
    assert kept().points[0].ttft.p50 >= 0.05  # the opening comes at once


def test_a_server_without_metrics_is_measured_all_the_same(server, typed):
    server.behaviour.metrics = False
    said = typed(server.url + "/v1", "--concurrency", "1", *SHORT, "--out", "profile.json")
    assert said.code == 0
    assert isinstance(kept().points[0].engine, Missing)


def test_lengths_that_the_model_cannot_hold_are_told_before_anything_is_measured(server, typed):
    said = typed(server.url, "--prompt-tokens", "4090", "--output-tokens", "100")
    assert said.code == 1
    assert "exceed the 4096 that 'fake-1b' is served with" in said.err
    assert len(server.behaviour.asked) == 2


def test_all_wrong_arguments_are_told_at_once(typed):
    said = typed(
        "localhost:8000",
        *("--concurrency", "1,x", "--rates", "-1", "--prompt-tokens", "", "--spread", "9"),
        *(
            "--duration",
            "0s",
            "--timeout",
            "5",
            "--api-key-env",
            "NO_SUCH_VARIABLE",
            "--offer",
            "aws/us-east-1/p5.48xlargo",
        ),
        *("--plot", "p.gif", "--out", "nowhere/p.json"),
    )
    assert said.code == 2
    for one in (
        "URL: expected http://HOST:PORT",
        "--concurrency: expected numbers above 0, such as 1,2,4, found '1,x'",
        "--rates: expected numbers above 0",
        "--prompt-tokens: expected numbers above 0",
        "--spread: expected standard deviation / mean",
        "--duration: expected more than no time",
        "--timeout: expected a duration with its unit",
        "--api-key-env: the environment has no variable 'NO_SUCH_VARIABLE'",
        "--offer: no offer 'aws/us-east-1/p5.48xlargo'; did you mean aws/us-east-1/p5.48xlarge",
        "--plot: expected a name that ends in .png, .svg, .pdf, found 'p.gif'",
        "--out: there is no folder",
    ):
        assert one in said.err
    assert "nothing was started" in said.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--out", "."), "--out: . is a folder; name a file in it"),
        (("--plot", "p.svg"), "--plot: p.svg is a folder; name a file in it"),
        (("--usd-per-hour", "-4"), "--usd-per-hour: expected a number above 0, such as 4, found '-4'"),
        (("--usd-per-hour", "1,2"), "--usd-per-hour: expected a number above 0, such as 4, found '1,2'"),
        (
            ("--usd-per-hour", "4", "--offer", "aws/us-east-1/p5.48xlarge"),
            "--usd-per-hour: is a price, and --offer names one too; give one of them",
        ),
    ],
)
def test_what_would_fail_after_the_sweep_is_told_before_it(typed, arguments, told):
    Path("p.svg").mkdir()
    said = typed("http://127.0.0.1:1", *arguments)
    assert said.code == 2
    assert told in said.err


def test_one_point_is_told_as_one(server, typed):
    assert ": 1 point of 0.5 s, about 1 minute" in typed(server.url, "--concurrency", "1", *SHORT).words


def test_a_list_price_stands_for_the_gpus_that_are_used(server, typed):
    offer = "aws/us-east-1/p5.48xlarge"
    said = typed(server.url, "--offer", offer, "--gpus", "2", "--concurrency", "1", *SHORT, "--json", "-")
    profile = Profile.from_json(said.out)
    listed = PriceBook.shipped().offers[offer].usd_per_gpu_hour[CapacityType.ON_DEMAND]
    assert profile.usd_per_hour == pytest.approx(2 * listed)
    assert "2 x H100" in profile.price_source
