"""From noted requests to figures, and from figures to text and back."""

from __future__ import annotations

import json
from array import array

import pytest

from controller.facts.missing import Missing
from controller.facts.profile import Profile
from controller.profile import measure
from controller.profile.client import OK, TIMED_OUT, Flight
from controller.profile.load import Held
from controller.profile.plan import Draw, PointPlan
from controller.profile.words import TokenScale, prompt

PLAN = PointPlan(kind="rate", load=1.0, prompt_tokens=10, output_tokens=3)
NO_ENGINE, NO_PRICE = Missing("engine metrics", "none"), Missing("usd_per_hour", "unknown")


def answered(due_s, sent_s, *chunk_s, prompt=10):
    return Flight(
        due_s=due_s,
        sent_s=sent_s,
        ended_s=chunk_s[-1],
        chunk_s=array("d", chunk_s),
        prompt_tokens=prompt,
        output_tokens=len(chunk_s),
        outcome=OK,
    )


def point(*flights, price=NO_PRICE):
    return measure.point(Held(plan=PLAN, start_s=10.0, end_s=20.0, flights=list(flights)), NO_ENGINE, price)


def test_latency_counts_from_the_due_time_not_from_when_it_was_sent():
    seen = point(answered(11.0, 13.0, 14.0, 14.5, 15.0))
    assert seen.ttft.mean == pytest.approx(3.0)
    assert seen.tpot.mean == pytest.approx(0.5)
    assert seen.e2e.mean == pytest.approx(4.0)
    assert seen.lateness_p99_s == pytest.approx(2.0)


def test_a_request_given_up_counts_with_all_that_it_waited():
    given_up = Flight(due_s=12.0, sent_s=12.0, ended_s=72.0, outcome=TIMED_OUT)
    seen = point(answered(11.0, 11.0, 12.0, 13.0), given_up)
    assert (seen.requests, seen.answered, seen.timed_out, seen.failed) == (2, 1, 1, 1)
    assert seen.ttft.p99 > 59
    assert seen.errors == {}


def test_errors_are_counted_by_kind_and_are_no_latency():
    broken = [Flight(due_s=12.0, sent_s=12.0, ended_s=12.001, outcome="HTTP 503") for _ in range(3)]
    seen = point(answered(11.0, 11.0, 12.0, 13.0), *broken)
    assert seen.errors == {"HTTP 503": 3}
    assert seen.ttft.mean == pytest.approx(1.0)


def test_only_the_window_counts_whoever_was_sent_before_it():
    before = answered(8.0, 8.0, 9.0, 9.5, 10.0, 10.5)  # warm-up's, two of its tokens come within
    after = answered(19.0, 19.0, 19.5, 20.5, 21.5)  # due within, one token comes within
    seen = point(before, after)
    assert seen.requests == 1
    assert seen.output_tokens_per_s == pytest.approx(0.3)
    assert seen.requests_per_s == pytest.approx(0.1)


def test_money_is_stated_for_the_tokens_that_came():
    seen = point(answered(11.0, 11.0, 12.0, 12.5), price=3.6)
    assert seen.usd_per_million_output_tokens == pytest.approx(3.6 / (0.2 * 3600) * 1e6)
    assert isinstance(point(answered(11.0, 11.0, 12.0)).usd_per_million_output_tokens, Missing)
    assert isinstance(point(price=3.6).usd_per_million_output_tokens, Missing)


def test_a_point_without_an_answer_has_no_latency_rather_than_none_at_all():
    seen = point()
    assert isinstance(seen.ttft.p95, Missing)
    assert isinstance(seen.mean_output_tokens, Missing)


def test_lengths_and_arrivals_repeat_by_seed_and_have_the_wanted_mean():
    def drawn(seed, run=1):
        draw = Draw(PLAN, spread=0.5, seed=seed, run=run, most_tokens=None)
        arrivals = draw.arrivals()
        return [draw.lengths() for _ in range(2000)], [next(arrivals) for _ in range(2000)]

    assert drawn(1) == drawn(1, run=2)
    assert drawn(1) != drawn(2)
    lengths, arrivals = drawn(1)
    assert sum(one.prompt for one in lengths) / 2000 == pytest.approx(10, rel=0.05)
    assert arrivals[-1] == pytest.approx(2000, rel=0.1)


def test_words_differ_from_run_to_run_so_that_no_prefix_cache_knows_them():
    first, second = (Draw(PLAN, spread=0.5, seed=1, run=run, most_tokens=None) for run in (1, 2))
    assert prompt(20, first.words) != prompt(20, second.words)


def test_lengths_stay_within_what_the_model_holds():
    draw = Draw(
        PointPlan(kind="rate", load=1, prompt_tokens=900, output_tokens=100),
        spread=2.0,
        seed=1,
        run=1,
        most_tokens=1024,
    )
    drawn = [draw.lengths() for _ in range(1000)]
    assert max(one.prompt + one.output for one in drawn) <= 1024
    assert min(min(one.prompt, one.output) for one in drawn) >= 1


def test_two_probes_tell_how_many_words_make_a_prompt():
    scale = TokenScale.between((8, 27), (72, 155))
    assert (scale.fixed, scale.per_word) == (11, 2)
    assert scale.words(111) == 50
    assert scale.words(3) == 1
    with pytest.raises(ValueError, match="72 words gave 20 tokens"):
        TokenScale.between((8, 27), (72, 20))


def test_a_profile_is_read_back_as_it_was_written(profile):
    assert Profile.from_json(profile.to_json()) == profile
    assert profile.fit.unclaimed == ("per_kv_token_s",)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda data: data.update(format=2), "a profile of format 2; this version reads format 1: profile again"),
        (lambda data: data.pop("format"), "not a profile: there is no key 'format'"),
        (lambda data: data.pop("seed"), "profile: no 'seed'"),
        (lambda data: data.update(sed=1), "profile: unknown 'sed'"),
        (lambda data: data["fit"]["step"].update(base_s="6ms"), "profile.fit.step.base_s: expected int or float"),
        (lambda data: data["points"][0].update(requests=1.5), r"profile.points\[0\].requests: expected int, found 1.5"),
        (lambda data: data["points"][0]["errors"].update(x="1"), r"profile.points\[0\].errors.x: expected int"),
        (lambda data: data.update(points={}), "profile.points: expected list, found {}"),
        (lambda data: data.update(at="yesterday"), "profile.at: expected a date and time"),
    ],
)
def test_a_damaged_profile_is_refused_with_its_key(profile, change, told):
    data = json.loads(profile.to_json())
    change(data)
    with pytest.raises(ValueError, match=told):
        Profile.from_json(json.dumps(data))


def test_a_profile_from_before_there_were_checks_is_still_read(profile):
    data = json.loads(profile.to_json())
    for one in data["points"]:
        del one["closed_loop_share"]
    del data["fit"]["checked_tpot_error_ratio"], data["fit"]["checked_ttft_error_ratio"]
    assert Profile.from_json(json.dumps(data)) == profile


def test_text_that_is_no_json_is_refused():
    with pytest.raises(ValueError, match="not JSON"):
        Profile.from_json("{")
