"""Who bears what nobody's tokens took: idle capacity, overhead and shared costs, by rule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from controller.attribute.apportion import largest_remainder
from controller.attribute.identities import added
from controller.attribute.rules import Group, Rule, RuleKind, Rules, rule_of
from controller.attribute.tables import (
    AT,
    IDLE_ID,
    IDLED,
    OVERHEAD_ID,
    OVERHEADS,
    SHARED_ID,
    TOKENS,
    Book,
    HourLines,
    PoolHours,
)
from controller.facts.accounts import PARTS, Identity, Part

Lines = Mapping[int, int]
"""Nanodollars, or weights, by identity."""


OWN = {Group.IDLE: IDLE_ID, Group.OVERHEAD: OVERHEAD_ID, Group.SHARED: SHARED_ID}
GROUPED = {Group.IDLE: IDLED, Group.OVERHEAD: OVERHEADS, Group.SHARED: [AT[Part.UNMEASURED]]}
"""The identity under which a group stands until a rule hands it on, and its places in PARTS."""


PERCENT = 10_000
"""A per cent in whole weights: shares are taken to the ten-thousandth of one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """What a service's hour was used for, in nanodollars. ``work``: by identity. ``replicas``: mean number watched."""

    cost: int
    work: Lines
    replicas: float


def handed_on(lines: HourLines, rules: Rules, book: Book, hours: PoolHours, watched_us: int) -> HourLines:
    """``lines`` with the own lines of each pool's groups shared out by the rule of its service."""
    moved = list(_moves(lines, rules, book, hours, watched_us))
    if not moved:
        return lines
    pool, identity, part, nanousd = np.array(moved, dtype=np.int64).T
    parts = np.zeros((len(moved), len(PARTS)), dtype=np.int64)
    parts[np.arange(len(moved)), part] = nanousd
    tokens = np.zeros((len(moved), len(TOKENS)), dtype=np.int64)
    return added(lines, HourLines(pool=pool, identity=identity, parts=parts, tokens=tokens))


def shared(nanousd: int, weights: Lines, own: int) -> Lines:
    """``nanousd`` by ``weights``, to the unit; all to ``own`` where there are none."""
    some = {identity: weight for identity, weight in weights.items() if weight > 0}
    if not some:
        return {own: nanousd}
    return dict(zip(some, largest_remainder(nanousd, list(some.values())), strict=True))


def weights_of(rule: Rule, used: Used, identities: Mapping[int, Identity], own: int) -> Lines:
    """By identity, ``own`` included: what each bears of a group, in proportion."""
    if rule.kind is RuleKind.BY_USE:
        return used.work
    if rule.kind is RuleKind.OWN_LINE or not rule.teams:
        return {}
    ids = _ids(rule, identities)
    if rule.kind is RuleKind.BY_FLOOR:
        return _unused_floors(rule, used, identities, ids, own)
    if rule.kind is RuleKind.EVEN:
        return {ids[team]: 1 for team in rule.teams}
    weights = {ids[team]: round(percent * PERCENT) for team, percent in rule.teams.items()}
    return {**weights, own: max(100 * PERCENT - sum(weights.values()), 0)}


def _ids(rule: Rule, identities: Mapping[int, Identity]) -> Mapping[str, int]:
    ids = {one.team: number for number, one in identities.items() if one == Identity(team=one.team)}
    unknown = sorted(set(rule.teams) - set(ids))
    if unknown:
        raise ValueError(f"a rule names {', '.join(unknown)}, for whom there is no identity that says only the team")
    return ids


def _unused_floors(
    rule: Rule, used: Used, identities: Mapping[int, Identity], ids: Mapping[str, int], own: int
) -> Lines:
    """floor of the team x cost of a replica - its work, at least 0; the own line what is left of idle and overhead."""
    worked: dict[str, int] = {}
    for identity, nanousd in used.work.items():
        team = identities[identity].team
        worked[team] = worked.get(team, 0) + nanousd
    replica = used.cost / used.replicas if used.replicas > 0 else 0.0
    unused = {ids[team]: max(round(floor * replica) - worked.get(team, 0), 0) for team, floor in rule.teams.items()}
    left = used.cost - sum(used.work.values()) - sum(unused.values())
    return {**unused, own: max(left, 0)}


def _moves(
    lines: HourLines, rules: Rules, book: Book, hours: PoolHours, watched_us: int
) -> Iterator[tuple[int, int, int, int]]:
    """(pool, identity, part, nanodollars) to add: what is handed on, and the same taken off the own line."""
    weights: dict[tuple[str, Group], Lines] = {}
    for group, own in OWN.items():
        for row in np.flatnonzero(lines.identity == own).tolist():
            pool = int(lines.pool[row])
            service = book.pools[pool].service
            rule = rule_of(rules, service, group)
            if rule.kind is RuleKind.OWN_LINE:
                continue
            if (service, group) not in weights:
                used = used_by(lines, service, book, hours, watched_us)
                weights[service, group] = weights_of(rule, used, book.identities, own)
            for part in GROUPED[group]:
                whole = int(lines.parts[row, part])
                given = shared(whole, weights[service, group], own) if whole else {}
                yield from ((pool, identity, part, nanousd) for identity, nanousd in given.items() if nanousd)
                if whole:
                    yield pool, own, part, -whole


def used_by(lines: HourLines, service: str, book: Book, hours: PoolHours, watched_us: int) -> Used:
    """Of one service; of all of them for "", whose costs are everybody's."""
    pools = [pool for pool, name in book.pools.items() if not service or name.service == service]
    rows = np.flatnonzero(np.isin(lines.pool, pools) & ~np.isin(lines.identity, list(OWN.values())))
    work: dict[int, int] = {}
    for identity, nanousd in zip(lines.identity[rows].tolist(), lines.work[rows].tolist(), strict=True):
        work[identity] = work.get(identity, 0) + nanousd
    mine = np.isin(hours.pool, pools)
    replicas = int(hours.covered_us[mine].sum()) / watched_us if watched_us else 0.0
    return Used(cost=int(hours.parts[mine].sum()), work=work, replicas=replicas)
