"""What the API server's refusals mean, as errors of our own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from controller.errors import (
    AbsentError,
    AwayError,
    BlockedError,
    ClusterError,
    ConflictError,
    ForbiddenError,
)
from controller.kubernetes.resources import Resource

LONGEST = 300
"""Characters of a message of the API server that are told."""

WRITES = {"create", "update", "patch"}


class ExpiredError(ClusterError):
    """410 Gone: the version to go on from is forgotten. Everything is listed anew."""


class CredentialsError(ClusterError):
    """Who we are could not be proved: no token, or none that can be sent. Nothing was asked."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call, as roles name it and people read it."""

    verb: str
    resource: Resource
    namespace: str = ""
    name: str = ""
    sub: str = ""

    @property
    def where(self) -> str:
        """ "deployments.apps/scale", as a role names the resource."""
        return f"{self.resource}/{self.sub}" if self.sub else str(self.resource)

    @property
    def doubt(self) -> str:
        """What is to be thought of it when there was no answer."""
        return (
            "whether it worked is not known, the next pass looks" if self.verb in WRITES else "it is asked again later"
        )

    def __str__(self) -> str:
        place = "/".join(part for part in (self.namespace, self.name) if part)
        return f"{self.verb} {self.where} {place}".rstrip()


def refusal(call: Call, status: int, headers: Mapping[str, str], content: bytes) -> ClusterError:
    """The error of an answer that is none of 2xx."""
    said = _said(content)
    told = f"{call}: HTTP {status}{': ' + said if said else ''}"
    if status in {401, 403}:
        return ForbiddenError(_forbidden(call, status, said))
    if status == 404:
        return AbsentError(f"{told}; nothing was done")
    if status == 409 or (status == 422 and "metadata.uid" in _fields(content)):
        return ConflictError(f"{told}; nothing was changed, it is read and decided anew")
    if status == 410:
        return ExpiredError(f"{told}; everything is listed anew")
    if status == 429:
        wait = headers.get("Retry-After")
        asked = f" (Retry-After: {wait})" if wait else ""
        return BlockedError(f"{told}{asked}; nothing was done, it is tried again later")
    if status >= 500:
        return AwayError(f"{told}; {call.doubt}")
    return ClusterError(f"{told}; nothing was done")


def _forbidden(call: Call, status: int, said: str) -> str:
    if status == 401:
        said_so = "the API server does not know us (HTTP 401); nothing was done; token or certificate is no good"
        return f"{call}: {said_so}"
    where = f" in namespace {call.namespace}" if call.namespace else ""
    need = f"the role needs verb '{call.verb}' on resource '{call.where}'{where}"
    return f"{call}: not allowed (HTTP 403); nothing was done; {need}. It said: {said or 'nothing'}"


def _said(content: bytes) -> str:
    """The message of a Status object, or the beginning of whatever came instead."""
    try:
        found = json.loads(content)
    except ValueError:
        return " ".join(content[:120].decode(errors="replace").split())
    message = found.get("message") if isinstance(found, dict) else None
    return _shortened(" ".join(str(message).split())) if message else ""


def _shortened(text: str) -> str:
    """Its beginning and its end: of a patch that does not fit the API server tells the whole object first."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} … {text[-LONGEST // 2 :]}"


def _fields(content: bytes) -> set[str]:
    """What an object is invalid for. A patch with another object's uid is told so, and not as a conflict."""
    try:
        causes = json.loads(content)["details"]["causes"]
        return {str(one["field"]) for one in causes}
    except (ValueError, KeyError, TypeError):
        return set()
