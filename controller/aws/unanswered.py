"""What AWS does not answer is told when that begins and when it is over, and not in every pass."""

from __future__ import annotations

import logging

from controller.aws.clients import unanswerable
from controller.errors import AwsError

log = logging.getLogger(__name__)


class Unanswered:
    """Calls that AWS does not answer now, by name."""

    def __init__(self) -> None:
        self._calls: dict[str, str] = {}

    def met(self, call: str, where: str, error: AwsError, instead: str) -> bool:
        """Whether ``error`` says that ``call`` is not to be had. ``instead``: what follows from that."""
        if not unanswerable(error):
            return False
        if call not in self._calls:
            log.warning("%s: %s is not to be had: %s; %s. This is told once", where, call, error, instead)
        self._calls[call] = where
        return True

    def answered(self, call: str) -> None:
        """It was answered."""
        where = self._calls.pop(call, "")
        if where:
            log.info("%s: %s is answered again", where, call)
