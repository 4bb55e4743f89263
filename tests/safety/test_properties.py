"""What holds whatever is decided, remembered and allowed."""

from dataclasses import replace
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from controller.facts.safety import Damping, Move, SafetyMemory, Stop
from controller.ledger.safety import memory_of, memory_rows
from controller.safety.kernel import screened
from controller.safety.rules import Blast, Freeze, Limit
from tests.safety.conftest import NOON, Fleet, Make

MAKE = Make()
FEW = settings(max_examples=150)
LIMITS = st.builds(
    Limit,
    replicas=st.none() | st.integers(0, 12),
    ratio=st.none() | st.sampled_from([0.1, 0.5, 2.0]),
    usd=st.none() | st.sampled_from([1.0, 6.0, 25.0]),
)
BLASTS = st.builds(Blast, per_pass=LIMITS, per_hour=LIMITS)
COUNTS = st.integers(0, 9)
NAMES = st.sampled_from("abcd")


@st.composite
def asked(draw):
    targets = draw(st.lists(st.tuples(NAMES, st.sampled_from(["v", "w"])), unique=True, min_size=1, max_size=6))
    return [MAKE.decision(service, draw(COUNTS), draw(COUNTS), variant=variant) for service, variant in targets]


@st.composite
def memories(draw):
    moves = [
        Move(
            id=f"m{index}",
            at=MAKE.at(-draw(st.integers(1, 5000))),
            service=draw(NAMES),
            variant="v",
            replicas=draw(st.integers(-5, 5).filter(bool)),
            usd=draw(st.none() | st.just(4.0)),
            unwound=False,
            before=draw(st.none() | COUNTS),
        )
        for index in range(draw(st.integers(0, 6)))
    ]
    damped = {name: Damping(since=NOON, until=MAKE.at(60), hold_s=60) for name in draw(st.sets(NAMES, max_size=2))}
    return SafetyMemory(moves=tuple(sorted(moves, key=lambda one: one.at)), damped=damped)


@st.composite
def rules(draw):
    freezes = (Freeze(name="f", grow=draw(st.booleans()), services=("a",), zone=NOON.tzinfo),)
    return MAKE.rules(grow=draw(BLASTS), shrink=draw(BLASTS), freezes=freezes if draw(st.booleans()) else ())


@st.composite
def scenes(draw):
    stops = tuple(Stop(service=name, since=NOON, by="ann", reason="x") for name in draw(st.sets(NAMES, max_size=1)))
    return MAKE.scene(
        minimums={name: draw(st.integers(0, 4)) for name in "abcd"}, urgent=draw(st.sets(NAMES)), stops=stops
    )


def moved(decisions):
    return {one.id: one.desired - one.current for one in decisions}


@FEW
@given(asked(), rules(), memories(), scenes())
def test_every_step_stays_between_where_it_was_and_where_it_wanted(decisions, limits, memory, scene):
    for before, after in zip(decisions, screened(decisions, limits, memory, scene)[0], strict=True):
        assert min(before.current, before.desired) <= after.desired <= max(before.current, before.desired)
        assert len(after.victims) == max(0, after.current - after.desired)


@FEW
@given(asked(), rules(), memories(), scenes())
def test_screening_what_was_screened_changes_nothing(decisions, limits, memory, scene):
    once, after = screened(decisions, limits, memory, scene)
    assert screened(once, limits, memory, scene) == (once, after)
    assert screened(once, limits, after, scene)[0] == once


@FEW
@given(asked(), rules(), memories(), scenes(), st.integers())
def test_the_order_of_services_does_not_matter(decisions, limits, memory, scene, seed):
    shuffled = Random(seed).sample(decisions, len(decisions))
    assert moved(screened(decisions, limits, memory, scene)[0]) == moved(screened(shuffled, limits, memory, scene)[0])


def wider(limit):
    return replace(
        limit,
        replicas=None if limit.replicas is None else limit.replicas + 2,
        usd=None if limit.usd is None else limit.usd + 3,
    )


@FEW
@given(asked(), rules(), memories(), scenes())
def test_a_wider_limit_lets_nobody_move_less(decisions, limits, memory, scene):
    single = [one for one in decisions if one.variant == "v"]  # a swap moves less of the old for more of the new
    wide = replace(
        limits,
        grow=Blast(per_pass=wider(limits.grow.per_pass), per_hour=wider(limits.grow.per_hour)),
        shrink=Blast(per_pass=wider(limits.shrink.per_pass), per_hour=wider(limits.shrink.per_hour)),
    )
    narrow, wide = (moved(screened(single, each, memory, scene)[0]) for each in (limits, wide))
    assert all(abs(narrow[key]) <= abs(wide[key]) for key in narrow)


@FEW
@given(asked(), rules(), memories(), scenes())
def test_minimums_are_kept_and_reached_unless_an_operator_stopped_it(decisions, limits, memory, scene):
    made, _ = screened(decisions, limits, memory, scene)
    stopped = {one.service for one in scene.stops}
    for service in {one.service for one in decisions} - stopped:
        mine = [one for one in made if one.service == service]
        before, least = sum(one.current for one in mine), scene.minimums[service]
        assert sum(min(one.desired, one.current) for one in mine) >= min(before, least)
        grown = sum(max(0, one.desired - one.current) for one in decisions if one.service == service)
        assert sum(max(0, one.desired - one.current) for one in mine) >= min(grown, max(0, least - before))


@FEW
@given(memories())
def test_a_restart_remembers_everything(memory):
    rows = memory_rows(memory, "eu")
    assert memory_of(rows) == memory


@settings(max_examples=60)
@given(
    st.dictionaries(NAMES, COUNTS, min_size=1),
    st.lists(st.dictionaries(NAMES, COUNTS), min_size=2, max_size=12),
    st.integers(0, 8),
    st.integers(0, 12),
)
def test_limits_hold_over_any_sequence_of_passes_and_restarts(counts, wishes, per_pass, per_hour):
    blast = Blast(per_pass=Limit(replicas=per_pass), per_hour=Limit(replicas=per_hour))
    fleet = Fleet(dict(counts), MAKE.rules(grow=blast, shrink=blast), {})
    steps = []
    for wish in wishes:
        made = fleet.turn({name: wish.get(name, count) for name, count in fleet.counts.items()})
        steps.append([one.desired - one.current for one in made])
        fleet.memory = memory_of(memory_rows(fleet.memory, ""))
    for sign in (1, -1):
        each = [sum(max(0, sign * step) for step in one) for one in steps]
        assert all(one <= per_pass for one in each)
        assert sum(each) <= per_hour
