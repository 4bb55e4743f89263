"""An AWS of this process, on a port of its own."""

from __future__ import annotations

import atexit
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any


@cache
def _address() -> str:
    """One server for all tests of a process: what moto knows is the process's in any case."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    atexit.register(server.stop)
    host, port = server.get_host_and_port()
    return f"http://{host}:{port}"


@contextmanager
def moto_server() -> Iterator[dict[str, Any]]:
    """What a boto3 client needs to speak to it."""
    yield {
        "endpoint_url": _address(),
        "aws_access_key_id": "nobody",
        "aws_secret_access_key": "nothing",
    }
