"""Our own pass at work in a simulated world: the very code that runs in production, on readings that it made itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from controller.decide.rules import ServicePolicy
from controller.facts.fleet import Fleet, Mode
from controller.loop import Plan, Running, one_pass
from controller.safety.kernel import HELD
from controller.safety.rules import SafetyRules
from controller.simulate.shell import Seat, SimulatedShell
from controller.simulate.world import World

RATE_WINDOW_S = 60.0
"""As the daemon's default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ours:
    """The passes of one rehearsal.

    passes_s   how long each took
    held       passes in which the safety rules held back or cut what was decided
    """

    passes_s: tuple[float, ...]
    held: int
    running: Running


def rehearse_policy(
    world: World,
    fleet: Fleet,
    policy: ServicePolicy,
    seat: Seat,
    *,
    interval_s: float,
    running: Running | None = None,
    safety: SafetyRules | None = None,
    elapsed_s: Callable[[], float],
) -> Ours:
    """The whole workload under ``policy``; the world is closed at the end.

    running     what the first pass remembers: a forecaster that has seen earlier days
    safety      the kernel's rules; None: the usual ones
    elapsed_s   a monotonic clock
    """
    shell = SimulatedShell(world, seat, elapsed_s=elapsed_s)
    running = running or Running()
    plan = Plan(
        fleet=fleet,
        policies={policy.service: policy},
        mode=Mode.ACT,
        interval_s=interval_s,
        rate_window_s=RATE_WINDOW_S,
        safety=safety or SafetyRules(),
    )
    took, held = [], 0
    while world.now_s < world.end_s:
        began_s, now = world.now_s, shell.now
        result, running = one_pass(shell, plan, running, now)
        took.append(result.duration_s)
        held += any(one.because in HELD for one in result.decisions)
        world.advance(min(began_s + world.case.staleness_s, world.end_s))
        shell.settle()
        world.advance(min(began_s + interval_s, world.end_s))
    world.close()
    return Ours(passes_s=tuple(took), held=held, running=running)
