"""The queue that EventBridge's events about instances go to, listened to in a thread of its own: no pass waits."""

from __future__ import annotations

import logging
import random
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from controller.aws.clients import Client, Patience, asked
from controller.aws.hearing import Hearing
from controller.aws.interruptions_messages import Told, told
from controller.errors import AwsError, LedgerError

log = logging.getLogger(__name__)

WAIT_S = 5
"""One question waits so long for an answer. The question of a daemon that was killed may still take what comes until it
ends, and nobody else gets that for ``VISIBILITY_S`` more: SQS's longest wait, 20 s, would be a third of a spot notice.
An empty queue costs twelve requests a minute, 520,000 a month: half of what is free, or 0.21 USD
(https://aws.amazon.com/sqs/pricing/); with the longest wait a quarter of that."""

MOST_MESSAGES = 10
"""Of one answer: SQS's most."""

VISIBILITY_S = 20
"""So long nobody else gets a message that was received: longer than it takes to handle ten, and short enough that what
a daemon that was killed had received comes to the next one well inside the notice."""

LISTENING = Patience(connect_s=5.0, read_s=WAIT_S + 10.0, attempts=1, adaptive=False)
"""Waiting is not failing; tries are counted here."""

FIRST_BACKOFF_S, LONGEST_BACKOFF_S = 1.0, 30.0
"""Doubled from failure to failure, and drawn from half to all of it. Guesses: a notice is 120 s long."""

REMEMBERED = timedelta(hours=1)
MOST_REMEMBERED = 10_000
"""Ids of events that came. SQS and EventBridge deliver at least once; a second time comes within minutes."""

FOLLOWED_S = 1.0
"""Who leads no longer asks so often whether it is closed. A guess."""

Heard = Callable[[Told, datetime], None]

Message = Mapping[str, Any]
"""As SQS gives it."""


class QueueListener(Hearing):
    """Hands every event of one queue on once, and deletes it when it is kept: also what cannot be understood, or it
    would come back for ever.

    keep    writes down what was heard by now, or raises LedgerError: then the messages stay, and come again
    leads   whether what was heard is ours to act on: who leads no longer gives back at once what it received
    """

    name = "sqs"

    def __init__(
        self,
        client: Callable[[], Client],
        queue: str,
        heard: Heard,
        clock: Callable[[], datetime],
        *,
        keep: Callable[[datetime], None] = lambda now: None,
        leads: Callable[[], bool] = lambda: True,
        wait_s: int = WAIT_S,
        first_backoff_s: float = FIRST_BACKOFF_S,
    ) -> None:
        """``queue``: its URL, or its name. ``client`` is made in the thread: the first one takes a while."""
        self._client = client
        self._queue = queue
        super().__init__(f"the queue {queue}", clock)
        self._heard = heard
        self._keep = keep
        self._leads = leads
        self._unkept = ""
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
        if messages and (self._closed.is_set() or not self._leads()):
            self._give_back(client, messages)
            return 0
        if messages:
            self._take(client, messages)
        return len(messages)

    def _run(self) -> None:
        backoff_s = self._first_backoff_s
        while not self._closed.is_set():
            if not self._leads():
                self._closed.wait(FOLLOWED_S)
                continue
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

    def _take(self, client: Client, messages: Sequence[Message]) -> None:
        """Heard, kept and then deleted: what dies in between comes again. They are heard first, for passes must not
        wait for a ledger that is slow."""
        now, fresh = self._clock(), list[str]()
        self._forget(now)
        done = [message for message in messages if self._hear(message, fresh, now)]
        try:
            self._keep(now)
        except LedgerError as error:
            if not self._unkept:
                log.warning("%s: notices count, but stay in the queue and come again: %s", self._queue, error)
            self._unkept = str(error)
            return
        self._unkept = ""
        self._ids |= dict.fromkeys(filter(None, fresh), now)
        for message in done:
            self._answer(message, "deleted and will come again", client.delete_message)

    def _hear(self, message: Message, fresh: list[str], now: datetime) -> bool:
        """Whether it is done with. ``fresh`` takes the id of what came for the first time; what has none is always new:
        hearing it twice does no harm."""
        said = told(str(message.get("Body", "")), now)
        if said.why:
            self._wonder(said.why)
        elif not said.id or (said.id not in self._ids and said.id not in fresh):
            try:
                self._heard(said, now)
            except Exception:  # the others of this answer are heard all the same
                log.exception("%s: a message could not be heard and will come again", self._queue)
                return False
            fresh.append(said.id)
        return True

    def _give_back(self, client: Client, messages: Sequence[Message]) -> None:
        """To whoever leads now, at once."""
        for message in messages:
            self._answer(
                message,
                f"given back and comes to the next daemon in {VISIBILITY_S} s",
                client.change_message_visibility,
                VisibilityTimeout=0,
            )

    def _answer(self, message: Message, otherwise: str, call: Callable[..., Mapping[str, Any]], **more: int) -> None:
        receipt = message.get("ReceiptHandle")
        if isinstance(receipt, str):
            try:
                asked(call, QueueUrl=self._url, ReceiptHandle=receipt, **more)
            except AwsError as error:
                log.info("a message was not %s: %s", otherwise, error)

    def _wonder(self, why: str) -> None:
        """Told once a reason, as long as there are few."""
        if why not in self._puzzled and len(self._puzzled) < 100:
            self._puzzled.add(why)
            log.info("%s: a message was left aside and deleted: %s", self._queue, why)

    def _forget(self, now: datetime) -> None:
        while self._ids and (len(self._ids) > MOST_REMEMBERED or next(iter(self._ids.values())) < now - REMEMBERED):
            self._ids.popitem(last=False)
