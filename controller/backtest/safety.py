"""The safety kernel's rules of a rehearsal, in words: what differs from the usual ones, and on which clock."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from controller.backtest.words import many
from controller.safety.rules import Blast, Limit, SafetyRules
from controller.simulate.shell import EPOCH

USUAL = SafetyRules()
SPANS = {"pass": "per_pass", "hour": "per_hour"}


def safety_told(rules: SafetyRules, file: Path | None, *, dated: bool) -> str:
    """``file``: whose they are. ``dated``: the trace has real dates, as a ledger's has."""
    if rules == USUAL:
        return f"the usual rules: {f'{file} has no others' if file else 'no fleet file says others'}"
    told = "; ".join([*_differing(rules), "the rest as usual"])
    clock = f" (a trace begins on {EPOCH:%A %Y-%m-%d %H:%M} UTC)" if rules.freezes and not dated else ""
    return f"{file}: {told}{clock}; the other autoscalers know none"


def _differing(rules: SafetyRules) -> Iterator[str]:
    for does, found, usual in (("grows", rules.grow, USUAL.grow), ("shrinks", rules.shrink, USUAL.shrink)):
        yield from (f"{does} by {limit}" for limit in _limits(found, usual))
    if rules.freezes:
        yield f"freezes {', '.join(one.name for one in rules.freezes)}"
    if rules.storm != USUAL.storm:
        yield "storm"
    if rules.flaps != USUAL.flaps:
        yield "flapping"


def _limits(found: Blast, usual: Blast) -> Iterator[str]:
    for span, name in SPANS.items():
        limit: Limit = getattr(found, name)
        if limit != getattr(usual, name):
            yield f"{_limit(limit)} {'within an hour' if span == 'hour' else 'in a pass'}"


def _limit(limit: Limit) -> str:
    """Dollars hold beside the count, of which the larger holds."""
    replicas = many(limit.replicas, "replica") if limit.replicas is not None else ""
    share = f"{limit.ratio * 100:.4g} % of the fleet" if limit.ratio is not None else ""
    usd = f"${limit.usd:g}/h" if limit.usd is not None else ""
    number = " or ".join(filter(None, (replicas, share)))
    told = " and ".join(filter(None, (number, usd)))
    return f"at most {told}" if told else "any number"
