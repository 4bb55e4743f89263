"""What a pass writes to the log, of what is refused again and again."""

import logging

from controller.errors import StaleActError
from controller.loop import Running, one_pass

OWNED = "HorizontalPodAutoscaler chat scales deployment/chat; a target has one writer"


def logged(world, plan, caplog, after, breaks):
    """The lines of each pass, in which the actuator refuses with ``breaks``, or works where that is None."""
    caplog.set_level(logging.INFO, "pennyweight")
    running, lines = Running(), []
    for index, error in enumerate(breaks):
        world.actuator_breaks = error
        caplog.clear()
        _, running = one_pass(world, plan, running, after(15 * index))
        lines.append([one.getMessage() for one in caplog.records])
    return lines


def stale(found, why=OWNED):
    return StaleActError(where="chat/h100", expected=2, found=found, why=why)


def test_a_refusal_is_told_when_it_begins_and_when_it_ends(world, plan, caplog, after):
    world.queue = 30.0
    lines = logged(world, plan, caplog, after, [stale(2), stale(2), stale(3), None])
    assert [len(one) for one in lines[:3]] == [1, 0, 0]
    assert OWNED in lines[0][0]
    assert lines[3][0] == "chat/h100: what is decided is refused no longer"
    assert "[done: done]" in lines[3][1]


def test_another_reason_to_refuse_is_told(world, plan, caplog, after):
    world.queue = 30.0
    lines = logged(world, plan, caplog, after, [stale(2), stale(2, "ann changed it")])
    assert [len(one) for one in lines] == [1, 1]
    assert "ann changed it" in lines[1][0]


def test_what_fails_is_told_each_time(world, plan, caplog, after):
    world.queue = 30.0
    lines = logged(world, plan, caplog, after, [OSError("no route"), OSError("no route")])
    assert all(any("no route" in line for line in one) for one in lines)
