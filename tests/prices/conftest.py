from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any

import pytest

from controller.facts.fleet import CapacityType
from controller.facts.prices import Quote
from tests.moto_server import moto_server

Key = tuple[str, CapacityType, str, datetime]


class Shelf:
    """Quotes in a dictionary."""

    def __init__(self) -> None:
        self.rows: dict[Key, Quote] = {}

    def keep(self, quotes: Sequence[Quote]) -> None:
        for one in quotes:
            key = (one.offer, one.capacity_type, one.zone, one.effective_at)
            before = self.rows.get(key)
            if before is None or before.fetched_at <= one.fetched_at:
                self.rows[key] = one

    def kept(self, offer: str, capacity_type: CapacityType, since: datetime) -> Sequence[Quote]:
        ours = [one for one in self.rows.values() if one.offer == offer and one.capacity_type is capacity_type]
        ours.sort(key=lambda one: one.effective_at)
        before = {one.zone: one for one in ours if one.effective_at <= since}
        return [*before.values(), *(one for one in ours if one.effective_at > since)]


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture(scope="session")
def moto_options() -> Iterator[dict[str, Any]]:
    """What a boto3 client needs to speak to an AWS of this process."""
    with moto_server() as options:
        yield options


@pytest.fixture
def unused_tcp_port_of() -> Callable[[], int]:
    """A port where nobody listens."""

    def port() -> int:
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            found: int = one.getsockname()[1]
            return found

    return port
