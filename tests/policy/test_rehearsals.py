"""Policy test files: what they find, and where they say it."""

import pytest

from controller.policy.check import check_policies
from controller.policy.script import MOST_PASSES, series

POLICY = """\
service: chat
scaling:
  min_replicas: 1
  max_replicas: 8
  targets: {queue_depth: 50}
  scale_up: {stabilization: 60s}
  scale_down: {stabilization: 300s}
"""

TEST = """\
policy: chat.yaml
every: 15s
tests:
  - name: growth
    replicas: 4
    start_after: 90s
    input: {queue_depth: 200x4 400}
    expect:
"""


def checked(write, expectations, test=TEST, policy=POLICY):
    write(policy, "chat.yaml")
    write(test + "".join(f"      - {{{line}}}\n" for line in expectations), "chat.test.yaml")
    return check_policies([write(policy, "chat.yaml")], None, ("log",))


def test_right_expectations_pass(write):
    report = checked(
        write,
        [
            "at: 45s, hold: 4, because: steady",
            "at: 1m, hold: 4, because: stabilizing",
            "at: 2m, scale: 8, because: demand",
            "at: 2m15s, hold: 8, because: starting",
            "at: 2m, scale: 8",
        ],
    )
    assert report.problems == ()
    assert report.tests_run == 1


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("at: 2m, scale: 7, because: demand", "scale to 7 (demand)"),
        ("at: 2m, scale: 8, because: limit", "scale to 8 (limit)"),
        ("at: 2m, hold: 8", "hold at 8"),
        ("at: 2m, hold: 4", "hold at 4"),
    ],
)
def test_a_wrong_expectation_fails_in_its_line_with_the_decision_that_was_made(write, line, expected):
    report = checked(write, ["at: 0s, hold: 4", line])
    (problem,) = report.problems
    assert (problem.line, problem.column) == (10, 9)
    assert problem.file.endswith("chat.test.yaml")
    assert problem.message.startswith(
        f"'growth' at 120 s: expected {expected}, found chat/test: scale up 4 -> 8 (demand)"
    )
    assert "queue_depth 100 against a target of 50" in problem.message


def test_started_replicas_are_ready_after_their_time_and_late_ones_are_given_up(write):
    late = TEST.replace("90s", "30m").replace("every: 15s", "every: 60s").replace("200x4 400", "200x2 220")
    policy = POLICY.replace("scale_down: {", "tolerance: 0\n  start_deadline: 5m\n  scale_down: {")
    report = checked(
        write,
        [
            "at: 3m, scale: 5, because: demand",
            "at: 4m, hold: 5, because: starting",
            "at: 8m, hold: 5, because: starting",
        ],
        late,
        policy,
    )
    assert report.problems == ()
    early = checked(
        write,
        ["at: 3m, scale: 5, because: demand", "at: 4m, hold: 5, because: starting", "at: 5m, scale: 6"],
        late.replace("30m", "90s"),
        policy,
    )
    (problem,) = early.problems
    assert "expected scale to 6, found" in problem.message


LOOKS_AHEAD = """\
policy: chat.yaml
tests:
  - name: ahead
    replicas: 4
    start_after: 2m
    CAPACITY
    input: {requests: 30, FORECAST}
    expect:
"""


def ahead(capacity, forecast):
    return LOOKS_AHEAD.replace("CAPACITY", capacity).replace("FORECAST", forecast)


def test_a_forecast_with_a_capacity_decides_without_targets(write):
    policy = POLICY.replace("  targets: {queue_depth: 50}\n", "").replace("300s", "60s")
    report = checked(
        write,
        [
            "at: 45s, hold: 4, because: steady",
            "at: 2m, scale: 6, because: forecast",
            "at: 4m, hold: 6, because: stabilizing",
            "at: 5m, scale: 3, because: forecast",
        ],
        ahead("capacity: 10", "forecast: 40x4 55x12 20"),
        policy,
    )
    assert report.problems == ()


@pytest.mark.parametrize(
    ("capacity", "forecast", "why"),
    [
        ("capacity: 10", "forecast: _", "forecast missing: the test leaves it out here"),
        ("capacity: 10", "running: 1", "forecast missing: the test gives no input for it"),
        ("start_after: 2m", "forecast: 90", "capacity missing: the test says no capacity"),
    ],
)
def test_half_of_what_a_forecast_needs_decides_nothing_and_says_so(write, capacity, forecast, why):
    policy = POLICY.replace("  targets: {queue_depth: 50}\n", "")
    test = ahead(capacity, forecast)
    test = test.replace("    start_after: 2m\n", "", 1) if capacity.startswith("start") else test
    (problem,) = checked(write, ["at: 5m, hold: 4, because: forecast"], test, policy).problems
    assert why in problem.message
    assert "(blind)" in problem.message


def test_a_signal_without_input_is_missing_and_says_so(write):
    report = checked(
        write, ["at: 0s, hold: 4, because: steady"], TEST.replace("queue_depth: 200x4 400", "kv_cache: 10%")
    )
    assert "queue_depth missing: the test gives no input for it" in report.problems[0].message


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("at: 50s, hold: 4", "no pass is at 50 s; every 15 s there is one, the last before at 45 s"),
        ("at: 30d, hold: 4", f"a test runs at most {MOST_PASSES} passes"),
        ("at: 1m, hold: 4, scale: 4", "expected exactly one of hold and scale"),
        ("at: 1m", "expected exactly one of hold and scale"),
        ("at: 1m, hold: 4, because: demnad", "'demnad' is not one of"),
        ("at: 1m, hold: 4, why: demand", "unknown key 'why'"),
    ],
)
def test_an_expectation_that_cannot_be_judged_is_a_problem_in_its_line(write, line, message):
    (problem,) = checked(write, [line]).problems
    assert problem.line == 9
    assert message in problem.message


def test_a_test_of_a_file_that_is_not_there_says_so(write):
    path = write(TEST.replace("chat.yaml", "chart.yaml") + "      - {at: 0s, hold: 4}\n", "chat.test.yaml")
    (problem,) = check_policies([path], None, ()).problems
    assert "there is no file 'chart.yaml'" in problem.message
    assert problem.line == 1


def test_a_test_file_alone_reads_its_policy(write):
    write(POLICY, "chat.yaml")
    path = write(TEST + "      - {at: 0s, hold: 4}\n", "chat.test.yaml")
    report = check_policies([path], None, ())
    assert (report.problems, report.tests_run, report.files) == ((), 1, (path,))


def test_a_wrong_policy_is_told_once_and_not_rehearsed(write):
    report = checked(write, ["at: 0s, hold: 99"], policy=POLICY + "quantization: {}\n")
    assert ["quantization" in problem.message for problem in report.problems] == [True]
    assert report.tests_run == 0


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("10x2 60%  _x2", (10.0, 10.0, 0.6, None, None)),
        ("800ms 1.5s", (0.8, 1.5)),
        (7, (7.0,)),
        ("_", (None,)),
    ],
)
def test_a_series_is_value_times_passes(text, values):
    assert series(text) == pytest.approx(values)


@pytest.mark.parametrize("text", ["", "10x", "x4", "10y2", "_%", "-3", -3, True, None, "1x999999"])
def test_a_series_that_is_not_one_is_refused(text):
    with pytest.raises(ValueError, match=r"expected items|is longer than"):
        series(text)
