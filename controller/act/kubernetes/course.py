"""A rollout of ours as it stands on its target, in annotation pennyweight.dev/rollout, until it is through. Pure.

Label pennyweight.dev/template says which of the fleet file's templates was brought there last, and stays. It is a label
because `kubectl rollout undo` puts back all annotations that a Deployment had at an older revision, ours among them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from controller.kubernetes.objects import Target
from controller.kubernetes.resources import PREFIX

Json = dict[str, Any]

ROLLOUT = f"{PREFIX}rollout"
BROUGHT = f"{PREFIX}template"


@dataclass(frozen=True, slots=True)
class Brought:
    """What the label says.

    wanted    the template of the fleet file, shortened
    stands    what its engines were left with, shortened
    rolling   its rollout is on its way: an annotation of one that is not so has come back after its end
    """

    wanted: str
    stands: str
    rolling: bool = False

    @property
    def text(self) -> str:
        return f"{self.wanted}.{self.stands}{'.rolling' if self.rolling else ''}"


def brought_to(target: Target) -> Brought | None:
    """None where nothing was, or somebody took the label away."""
    parts = target.labels.get(BROUGHT, "").split(".")
    return Brought(parts[0], parts[1], parts[2:] == ["rolling"]) if len(parts) in {2, 3} else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """A rollout that was begun.

    wanted      what it brings, shortened
    what        the same for people
    container   its name; "": the first one
    before      the engine's image, args and env, by pod template, as they were
    wrote       what of them was set, and to what
    old         the versions of the pods that were there
    failed      why it was taken back; "" while it goes on
    """

    since: datetime
    wanted: str
    what: str = "another template"
    container: str = ""
    before: tuple[Json, ...]
    wrote: tuple[Json, ...]
    old: tuple[str, ...]
    failed: str = ""

    @property
    def text(self) -> str:
        told = {"since": self.since.isoformat(), "wanted": self.wanted, "what": self.what}
        rest = {"before": self.before, "wrote": self.wrote, "old": self.old}
        words = {"container": self.container, "failed": self.failed}
        return json.dumps({**told, **rest, **{key: value for key, value in words.items() if value}})


def course_of(target: Target) -> Course | None:
    """None where there is none, somebody wrote over it or took the label away, or it came back after its end."""
    try:
        told = json.loads(target.annotations[ROLLOUT])
        found = Course(
            since=datetime.fromisoformat(told["since"]),
            wanted=told["wanted"],
            what=str(told.get("what", "another template")),
            container=str(told.get("container", "")),
            before=tuple(told["before"]),
            wrote=tuple(told["wrote"]),
            old=tuple(told["old"]),
            failed=told.get("failed", ""),
        )
    except (KeyError, TypeError, ValueError):
        return None
    brought = brought_to(target)
    known = brought is not None and (brought.wanted, brought.rolling) == (found.wanted, not found.failed)
    return found if known else None
