"""What an engine's container is started with: as the fleet file wants it, as it was, and whether that stands. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any

from controller.act.kubernetes.course import Json
from controller.facts.actuators import EngineTemplate

FIELDS = ("image", "args", "env")


def shortened(template: EngineTemplate) -> str:
    """The same for the same wishes."""
    return _short([template.container, template.args, sorted(template.env.items()), template.image])


def stands(engines: Iterable[Json]) -> str:
    """The same while they are started with the same."""
    return _short([_plain(one) for one in engines])


def _short(told: Any) -> str:
    return sha256(json.dumps(told).encode()).hexdigest()[:12]


def set_by(template: EngineTemplate) -> Json:
    """What of a container the template sets, and to what."""
    wishes: Json = {"image": template.image} if template.image else {}
    if template.args is not None:
        wishes["args"] = list(template.args)
    if template.env:
        wishes["env"] = [{"name": name, "value": value} for name, value in template.env.items()]
    return wishes


def changed(container: Json, template: EngineTemplate) -> Json:
    """``container`` as the template wants it; itself where it is so."""
    return container if holds(container, set_by(template)) else _with(container, set_by(template))


def holds(container: Json, wishes: Mapping[str, Any]) -> bool:
    """Whether it has all that is wished."""
    return _plain(container) == _plain(_with(container, wishes))


def _with(container: Json, wishes: Mapping[str, Any]) -> Json:
    if "env" not in wishes:
        return {**container, **wishes}
    names = _names(wishes["env"])
    others = [one for one in container.get("env") or () if one.get("name") not in names]
    return {**container, **wishes, "env": [*others, *wishes["env"]]}


def restored(container: Json, before: Json, wrote: Json) -> Json:
    """``container`` with what ``wrote`` says was set as it was ``before``; what else stands there stays."""
    was = {key: before[key] for key in wrote if key in before}
    if "env" in wrote:
        was["env"] = _restored_env(container.get("env") or (), before.get("env") or (), _names(wrote["env"]))
    kept = {key: value for key, value in container.items() if key not in wrote}
    return {**kept, **{key: value for key, value in was.items() if value or key in before}}


def _restored_env(now: Iterable[Json], before: Iterable[Json], ours: set[str]) -> list[Json]:
    """In the order of before, for variables may name those above them."""
    others = {one["name"]: one for one in now if one.get("name") not in ours}
    old = [one if one["name"] in ours else others.get(one["name"]) for one in before]
    known = _names(before)
    return [*(one for one in old if one is not None), *(one for name, one in others.items() if name not in known)]


def _names(env: Iterable[Json]) -> set[str]:
    return {str(one.get("name")) for one in env}


def _plain(container: Json) -> tuple[Any, ...]:
    """What two containers are compared by. The API server leaves empty values out."""
    env = [{key: value for key, value in one.items() if value != ""} for one in container.get("env") or ()]
    listed = sorted(json.dumps(one, sort_keys=True) for one in env)
    return (container.get("image"), list(container.get("args") or ()), listed)
