"""Certificates from files, read again when they change: they are renewed while we run."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from controller.facts.doors import Tls

log = logging.getLogger("pennyweight")

Made = TypeVar("Made")
Stamp = tuple[tuple[int, int, int], ...]


class Renewed(Generic[Made]):
    """What ``make`` makes of the files, made anew when they changed.

    Files that are half written, or do not fit together, leave the last good ones in use, and are told once.
    """

    def __init__(self, tls: Tls, make: Callable[[Tls], Made]) -> None:
        """Raises whatever ``make`` and reading the files raise: at the start they must be right."""
        self._tls, self._make = tls, make
        self._stamp = _stamp(tls)
        self._told = ""
        self.now = make(tls)

    def changed(self) -> bool:
        """Whether ``now`` is another one than before."""
        try:
            stamp = _stamp(self._tls)
            if stamp == self._stamp:
                return False
            self.now = self._make(self._tls)
        except (OSError, ValueError) as error:  # ssl's errors are OSErrors
            self._tell(str(error))
            return False
        self._stamp, self._told = stamp, ""  # not before: what failed may have been the reading, of good files
        log.info("the certificate %s was read again", self._tls.certificate)
        return True

    def _tell(self, why: str) -> None:
        if why != self._told:
            log.error("the certificate %s could not be read again, the old one stays: %s", self._tls.certificate, why)
        self._told = why


def files(tls: Tls) -> tuple[Path, ...]:
    """All of its files."""
    return tuple(Path(name) for name in (tls.certificate, tls.key, tls.client_ca) if name)


def _stamp(tls: Tls) -> Stamp:
    return tuple((at.st_mtime_ns, at.st_size, at.st_ino) for at in (path.stat() for path in files(tls)))
