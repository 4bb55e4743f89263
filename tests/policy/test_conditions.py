"""Alert conditions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.facts.missing import Missing
from controller.policy.condition import ConditionError, compiled

LOST = Missing("kv_cache_ratio", "the engine does not export it")


@pytest.mark.parametrize(
    ("text", "values", "holds"),
    [
        ("queue_depth > 50", {"queue_depth": 60.0}, True),
        ("queue_depth > 50", {"queue_depth": 50.0}, False),
        ("queue_depth == 50", {"queue_depth": 50.0}, True),
        ("queue_depth != 50u", {"queue_depth": 50.0}, False),
        ("queue_depth - 10 > 2 * running", {"queue_depth": 31.0, "running": 10.0}, True),
        ("mfu_ratio < 0.5 && queue_depth > 0", {"mfu_ratio": 0.4, "queue_depth": 1.0}, True),
        ("!(mfu_ratio < 0.5)", {"mfu_ratio": 0.4}, False),
        ("running > 0 ? mfu_ratio < 0.5 : false", {"running": 0.0, "mfu_ratio": 0.1}, False),
        ("usd_per_hour > 5 * replicas_ready", {"usd_per_hour": 30.0, "replicas_ready": 2}, True),
        ("-queue_depth < -50", {"queue_depth": 60.0}, True),
        ("(queue_depth > 1) == true", {"queue_depth": 2.0}, True),
    ],
)
def test_a_condition_holds_or_does_not(text, values, holds):
    assert compiled(text).evaluate(values) is holds


@pytest.mark.parametrize(
    ("text", "known", "told"),
    [
        ("kv_cache_ratio > 0.9", {}, LOST),
        ("kv_cache_ratio > 0.9 || queue_depth > 50", {"queue_depth": 60.0}, True),
        ("queue_depth > 50 || kv_cache_ratio > 0.9", {"queue_depth": 60.0}, True),
        ("kv_cache_ratio > 0.9 || queue_depth > 50", {"queue_depth": 10.0}, LOST),
        ("kv_cache_ratio > 0.9 && queue_depth > 50", {"queue_depth": 10.0}, False),
        ("kv_cache_ratio > 0.9 && queue_depth > 50", {"queue_depth": 60.0}, LOST),
        ("!(kv_cache_ratio > 0.9)", {}, LOST),
        ("running > 5", {}, Missing("running", "it is not measured")),
    ],
)
def test_what_is_missing_is_named_unless_the_known_side_decides(text, known, told):
    assert compiled(text).evaluate({"kv_cache_ratio": LOST, **known}) == told


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        ("queue_depth >", 1, None, "is not a CEL expression here"),
        ("queue_depth > 5 &&\n  runing > 1", 2, 3, "unknown quantity 'runing'; did you mean 'running'?"),
        ("queue_depth", 1, 1, "is a number; expected a condition"),
        ("queue_depth + 1", 1, 1, "is a number; expected a condition"),
        ("queue_depth > 5 && running", 1, 20, "is a number; expected a condition"),
        ("(running > 1) > 5", 1, 2, "is a condition; expected a number"),
        ("running == true", 1, 1, "is a condition; expected a number"),
        ("!running", 1, 2, "is a number; expected a condition"),
        ('running == "many"', 1, 12, '"many" is not a number'),
        ("size(running) > 1", 1, 1, "is not understood"),
        ("running.peak > 1", 1, 1, "is not understood"),
        ("running in [1, 2]", 1, 1, "`in` is not understood"),
        ("running % 2 == 0", 1, 1, "divides; multiply the other side"),
        ("queue_depth / running > 1", 1, 1, "divides; multiply the other side"),
        ("running > 1 ? 1 : 2", 1, 1, "is a number; expected a condition"),
    ],
)
def test_a_wrong_condition_is_refused_where_it_is_wrong(text, line, column, message):
    with pytest.raises(ConditionError) as error:
        compiled(text)
    assert error.value.line == line
    assert column is None or error.value.column == column
    assert str(error.value).startswith(message)


@given(
    left=st.floats(-1e6, 1e6),
    right=st.integers(-(10**6), 10**6),
    operator=st.sampled_from(["<", "<=", ">", ">=", "=="]),
)
def test_a_comparison_with_a_whole_number_is_arithmetic(left, right, operator):
    wanted = {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right, "==": left == right}
    assert compiled(f"queue_depth {operator} {right}").evaluate({"queue_depth": left}) is wanted[operator]
