"""The queue, on a server that speaks SQS; and what a queue can do that moto does not."""

from __future__ import annotations

import json
import re
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from controller.aws.clients import Aws
from controller.aws.interruptions import LISTENING, MOST_REMEMBERED, QueueListener
from controller.errors import AwsError, LedgerError
from tests.moto_server import moto_server

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
NODE = "i-0123456789abcdef0"


def spot(number="1", node=NODE):
    return json.dumps(
        {
            "id": number,
            "source": "aws.ec2",
            "detail-type": "EC2 Spot Instance Interruption Warning",
            "time": "2026-11-21T12:00:00Z",
            "detail": {"instance-id": node, "instance-action": "terminate"},
        }
    )


# --- against a server ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server():
    """What a client needs, and clients: they take a while to make."""
    import boto3

    with moto_server() as options:
        client = boto3.client("sqs", region_name="us-east-2", **options)
        yield client, Aws(**options).client("sqs", "us-east-2", LISTENING)
        client.close()


@pytest.fixture
def queue(server, request):
    client, _ = server
    name = re.sub(r"\W", "-", request.node.name)[:70]
    url = client.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "20"})["QueueUrl"]

    class Queue:
        def send(self, body):
            client.send_message(QueueUrl=url, MessageBody=body)

        def left(self):
            names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
            found = client.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
            return sum(int(found[one]) for one in names)

    Queue.name, Queue.url = name, url
    return Queue()


@pytest.fixture
def said():
    return []


@pytest.fixture
def listener(server, said):
    def made(name):
        return QueueListener(lambda: server[1], name, lambda one, now: said.append(one), lambda: NOW, wait_s=1)

    return made


def nodes(said):
    return [notice.node for one in said for notice in one.notices]


@pytest.mark.parametrize("by", ["url", "name"])
def test_what_was_heard_is_deleted(queue, listener, said, by):
    queue.send(spot())
    one = listener(getattr(queue, by))
    assert one.listen() == 1
    assert nodes(said) == [NODE]
    assert queue.left() == 0


def test_what_cannot_be_understood_is_deleted_too(queue, listener, said, caplog):
    for body in ("no JSON", '{"source": "my.own", "detail-type": "Something"}', "no JSON", spot()):
        queue.send(body)
    one = listener(queue.url)
    with caplog.at_level("INFO"):
        while queue.left():
            one.listen()
    assert nodes(said) == [NODE]
    assert caplog.text.count("it is no JSON") == 1


def test_the_same_event_twice_is_heard_once(queue, listener, said):
    queue.send(spot("7"))
    queue.send(spot("7"))
    queue.send(spot("8", "i-0fedcba9876543210"))
    one = listener(queue.url)
    while queue.left():
        one.listen()
    assert sorted(nodes(said)) == [NODE, "i-0fedcba9876543210"]


def test_a_queue_that_is_not_there_says_so(queue, listener):
    with pytest.raises(AwsError, match=r"(?i)queue does not exist|NonExistentQueue"):
        listener("nowhere").listen()


# --- what else may come ----------------------------------------------------------------------------------------------


class Answers:
    """In place of a client: gives these answers one after the other, then the last one for ever."""

    def __init__(self, *answers):
        self._answers = list(answers)
        self.deleted, self.back = [], []
        self.asked = threading.Semaphore(0)

    def receive_message(self, **question):
        assert (question["MaxNumberOfMessages"], question["VisibilityTimeout"]) == (10, 20)
        self.asked.release()
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        if callable(answer):
            return answer()
        return {"Messages": [{"Body": body, "ReceiptHandle": body} for body in answer]} if answer else {}

    def delete_message(self, **question):
        self.deleted.append(question["ReceiptHandle"])
        if question["ReceiptHandle"] == "sticky":
            raise AwsError("ThrottlingException")
        return {}

    def change_message_visibility(self, **question):
        assert question["VisibilityTimeout"] == 0
        self.back.append(question["ReceiptHandle"])
        return {}


class Clock:
    now = NOW

    def __call__(self):
        return self.now


def over(answers, said, clock=None, **how):
    return QueueListener(
        lambda: answers,
        "https://queue",
        lambda one, now: said.append(one),
        clock or Clock(),
        first_backoff_s=0.01,
        **how,
    )


def test_a_queue_that_is_away_is_a_problem_until_it_answers(said):
    clock, down = Clock(), AwsError("AWS answered: could not connect")
    one = over(Answers(down, down, []), said, clock)
    clock.now += timedelta(seconds=121)
    with pytest.raises(AwsError):
        one.listen()
    assert "not heard for 121 s" in str(one.problem(clock.now))
    with pytest.raises(AwsError):
        one.listen()
    one.listen()
    assert one.problem(clock.now) is None
    assert one.age_s(clock.now) == 0


def test_listening_goes_on_through_every_error(said):
    answers = Answers(AwsError("throttled", code="ThrottlingException"), ValueError("odd"), [spot()], [])
    one = over(answers, said)
    one.start()
    for _ in range(4):
        assert answers.asked.acquire(timeout=10)
    one.close()
    assert nodes(said) == [NODE]


def test_a_message_that_is_not_deleted_is_not_heard_again(said):
    class Kept(Answers):
        def delete_message(self, **question):
            raise AwsError("throttled")

    one = over(Kept([spot("9")]), said)
    one.listen()
    one.listen()
    assert nodes(said) == [NODE]


def test_what_could_not_be_heard_is_heard_when_it_comes_again():
    said, answers = [], Answers([spot("9"), spot("10")])

    def heard(one, now):
        said.append(one.id)
        if said == ["9"]:
            raise ValueError("odd")

    one = QueueListener(lambda: answers, "https://queue", heard, Clock())
    one.listen()
    assert answers.deleted == [spot("10")], "one that breaks us keeps no other from being heard"
    one.listen()
    assert said == ["9", "10", "9"]
    assert answers.deleted == [spot("10"), spot("9"), spot("10")]


def test_what_cannot_be_written_down_stays_in_the_queue_until_it_can(said, caplog):
    written, answers = [], Answers([spot("9"), spot("10")])

    def keep(now):
        written.append(len(said))
        if len(written) < 3:
            raise LedgerError("the ledger is read-only")

    one = over(answers, said, keep=keep)
    one.listen()
    one.listen()
    assert (nodes(said)[:2], answers.deleted) == ([NODE, NODE], []), "it counts already"
    assert caplog.text.count("the ledger is read-only") == 1
    one.listen()
    assert len(answers.deleted) == 2
    one.listen()
    assert len(said) == 6, "now it is known by its id"


def test_a_queue_without_messages_writes_nothing(said):
    written = []
    over(Answers([]), said, keep=written.append).listen()
    assert written == []


def test_who_leads_no_longer_gives_back_what_it_received_and_asks_for_no_more(said):
    leads = [True, False]
    answers = Answers([spot("9"), "sticky"])
    one = over(answers, said, leads=lambda: leads.pop(0) if leads else False)
    one.start()
    assert answers.asked.acquire(timeout=10)
    assert not answers.asked.acquire(timeout=0.3)
    one.close()
    assert (said, answers.deleted, answers.back) == ([], [], [spot("9"), "sticky"])


def test_ids_are_forgotten_by_time_and_number(said):
    clock = Clock()
    one = over(Answers([spot("9")]), said, clock)
    one.listen()
    clock.now += timedelta(hours=2)
    one.listen()
    assert len(said) == 2
    many = over(Answers([]), said, clock)
    many._ids |= {str(n): clock.now for n in range(MOST_REMEMBERED + 50)}
    many._forget(clock.now)
    assert len(many._ids) == MOST_REMEMBERED


def test_closing_in_a_long_poll_returns_within_a_second_and_takes_nothing_more(said):
    let_go = threading.Event()

    def slow():
        let_go.wait(10)
        return {"Messages": [{"Body": spot(), "ReceiptHandle": "1"}]}

    answers = Answers(slow)
    one = over(answers, said)
    one.start()
    assert answers.asked.acquire(timeout=10)
    began = time.monotonic()
    one.close()
    assert time.monotonic() - began < 2  # a second, on a busy machine
    let_go.set()
    one._thread.join(10)
    assert said == []
    assert (answers.deleted, answers.back) == ([], ["1"]), "it comes to the next daemon, at once"
