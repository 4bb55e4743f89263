"""Every error Pennyweight raises, and what the daemon does about it.

PennyweightError
├── ConfigError    a file a user wrote is wrong      exit 2; on reload the old files stay in force
├── ObserveError   a source could not be read        becomes Missing; the pass goes on
├── PriceError     a price source failed             becomes Missing; cost knobs hold
├── BillError      a bill could not be read          nothing of it is posted
├── ActError       an actuator failed                recorded as a failed outcome, alerted; the next pass decides again
│   └── StaleActError   the target changed since the decision   recorded as refused; the next pass decides again
├── ClusterError   a call of Kubernetes failed       an actuator's: as ActError; discovery's: becomes Missing
│   ├── AwayError        no answer; the call may have worked     read again before anything else is done
│   ├── ForbiddenError   the role lacks a verb on a resource     told with both; nothing else helps
│   ├── AbsentError      there is no such object                 the next pass decides again
│   ├── ConflictError    it changed since it was read            read again, decide again, never again blindly
│   ├── BlockedError     not now: the API server is too busy     the next pass decides again
│   └── NonsenseError    an answer that cannot be understood     as if there had been none
├── HeldError      nothing may be touched any more   what had begun waits where it is, and the outcome says so
├── AwsError       a call of AWS failed              an actuator's: as ActError; a price's: as PriceError
├── LedgerError    the ledger could not be written   nothing is acted on until it can
├── UnbalancedError    two sums of one hour differ   nothing is exported
├── UsageError     usage records could not be read   told to who sent them; a polled source is read again next round
│   ├── UsageTooMuchError   more than one call may send       send it in parts
│   └── UsageFullError      too many records wait already     send it again after ``retry_after_s``
└── NotifyError    a channel failed                  logged and counted; never fails a pass
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class PennyweightError(Exception):
    """The root. Its message says what failed, the numbers, and what happens next."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in one file. ``line`` and ``column`` count from 1; 0 = the whole file. ``mistakes``: so many, where
    it stands for those that are not told one by one."""

    file: str
    line: int
    column: int
    key: str
    message: str
    mistakes: int = 1

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place}: {self.key}: {self.message}" if self.key else f"{place}: {self.message}"


class ConfigError(PennyweightError):
    """All mistakes of all files at once."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: (problem.file, problem.line, problem.column)))
        super().__init__("\n".join(map(str, self.problems)))


class ObserveError(PennyweightError):
    """A source could not be read."""


class PriceError(PennyweightError):
    """A price source failed."""


class BillError(PennyweightError):
    """A bill could not be read."""


class ActError(PennyweightError):
    """An actuator failed."""


class StaleActError(ActError):
    """The target changed between deciding and acting."""

    def __init__(self, *, where: str, expected: int, found: int, why: str = "") -> None:
        """``why``: what is known of who changed it."""
        known = f" ({why})" if why else ""
        super().__init__(
            f"did not scale {where}: decided on {expected} replicas, found {found}{known}; "
            "nothing was changed and the next pass decides again"
        )


class HeldError(PennyweightError):
    """Between two changes somebody stopped it, or this daemon ceased to lead: the next one was not made. ``after``: so
    many of the same step were."""

    def __init__(self, what: str = "it", *, after: int = 0) -> None:
        super().__init__(f"{what} may not be touched any more: it was stopped, or this daemon leads no longer")
        self.after = after


class ClusterError(PennyweightError):
    """A call of the Kubernetes API failed."""


class AwayError(ClusterError):
    """There was no answer, or not all of it. Whether the call worked is not known."""


class ForbiddenError(ClusterError):
    """Who we are is not known there, or may not do this: the message names verb and resource."""


class AbsentError(ClusterError):
    """There is no such object, or no such kind of object."""


class ConflictError(ClusterError):
    """The object is no longer what was read, or is there already."""


class BlockedError(ClusterError):
    """Not now: the API server has too much to do. Nothing was done."""


class NonsenseError(ClusterError):
    """The answer was no JSON, or not what the API promises. Whether the call worked is not known."""


class AwsError(PennyweightError):
    """A call of AWS failed. ``code``: AWS's own word for why, "" when it gave no answer: then it may have worked.
    ``status``: of HTTP, 0 for no answer."""

    def __init__(self, message: str, *, code: str = "", status: int = 0) -> None:
        super().__init__(message)
        self.code, self.status = code, status


class LedgerError(PennyweightError):
    """The ledger could not be read or written."""


class UnbalancedError(PennyweightError):
    """Replicas and identities of one pool and hour do not add up to the same cost."""


class UsageError(PennyweightError):
    """Usage records could not be read."""


class UsageTooMuchError(UsageError):
    """More than one call may send."""


class UsageFullError(UsageError):
    """Too many records wait to be written. None of this call was taken."""

    def __init__(self, message: str, *, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class NotifyError(PennyweightError):
    """A channel could not deliver."""
