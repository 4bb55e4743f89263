"""Ports on loopback: the wanted one, or the next that is free, said aloud."""

from __future__ import annotations

import socket

TRIES = 50
"""How many ports above the wanted one are tried. A guess: more than any one program occupies in a row."""


class PortPicker:
    """Hands out ports and remembers what had to be moved, for the summary to say."""

    def __init__(self) -> None:
        self._given: set[int] = set()
        self.moved: list[str] = []

    def pick(self, wanted: int, what: str) -> int:
        """``wanted``, or the nearest free port above it. OSError when none of the next 50 is free."""
        for port in range(wanted, wanted + TRIES):
            if port in self._given or not _is_free(port):
                continue
            self._given.add(port)
            if port != wanted and wanted not in self._given:
                self.moved.append(f"port {wanted} is taken, so {what} is on {port}")
            return port
        raise OSError(f"no free port for {what} from {wanted} to {wanted + TRIES - 1} on 127.0.0.1")

    def release(self, port: int) -> None:
        """The port may be handed out again."""
        self._given.discard(port)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
