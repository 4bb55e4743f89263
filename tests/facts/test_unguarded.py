"""A fact that is made by the thousand is the same fact, only made faster."""

from dataclasses import FrozenInstanceError, dataclass, field, replace
from pickle import dumps, loads

import pytest

from controller.facts.unguarded import unguarded


@dataclass(frozen=True, slots=True, kw_only=True)
class Guarded:
    name: str
    rate: float = 1.0
    labels: dict[str, str] = field(default_factory=dict, compare=False)


@unguarded
@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    name: str
    rate: float = 1.0
    labels: dict[str, str] = field(default_factory=dict, compare=False)


@pytest.mark.parametrize("given", [{"name": "a"}, {"name": "a", "rate": 2.0}, {"name": "a", "labels": {"b": "c"}}])
def test_it_is_made_from_the_same_fields_with_the_same_defaults(given):
    fact, guarded = Fact(**given), Guarded(**given)
    assert repr(fact) == repr(guarded).replace("Guarded", "Fact")
    assert fact == Fact(**given)
    assert hash(fact) == hash(guarded)
    assert replace(fact, rate=3.0) == Fact(**{**given, "rate": 3.0})
    assert loads(dumps(fact)) == fact


@pytest.mark.parametrize(
    ("given", "told"), [({}, "name"), ({"name": "a", "mane": "b"}, "mane"), ({"name": "a", "rate": 1, "x": 2}, "x")]
)
def test_what_it_lacks_and_what_it_does_not_have_is_refused(given, told):
    with pytest.raises(TypeError, match=told):
        Fact(**given)
    with pytest.raises(TypeError, match="positional"):
        Fact("a")


def test_defaults_are_not_shared():
    first, second = Fact(name="a"), Fact(name="b")
    first.labels["c"] = "d"
    assert second.labels == {}


def test_only_the_guarded_one_watches_at_run_time():
    with pytest.raises(FrozenInstanceError):
        Guarded(name="a").rate = 2.0
    fact = Fact(name="a")
    fact.rate = 2.0
    assert fact.rate == 2.0


def test_a_check_of_its_own_must_not_be_lost():
    with pytest.raises(TypeError, match="Checked has a __post_init__"):

        @unguarded
        @dataclass(frozen=True, slots=True, kw_only=True)
        class Checked:
            rate: float

            def __post_init__(self):
                raise ValueError("never")
