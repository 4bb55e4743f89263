"""The queue that EventBridge's events about instances go to, listened to in a thread of its own: no pass waits."""

from __future__ import annotations

import logging
import random
from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from controller.aws.clients import Client, Patience, asked
from controller.aws.hearing import Hearing
from controller.aws.interruptions_messages import Told, told
from controller.errors import AwsError

log = logging.getLogger(__name__)

WAIT_S = 20
"""One question waits so long for an answer: SQS's longest, so that an empty queue costs three requests a minute."""

MOST_MESSAGES = 10
"""Of one answer: SQS's most."""

VISIBILITY_S = 20
"""So long nobody else gets a message that was received: longer than it takes to handle ten, and short enough that what
a dying daemon had received comes to the next one well inside the notice."""

LISTENING = Patience(connect_s=5.0, read_s=WAIT_S + 10.0, attempts=1, adaptive=False)
"""Waiting is not failing; tries are counted here."""

FIRST_BACKOFF_S, LONGEST_BACKOFF_S = 1.0, 30.0
"""Doubled from failure to failure, and drawn from half to all of it. Guesses: a notice is 120 s long."""

REMEMBERED = timedelta(hours=1)
MOST_REMEMBERED = 10_000
"""Ids of events that came. SQS and EventBridge deliver at least once; a second time comes within minutes."""

Heard = Callable[[Told, datetime], None]


class QueueListener(Hearing):
    """Hands every event of one queue on once, and deletes it: also what cannot be understood, or it would come back
    for ever."""

    name = "sqs"

    def __init__(
        self,
        client: Callable[[], Client],
        queue: str,
        heard: Heard,
        clock: Callable[[], datetime],
        *,
        wait_s: int = WAIT_S,
        first_backoff_s: float = FIRST_BACKOFF_S,
    ) -> None:
        """``queue``: its URL, or its name. ``client`` is made in the thread: the first one takes a while."""
        self._client = client
        self._queue = queue
        super().__init__(f"the queue {queue}", clock)
        self._heard = heard
        self._wait_s = wait_s
        self._first_backoff_s = first_backoff_s
        self._url = queue if queue.startswith(("http://", "https://")) else ""
        self._ids: OrderedDict[str, datetime] = OrderedDict()
        self._puzzled: set[str] = set()

    def listen(self) -> int:
        """One question, and what its answer says. How many messages came. Raises AwsError."""
        client = self._client()
        if not self._url:
            self._url = str(asked(client.get_queue_url, QueueName=self._queue).get("QueueUrl", ""))
        answer = asked(
            client.receive_message,
            QueueUrl=self._url,
            MaxNumberOfMessages=MOST_MESSAGES,
            WaitTimeSeconds=self._wait_s,
            VisibilityTimeout=VISIBILITY_S,
        )
        self._answered_at, self._failed = self._clock(), ""
        messages = answer.get("Messages") or ()
        for message in messages:
            if self._closed.is_set():
                return 0
            self._take(client, message)
        return len(messages)

    def _run(self) -> None:
        backoff_s = self._first_backoff_s
        while not self._closed.is_set():
            try:
                self.listen()
                backoff_s = self._first_backoff_s
            except Exception as error:  # nothing that a queue can do may end the listening
                self._fail(error)
                self._closed.wait(backoff_s * (0.5 + random.random() / 2))
                backoff_s = min(2 * backoff_s, LONGEST_BACKOFF_S)

    def _fail(self, error: Exception) -> None:
        """Logged when it begins, not at each try."""
        first = not self._failed
        self._failed = str(error) or type(error).__name__
        if first and isinstance(error, AwsError):
            log.warning("%s: interruption notices may be late: %s", self._queue, error)
        elif first:
            log.exception("%s: listening failed; it goes on", self._queue)

    def _take(self, client: Client, message: Mapping[str, Any]) -> None:
        """Handled first, then deleted: what dies in between comes again, and is known by its id."""
        now = self._clock()
        said = told(str(message.get("Body", "")), now)
        if said.why:
            self._wonder(said.why)
        elif self._fresh(said.id, now):
            self._heard(said, now)
        receipt = message.get("ReceiptHandle")
        if isinstance(receipt, str):
            try:
                asked(client.delete_message, QueueUrl=self._url, ReceiptHandle=receipt)
            except AwsError as error:
                log.info("a message was not deleted and will come again: %s", error)

    def _wonder(self, why: str) -> None:
        """Told once a reason, as long as there are few."""
        if why not in self._puzzled and len(self._puzzled) < 100:
            self._puzzled.add(why)
            log.info("%s: a message was left aside and deleted: %s", self._queue, why)

    def _fresh(self, number: str, now: datetime) -> bool:
        """Whether it comes for the first time. What has no id is always new: hearing it twice does no harm."""
        while self._ids and (len(self._ids) > MOST_REMEMBERED or next(iter(self._ids.values())) < now - REMEMBERED):
            self._ids.popitem(last=False)
        if not number:
            return True
        known = number in self._ids
        self._ids[number] = now
        return not known
