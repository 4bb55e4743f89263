"""The daemon's jobs, which are due by the wall clock."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from apscheduler.schedulers.background import BackgroundScheduler


def at_once(scheduler: BackgroundScheduler, name: str) -> None:
    """Whoever has just begun to lead waits for no interval."""
    scheduler.modify_job(name, next_run_time=datetime.now(UTC))  # noqa: TID251 - the scheduler lives on the wall clock


def every(
    scheduler: BackgroundScheduler, name: str, job: Callable[[], None], interval: timedelta, first: timedelta
) -> None:
    scheduler.add_job(
        job,
        "interval",
        seconds=interval.total_seconds(),
        id=name,
        next_run_time=datetime.now(UTC) + first,  # noqa: TID251 - the scheduler lives on the wall clock
        coalesce=True,
        max_instances=1,
        misfire_grace_time=None,
    )
