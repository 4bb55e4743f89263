"""A rollout of ours as it stands on its target, in annotation pennyweight.dev/rollout, until it is through. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from controller.kubernetes.objects import Target
from controller.kubernetes.resources import PREFIX

Json = dict[str, Any]

ROLLOUT = f"{PREFIX}rollout"


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """A rollout that was begun.

    wanted   what it brings, shortened
    what     the same for people
    before   the engine's image, args and env, by pod template, as they were
    old      the versions of the pods that were there
    failed   why it was taken back; "" while it goes on
    """

    since: datetime
    wanted: str
    what: str = "another template"
    before: tuple[Json, ...]
    old: tuple[str, ...]
    failed: str = ""

    @property
    def text(self) -> str:
        told = {"since": self.since.isoformat(), "wanted": self.wanted, "what": self.what}
        rest = {"before": self.before, "old": self.old}
        return json.dumps({**told, **rest, **({"failed": self.failed} if self.failed else {})})


def course_of(target: Target) -> Course | None:
    """None where there is none, or somebody wrote over it."""
    try:
        told = json.loads(target.annotations[ROLLOUT])
        return Course(
            since=datetime.fromisoformat(told["since"]),
            wanted=told["wanted"],
            what=str(told.get("what", "another template")),
            before=tuple(told["before"]),
            old=tuple(told["old"]),
            failed=told.get("failed", ""),
        )
    except (KeyError, TypeError, ValueError):
        return None
