"""Another image, other arguments or variables for a target's engine: new pods before old ones go, or not at all.

What was there before stands on the target, as annotation pennyweight.dev/rollout, written in the same patch that
changes the template: whoever looks next sees the rollout through, or takes it back. Who changes the template after us
is left alone: what the label pennyweight.dev/template names was brought there once, and is not brought again by itself.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from controller.act.kubernetes.count import Standing
from controller.act.kubernetes.course import BROUGHT, ROLLOUT, Brought, Course, Json, brought_to, course_of
from controller.act.kubernetes.look import ClusterView, Written
from controller.act.kubernetes.others import OVERRIDE_HOLD
from controller.act.kubernetes.pods import Replica
from controller.act.kubernetes.template import FIELDS, changed, holds, restored, set_by, shortened, stands
from controller.errors import ActError, ClusterError, HeldError
from controller.facts.actuators import EngineTemplate, KubernetesOptions
from controller.facts.changes import Change, ChangeStage
from controller.facts.interruptions import StuckKind
from controller.facts.readings import Phase
from controller.kubernetes.objects import Kind, Target, TemplateManager
from controller.kubernetes.resources import FIELD_MANAGER

log = logging.getLogger(__name__)

HOPELESS = frozenset({StuckKind.IMAGE, StuckKind.CRASH, StuckKind.REFUSED})
"""What a new version is taken back for at once: it would not heal by waiting."""

PLACES: Mapping[Kind, tuple[tuple[str, ...], ...]] = {
    Kind.DEPLOYMENT: ((),),
    Kind.STATEFUL_SET: ((),),
    Kind.LEADER_WORKER_SET: (("leaderTemplate",), ("workerTemplate",)),
}
"""Where in ``Target.template`` the pod templates are."""

ENDS_GROUPS_FIRST = (
    "its controller writes no status.observedGeneration, so it is older than LeaderWorkerSet v0.9 and ends a group "
    "before the new one serves, whatever maxUnavailable says; update it, or use another variant for the change"
)
"""Seen with v0.8.0: of two groups one served, with maxSurge 1 and maxUnavailable 0. Mended upstream in #778."""


# --- pure: what changes, and whether it may ---------------------------------------------------------------------------


def breaks_first(kind: Kind, spec: Mapping[str, Any], replicas: int) -> str:
    """Why a new template would end pods before others take their place; "" when it would not."""
    if kind is Kind.STATEFUL_SET:
        return "a StatefulSet ends a pod before it makes the new one; use another variant for the change"
    if kind is Kind.DEPLOYMENT:
        strategy = spec.get("strategy") or {}
        if strategy.get("type") == "Recreate":
            return "its strategy Recreate ends every pod before it makes a new one; make it RollingUpdate"
        rolling = strategy.get("rollingUpdate") or {}
        usual: tuple[int | str, int | str] = ("25%", "25%")
    else:
        rolling = (spec.get("rolloutStrategy") or {}).get("rollingUpdateConfiguration") or {}
        usual = (1, 0)
        if rolling.get("partition"):
            return f"its partition {rolling['partition']} leaves groups below it as they are; make it 0"
    unavailable = _part(rolling.get("maxUnavailable", usual[0]), replicas)
    surge = rolling.get("maxSurge", usual[1])
    if surge in (0, "0%"):
        return "its maxSurge is 0, so that it makes no new pod before an old one ends; make it 1"
    if unavailable:
        told = rolling.get("maxUnavailable", usual[0])
        return f"its maxUnavailable {told} lets {unavailable} of {replicas} end before new ones are ready; make it 0"
    return ""


def surge_of(kind: Kind, spec: Mapping[str, Any], replicas: int) -> int:
    """How many replicas stand beside the others while another template is rolled out: maxSurge, rounded up."""
    rolling = (spec.get("strategy") or {}).get("rollingUpdate") or {}
    if kind is Kind.LEADER_WORKER_SET:
        rolling = (spec.get("rolloutStrategy") or {}).get("rollingUpdateConfiguration") or {}
    most = rolling.get("maxSurge", "25%" if kind is Kind.DEPLOYMENT else 0)
    return min(replicas, most if isinstance(most, int) else -(-int(most.removesuffix("%")) * replicas // 100))


def _part(value: int | str, whole: int) -> int:
    """maxUnavailable is rounded down."""
    return value if isinstance(value, int) else int(value.removesuffix("%")) * whole // 100


def change_of(standing: Standing, options: KubernetesOptions, now: datetime) -> Change | None:
    """What its engines are to be started with instead, and how far that is; None where they are as they are to be."""
    template, course = options.template, course_of(standing.target)
    if course is not None and not course.failed and _stands(standing, course):
        fresh, since = len(_fresh(standing, course)), f"{course.since:%H:%M:%S} UTC"
        detail = f"{fresh} of {len(standing.active)} replicas are new, since {since}"
        return Change(what=course.what, stage=ChangeStage.ROLLING, detail=detail)
    if template is None:
        return None
    try:
        what = _differences(list(_engines(standing, template)), template)
    except ActError as error:
        return Change(what="its container", stage=ChangeStage.BLOCKED, detail=str(error))
    if not what:
        return None
    if course is not None and course.wanted == shortened(template):
        return Change(what=what, stage=ChangeStage.TAKEN_BACK, detail=course.failed)
    blocked = _overridden(standing, template, now) or _blocked(standing)
    if blocked:
        return Change(what=what, stage=ChangeStage.BLOCKED, detail=blocked)
    surge = surge_of(standing.target.ref.kind, json.loads(standing.target.strategy or "{}"), standing.target.replicas)
    return Change(what=what, stage=ChangeStage.WANTED, surge=surge)


def _differences(engines: Sequence[Json], template: EngineTemplate) -> str:
    """In short; "" where there are none."""
    found: dict[str, None] = {}
    for one in engines:
        wanted = changed(one, template)
        if wanted is one:
            continue
        if wanted.get("image") != one.get("image"):
            found[f"image {template.image}"] = None
        if list(wanted.get("args") or ()) != list(one.get("args") or ()):
            found["args"] = None
        if any(variable not in (one.get("env") or ()) for variable in wanted.get("env") or ()):
            found[f"env {', '.join(sorted(template.env))}"] = None
    return "; ".join(found) or ("env" if any(changed(one, template) is not one for one in engines) else "")


def _blocked(standing: Standing) -> str:
    """Why a rollout may not begin as the target is; "" when it may."""
    target = standing.target
    if standing.rolling:
        return "another rollout is under way"
    if target.paused:
        return "the target is paused"
    if target.ref.kind is Kind.LEADER_WORKER_SET and not target.observed_generation:
        return ENDS_GROUPS_FIRST
    return standing.owner or breaks_first(target.ref.kind, json.loads(target.strategy or "{}"), target.replicas)


def _stands(standing: Standing, course: Course) -> bool:
    """Whether what a rollout wrote is there yet; else somebody has changed it since."""
    try:
        engines = list(_engines(standing, EngineTemplate(container=course.container)))
    except ActError:
        return False
    return len(engines) == len(course.wrote) and all(map(holds, engines, course.wrote))


def _overridden(standing: Standing, template: EngineTemplate, now: datetime) -> str:
    """That somebody changed the template after us, and what follows; "" where nobody did, or it is over."""
    brought = brought_to(standing.target)
    if brought is None:
        return ""
    by = _changed_by(standing.target, set_by(template))
    if brought.wanted == shortened(template):
        return (
            f"{_told(by)}; it stays as it is until the fleet file's template changes, or until the label that says so "
            f"is taken away: {_lifted_by(standing.target)}"
        )
    recent = by is not None and by.at is not None and abs(now - by.at) < OVERRIDE_HOLD
    if recent and brought.stands != stands(_engines(standing, template)):
        return f"{_told(by)}; it is left alone for {OVERRIDE_HOLD.total_seconds():g} s from then"
    return ""


def _changed_by(target: Target, fields: Iterable[str]) -> TemplateManager | None:
    """Who else wrote such fields of its containers last."""
    meant = {*fields, "containers"}
    others = [one for one in target.template_managers if one.manager != FIELD_MANAGER and one.fields & meant]
    return others[-1] if others else None


def _told(by: TemplateManager | None) -> str:
    if by is None:
        return "somebody changed its template"
    return f"'{by.manager}' changed its template{f' at {by.at:%Y-%m-%d %H:%M:%S} UTC' if by.at else ''}"


def _lifted_by(target: Target) -> str:
    ref = target.ref
    return f"kubectl label -n {ref.namespace} {ref.kind.lower()} {ref.name} {BROUGHT}-"


def failing(standing: Standing, course: Course, patience: timedelta, now: datetime) -> str:
    """Why a rollout does not come through; "" while it may."""
    fresh = _fresh(standing, course)
    for one in fresh:
        if one.stuck is not None and one.stuck.kind in HOPELESS:
            return f"{one.name}: {one.stuck.kind}: {one.stuck.detail}"
    if standing.refused is not None:
        return f"its pods are refused: {standing.refused.detail}"
    last = max([course.since, *(one.since for one in fresh if one.phase is Phase.READY)])
    return f"no new pod became ready within {patience.total_seconds():g} s" if now - last > patience else ""


def through(standing: Standing, course: Course) -> bool:
    """Whether every pod is new and ready."""
    target, fresh = standing.target, _fresh(standing, course)
    seen = target.observed_generation >= target.generation
    ready = sum(one.phase in (Phase.READY, Phase.DRAINING) for one in fresh)
    return seen and not standing.missing and len(fresh) == len(standing.active) and ready == len(fresh)


def _fresh(standing: Standing, course: Course) -> list[Replica]:
    return [one for one in standing.active if one.pod.template not in course.old]


# --- the writes -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rollout:
    """Changes of one target's template."""

    cluster: ClusterView
    written: Written
    options: KubernetesOptions

    def begin(self, standing: Standing, now: datetime) -> str:
        """Patch the template of a target whose change is WANTED, and say so."""
        template = self.options.template
        assert template is not None
        engines = list(_engines(standing, template))
        course = Course(
            since=now,
            wanted=shortened(template),
            what=_differences(engines, template),
            container=template.container,
            before=tuple({key: one[key] for key in FIELDS if key in one} for one in engines),
            wrote=tuple(set_by(template) for _ in engines),
            old=tuple(sorted({one.pod.template for one in standing.active})),
        )
        self._write(standing, [changed(one, template) for one in engines], course)
        return f"{standing}: a rollout to another template begins, {standing.target.replicas} replicas"

    def due(self, standing: Standing) -> bool:
        """Whether ``watch`` has anything to do."""
        course = course_of(standing.target)
        return (course is not None and not course.failed) or self._unsettled(standing)

    def watch(self, standing: Standing, now: datetime) -> None:
        """See a rollout through, end it, or take it back. What cannot be written now is written in the next pass."""
        if standing.target.deleting:
            return
        course = course_of(standing.target)
        try:
            if course is not None and not course.failed:
                self._on_its_way(standing, course, now)
            elif self._unsettled(standing):
                self._settle(standing)
        except (ClusterError, ActError, HeldError) as error:
            log.warning("%s: not all was done: %s", standing, error)

    def _on_its_way(self, standing: Standing, course: Course, now: datetime) -> None:
        if not _stands(standing, course):
            by = _told(_changed_by(standing.target, {key for one in course.wrote for key in one}))
            self._settle(standing)
            log.warning("%s: the rollout is ended: %s, which is left as it is", standing, by)
        elif why := failing(standing, course, timedelta(seconds=self.options.start_timeout_s), now):
            self._take_back(standing, course, why)
        elif through(standing, course):
            self._settle(standing)
            log.info("%s: the rollout is through", standing)

    def _unsettled(self, standing: Standing) -> bool:
        """Whether the engines are as the fleet file wants them and the label does not say so yet, or an annotation
        stands there of a rollout that is over."""
        template, target = self.options.template, standing.target
        course, brought = course_of(target), brought_to(target)
        if course is None and (ROLLOUT in target.annotations or (brought is not None and brought.rolling)):
            return True
        if template is None or standing.owner or not _as_wished(standing, template):
            return False
        return brought is None or brought.wanted != shortened(template)

    def _settle(self, standing: Standing) -> None:
        """Nothing is on its way. Engines that are as they are to be were brought there, by whomever."""
        template, brought = self.options.template, brought_to(standing.target)
        if template is not None and _as_wished(standing, template):
            brought = Brought(shortened(template), stands(_engines(standing, template)))
        label = replace(brought, rolling=False).text if brought is not None else None
        self._patch(standing, {"metadata": {"annotations": {ROLLOUT: None}, "labels": {BROUGHT: label}}})

    def _take_back(self, standing: Standing, course: Course, why: str) -> None:
        log.warning("%s: the rollout is taken back: %s", standing, why)
        engines = _engines(standing, EngineTemplate(container=course.container))
        old = [restored(*one) for one in zip(engines, course.before, course.wrote, strict=True)]
        self._write(standing, old, replace(course, failed=why))

    def _write(self, standing: Standing, engines: Sequence[Json], course: Course) -> None:
        """The new containers, what was before and the label, in one patch. A merge patch replaces lists, so it names
        all."""
        patch: Json = {}
        places = _places(standing, EngineTemplate(container=course.container))
        for (place, containers, index), engine in zip(places, engines, strict=True):
            listed = [*containers[:index], engine, *containers[index + 1 :]]
            part: Json = {"spec": {"containers": listed}}
            for key in reversed(place):
                part = {key: part}
            patch |= part
        root = "leaderWorkerTemplate" if standing.target.ref.kind is Kind.LEADER_WORKER_SET else "template"
        label = Brought(course.wanted, stands(engines), not course.failed).text
        notes = {"annotations": {ROLLOUT: course.text}, "labels": {BROUGHT: label}}
        self._patch(standing, {"metadata": notes, "spec": {root: patch}})

    def _patch(self, standing: Standing, patch: Json) -> None:
        version = standing.target.resource_version
        target = self.cluster.calls.patch_target(standing.target.ref, patch, version=version)
        self.written.target(target.ref, target.resource_version)


def _as_wished(standing: Standing, template: EngineTemplate) -> bool:
    try:
        return all(changed(one, template) is one for one in _engines(standing, template))
    except ActError:
        return False


def _engines(standing: Standing, template: EngineTemplate) -> Iterator[Json]:
    for _, containers, index in _places(standing, template):
        yield containers[index]


def _places(standing: Standing, template: EngineTemplate) -> Iterator[tuple[tuple[str, ...], list[Json], int]]:
    """Where the engine's container is: the way to its pod template, all containers there, and its place among them."""
    ref, whole = standing.target.ref, json.loads(standing.target.template or "{}")
    found = 0
    for place in PLACES[ref.kind]:
        part = whole
        for key in place:
            part = part.get(key) or {}
        containers = (part.get("spec") or {}).get("containers") or []
        index = _index(containers, template.container)
        if index is not None:
            found += 1
            yield place, containers, index
    if not found:
        names = template.container or "any"
        raise ActError(f"did not change {ref}: its template has no container '{names}'")


def _index(containers: Iterable[Json], name: str) -> int | None:
    return next((index for index, one in enumerate(containers) if not name or one.get("name") == name), None)
