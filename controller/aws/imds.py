"""What an EC2 instance says of itself: whether it will be taken back. Asked on the instance, by its metadata service.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html (version 2: a token first)
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
"""

from __future__ import annotations

import http.client
import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime

from controller.aws.hearing import Hearing
from controller.aws.interruptions_messages import Told
from controller.facts.interruptions import LOCAL, Notice, NoticeKind

log = logging.getLogger(__name__)

HOST, PORT = "169.254.169.254", 80

EVERY_S = 5.0
"""As AWS recommends."""

TIMEOUT_S = 2.0
"""It answers in milliseconds, from the same machine. A guess."""

TOKEN_S = 21_600
"""A token lives six hours, the longest; a new one is asked for when it is refused."""

MOST_BYTES = 65_536

ACTION = "/latest/meta-data/spot/instance-action"
REBALANCE = "/latest/meta-data/events/recommendations/rebalance"
INSTANCE = "/latest/meta-data/instance-id"

HOPS = (
    "in a container the answer needs one hop more: aws ec2 modify-instance-metadata-options --instance-id ID"
    " --http-put-response-hop-limit 2"
)


class _AwayError(Exception):
    """Why the service does not answer as it should."""


class MetadataPoller(Hearing):
    """Notices of the machine that the daemon runs on: for its own engines, and under the instance's id for others."""

    name = "imds"

    def __init__(
        self,
        heard: Callable[[Told, datetime], None],
        clock: Callable[[], datetime],
        *,
        address: tuple[str, int] = (HOST, PORT),
        every_s: float = EVERY_S,
    ) -> None:
        super().__init__("the instance metadata", clock)
        self._heard = heard
        self._address = address
        self._every_s = every_s
        self._token = ""
        self._node = ""
        self._told: dict[NoticeKind, Notice] = {}

    def look(self) -> None:
        """Ask once, and hand on what is new."""
        try:
            found = [self._action(self._get(ACTION)), self._rebalance(self._get(REBALANCE))]
            self._node = self._node or (self._get(INSTANCE) or "").strip()
        except _AwayError as error:
            if not self._failed:
                log.warning("the instance metadata cannot be read: %s", error)
            self._failed = str(error)
            return
        now = self._clock()
        self._answered_at, self._failed = now, ""
        for notice in found:
            if notice is not None and self._told.get(notice.kind) != notice:
                self._told[notice.kind] = notice
                nodes = dict.fromkeys(filter(None, (LOCAL, self._node)))
                self._heard(Told(notices=tuple(_on(notice, node) for node in nodes), at=notice.at), now)

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                self.look()
            except Exception:  # nothing that it can say may end the asking
                log.exception("asking the instance metadata failed; it goes on")
            self._closed.wait(self._every_s)

    def _action(self, body: str | None) -> Notice | None:
        """{"action": "terminate", "time": "2017-09-18T08:22:00Z"}: the time at which it will be done, about."""
        if body is None:
            return None
        before = self._told.get(NoticeKind.SPOT)
        deadline = _time_in(body, "time")
        if before is not None and (deadline is None or before.deadline == deadline):
            return before
        return Notice(node=LOCAL, kind=NoticeKind.SPOT, at=self._clock(), deadline=deadline, source=self.name)

    def _rebalance(self, body: str | None) -> Notice | None:
        """{"noticeTime": "2020-10-27T08:22:00Z"}."""
        if body is None:
            return None
        before = self._told.get(NoticeKind.REBALANCE)
        at = _time_in(body, "noticeTime")
        if at is None:
            return before or Notice(node=LOCAL, kind=NoticeKind.REBALANCE, at=self._clock(), source=self.name)
        return Notice(node=LOCAL, kind=NoticeKind.REBALANCE, at=at, source=self.name)

    def _get(self, path: str) -> str | None:
        """What stands there; None: nothing does."""
        for _ in range(2):
            if not self._token:
                self._token = self._new_token()
            status, body = self._ask("GET", path, {"X-aws-ec2-metadata-token": self._token})
            if status == http.client.UNAUTHORIZED:
                self._token = ""
                continue
            if status == http.client.NOT_FOUND:
                return None
            if status != http.client.OK:
                raise _AwayError(f"{path} answered {status}")
            return body
        raise _AwayError("it refuses the token that it gave")

    def _new_token(self) -> str:
        headers = {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_S)}
        try:
            status, body = self._ask("PUT", "/latest/api/token", headers)
        except _AwayError as error:
            raise _AwayError(f"{error}; {HOPS}") from None
        if status == http.client.FORBIDDEN:
            raise _AwayError("it is switched off for this instance (403)")
        if status != http.client.OK or not body.strip():
            raise _AwayError(f"it gave no token ({status})")
        return body.strip()

    def _ask(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, str]:
        """Never through a proxy: the address is the machine's own."""
        connection = http.client.HTTPConnection(*self._address, timeout=TIMEOUT_S)
        try:
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read(MOST_BYTES).decode("utf-8", "replace")
        except (OSError, http.client.HTTPException) as error:
            raise _AwayError(f"no answer from {self._address[0]}: {error}") from None
        finally:
            connection.close()


def _on(notice: Notice, node: str) -> Notice:
    return Notice(node=node, kind=notice.kind, at=notice.at, deadline=notice.deadline, source=notice.source)


def _time_in(body: str, key: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(json.loads(body)[key])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
