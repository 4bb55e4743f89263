"""``GET /api/v1/usage/sources``: where usage records come from, what became of them, and why some were refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fastapi import APIRouter
from pydantic import BaseModel, Field

from controller.facts.missing import Missing
from controller.facts.usage import Reason
from controller.serve.account_metrics import FeedSeen
from controller.serve.allocation import Answered
from controller.serve.allocation_told import PROBLEMS


class SourceTold(BaseModel):
    """One source. Counts are of all that it ever gave."""

    source: str
    lag_s: float | None = Field(description="Since its newest record; null: none came yet.")
    accepted: int
    duplicates: int
    refused: int
    refused_for: dict[Reason, int] = Field(description="Refused records by reason, as long as reasons are kept.")


class SourcesTold(BaseModel):
    """All that records ever came from, by name."""

    sources: list[SourceTold]


def sources_router(feeds: Callable[[], Sequence[FeedSeen]]) -> APIRouter:
    """It only reads."""
    router = APIRouter(prefix="/api/v1/usage", responses=PROBLEMS)

    @router.get("/sources", summary="Where usage records come from, and why some were refused")
    def sources() -> SourcesTold:
        with Answered():
            return SourcesTold(sources=[_told(one) for one in feeds()])

    return router


def _told(one: FeedSeen) -> SourceTold:
    return SourceTold(
        source=one.source,
        lag_s=None if isinstance(one.lag_s, Missing) else one.lag_s,
        accepted=one.accepted,
        duplicates=one.duplicates,
        refused=one.refused,
        refused_for=dict(one.refused_for),
    )
