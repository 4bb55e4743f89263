"""The shape of fleet.yaml's ``leader:``: how several daemons agree on who works."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from controller.documents import ContradictionError
from controller.facts.leadership import JITTER, Electing, LeaderTimes, Lease
from controller.quantities import duration_text
from controller.settings.base import Shape
from controller.settings.values import Period

LeaseName = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]

USUAL = LeaderTimes()


def _given(value: Any) -> Any:
    """A key with nothing behind it is None: whoever writes it means the defaults, and would get none of it."""
    if value is None:
        raise ContradictionError("it stands without a value; for the defaults write {}, else leave it out")
    return value


_GIVEN = BeforeValidator(_given)


class LeaseShape(Shape):
    """A Lease of Kubernetes (coordination.k8s.io/v1)."""

    name: LeaseName = Field(default="pennyweight", description="of the Lease: one a fleet")
    namespace: LeaseName | None = Field(default=None, description="where it is; else the pod's own namespace")


class LeaderShape(Shape):
    """Several daemons of one fleet: one works, the others stand by."""

    lease: Annotated[LeaseShape | None, _GIVEN] = Field(
        default=None, description="elect by a Lease of Kubernetes; else by a lock of the ledger's database"
    )
    duration: Period = Field(
        default=USUAL.duration_s, description="a leader that was not heard of for so long is replaced; whole seconds"
    )
    renew_deadline: Period = Field(
        default=USUAL.renew_deadline_s, description="a leader that could not renew for so long stops acting"
    )
    retry: Period = Field(default=USUAL.retry_s, description="between renewals; who stands by looks twice as often")

    @model_validator(mode="after")
    def _in_this_order(self) -> LeaderShape:
        """As client-go checks its own three (leaderelection.NewLeaderElector)."""
        if self.duration != int(self.duration):
            raise ContradictionError(f"`duration` is written in whole seconds, found {duration_text(self.duration)}")
        if self.renew_deadline >= self.duration:
            raise ContradictionError(
                "a leader must stop before another one may begin: expected `renew_deadline` below the duration of "
                f"{duration_text(self.duration)}, found {duration_text(self.renew_deadline)}"
            )
        if self.renew_deadline <= self.retry * JITTER:
            raise ContradictionError(
                f"one renewal that fails must not be the last: expected `renew_deadline` above {JITTER:g} times the "
                f"retry of {duration_text(self.retry)}, found {duration_text(self.renew_deadline)}"
            )
        return self


def electing_of(shape: LeaderShape | None) -> Electing | None:
    """As it is used; None: one daemon, and a second one stops."""
    if shape is None:
        return None
    times = LeaderTimes(duration_s=shape.duration, renew_deadline_s=shape.renew_deadline, retry_s=shape.retry)
    lease = None if shape.lease is None else Lease(name=shape.lease.name, namespace=shape.lease.namespace or "")
    return Electing(times=times, lease=lease)


Leader = Annotated[LeaderShape | None, _GIVEN]
