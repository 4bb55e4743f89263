"""``POST /api/v1/usage`` over a real server."""

import gzip
import http.client
import json
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

import pytest
from fastapi import FastAPI

from controller.errors import LedgerError, UsageFullError
from controller.facts.accounts import Identity
from controller.facts.usage import MOST_BYTES, Receipt, Refused
from controller.serve.ingest import CALLS_AT_ONCE, PATH, Desk, Token, ingest_router
from controller.serve.server import Server
from controller.usage.batch import Rules
from controller.usage.decode import read_usage
from controller.usage.directory import Directory

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
GATEWAY = Token(name="gateway", secret="gateway-secret", trusted=True)
CLIENT = Token(name="client", secret="client-secret")


@dataclass
class Remembered:
    """An intake that remembers, knows repeated records, and can be full, broken or slow."""

    batches: list = field(default_factory=list)
    seen: set = field(default_factory=set)
    breaks: Exception | None = None
    refuses: tuple = ()
    gate: threading.Event = field(default_factory=threading.Event)
    inside: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def __post_init__(self):
        self.gate.set()

    def add(self, source, batch):
        self.inside.release()
        assert self.gate.wait(30)
        if self.breaks:
            raise self.breaks
        keys = set(zip(batch.hour.tolist(), batch.a.tolist(), batch.b.tolist(), strict=True))
        new = keys - self.seen
        self.seen |= keys
        self.batches.append((source, batch))
        return Receipt(accepted=len(new), duplicates=len(batch) - len(new), refused=(*batch.refused, *self.refuses))


@pytest.fixture
def intake():
    return Remembered()


@pytest.fixture
def tokens():
    return [GATEWAY, CLIENT]


@pytest.fixture
def url(intake, tokens):
    rules = Rules(directory=Directory(services={"chat": ("h100",)}))
    desk = Desk(intake=intake, read=partial(read_usage, rules=rules), tokens=lambda: tokens, clock=lambda: NOON)
    app = FastAPI()
    app.include_router(ingest_router(desk))
    with Server(app, "127.0.0.1", 0) as server:
        yield server.url


@pytest.fixture
def send(url):
    """Send a body: (status, headers, decoded answer)."""

    def send(body, token=GATEWAY.secret, **headers):
        given = {"Authorization": f"Bearer {token}"} if token is not None else {}
        asked = urllib.request.Request(url + PATH, data=body, headers=given | headers, method="POST")
        try:
            with urllib.request.urlopen(asked, timeout=30) as answer:
                return answer.status, answer.headers, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, json.load(error)

    return send


def record(number=1, **given):
    usual = {
        "id": f"r{number}",
        "service": "chat",
        "prompt_tokens": 100,
        "output_tokens": 20,
        "ended_at": "2026-11-21T11:59:00Z",
    }
    return usual | given


def lines(*records):
    return "\n".join(map(json.dumps, records)).encode()


def test_records_are_taken_and_what_comes_again_counts_once(send, intake):
    assert send(lines(record(1), record(2)))[::2] == (
        200,
        {"accepted": 2, "duplicates": 0, "refused": [], "refused_total": 0},
    )
    status, _, told = send(json.dumps([record(2), record(3)]).encode())
    assert (status, told["accepted"], told["duplicates"]) == (200, 1, 1)
    assert [source for source, _ in intake.batches] == ["gateway", "gateway"]


def test_gzip_is_taken(send):
    assert send(gzip.compress(lines(record())), **{"Content-Encoding": "gzip"})[2]["accepted"] == 1


def test_an_empty_call_disturbs_nobody(send, intake):
    assert send(b"")[::2] == (200, {"accepted": 0, "duplicates": 0, "refused": [], "refused_total": 0})
    assert intake.batches == []


def test_the_first_hundred_refused_records_are_told_with_their_places(send):
    status, _, told = send(lines(record(0), *(record(one, output_tokens=-1) for one in range(1, 151))))
    assert (status, told["accepted"], told["refused_total"], len(told["refused"])) == (200, 1, 150, 100)
    assert told["refused"][0] == {
        "index": 1,
        "id": "r1",
        "why": "output_tokens: expected a whole number from 0 to 2,000,000, found -1",
    }


def test_what_only_the_ledger_can_refuse_is_told_too(send, intake):
    intake.refuses = (Refused(index=0, id="r1", why="the hour is closed"),)
    told = send(lines(record(1), record(2, service="x")))[2]
    assert [one["id"] for one in told["refused"]] == ["r1", "r2"]


def test_who_has_no_token_is_401(send, intake):
    for headers in ({}, {"Authorization": "Basic Zm9v"}, {"Authorization": "Bearer "}):
        status, told, answer = send(lines(record()), token=None, **headers)
        assert (status, told["WWW-Authenticate"], answer["detail"]) == (
            401,
            "Bearer",
            "send Authorization: Bearer TOKEN",
        )
    assert intake.batches == []


@pytest.mark.parametrize("wrong", ["gateway-secre", "gateway-secrets", "GATEWAY-SECRET", "gateway", "x" * 5000])
def test_who_has_a_wrong_token_is_403(send, intake, wrong):
    assert send(lines(record()), token=wrong)[0] == 403
    assert intake.batches == []


def test_a_token_that_is_empty_lets_nobody_in(send, tokens):
    tokens[:] = [Token(name="unset", secret="")]
    assert send(lines(record()), token="")[0] == 401
    assert send(lines(record()), token="x")[0] == 403


def test_tokens_are_those_of_now(send, tokens):
    tokens.remove(GATEWAY)
    assert send(lines(record()))[0] == 403
    tokens.append(GATEWAY)
    assert send(lines(record()))[0] == 200


def test_only_a_trusted_token_says_who_it_was_and_headers_say_nothing(send, intake):
    said = lines(record(team="search"))
    headers = {"X-Team": "search", "X-Forwarded-For": "10.0.0.1", "X-Real-IP": "127.0.0.1"}
    send(said, CLIENT.secret, **headers)
    send(said, GATEWAY.secret, **headers)
    assert [(source, batch.identities) for source, batch in intake.batches] == [
        ("client", (Identity(),)),
        ("gateway", (Identity(team="search"),)),
    ]


def test_the_same_id_of_two_senders_is_two_records(send):
    assert send(lines(record()), CLIENT.secret)[2]["accepted"] == 1
    assert send(lines(record()), GATEWAY.secret)[2]["accepted"] == 1


def test_what_is_no_json_is_400(send):
    status, _, told = send(b"hello")
    assert status == 400
    assert told["detail"].startswith("the body is not one JSON object a line")
    assert send(b"x", **{"Content-Encoding": "br"})[0] == 400


def test_more_than_a_call_may_send_is_413(send):
    many = lines(*({"id": "r"} for _ in range(50_001)))
    assert send(many)[::2] == (
        413,
        {"detail": "50,001 records in one call, more than 50,000; nothing was taken, send them in parts"},
    )
    assert send(gzip.compress(bytes(MOST_BYTES + 1)), **{"Content-Encoding": "gzip"})[0] == 413


def test_a_body_without_end_is_cut_off_at_the_limit(url):
    """Chunked, so that nobody knows beforehand how long it will be."""
    connection = http.client.HTTPConnection(*url.removeprefix("http://").split(":"), timeout=30)
    mebibyte = b"\n" * 1024**2

    def endless():
        try:
            while True:
                yield mebibyte
        except GeneratorExit:
            return

    body = endless()
    with pytest.raises(OSError):  # noqa: PT011 — the server answers and closes: a broken pipe, or a reset
        connection.request("POST", PATH, body, {"Authorization": f"Bearer {GATEWAY.secret}"}, encode_chunked=True)
    connection.close()


def test_a_body_just_over_the_limit_is_told(url):
    connection = http.client.HTTPConnection(*url.removeprefix("http://").split(":"), timeout=30)
    connection.request("POST", PATH, b"\n" * (MOST_BYTES + 1), {"Authorization": f"Bearer {GATEWAY.secret}"})
    answer = connection.getresponse()
    assert (answer.status, json.load(answer)["detail"]) == (
        413,
        "more than 16 MiB in one call; nothing was taken, send it in parts",
    )
    connection.close()


def test_a_full_intake_is_429_and_says_when_to_come_back(send, intake):
    intake.breaks = UsageFullError("200,000 records wait already; nothing was taken", retry_after_s=7)
    status, headers, told = send(lines(record()))
    assert (status, headers["Retry-After"], told["detail"]) == (
        429,
        "7",
        "200,000 records wait already; nothing was taken",
    )


def test_a_ledger_that_cannot_be_written_is_503_and_sending_again_is_safe(send, intake):
    intake.breaks = LedgerError("could not write to the ledger: disk full")
    status, headers, told = send(lines(record()))
    assert (status, headers["Retry-After"]) == (503, "10")
    assert told["detail"] == (
        "could not write to the ledger: disk full; "
        "nothing was counted: send it again, records are known by their ids"
    )  # fmt: skip
    intake.breaks = None
    assert send(lines(record()))[2]["accepted"] == 1


def test_more_calls_at_once_than_fit_are_429_and_the_others_are_served(send, intake):
    intake.gate.clear()
    answers = []
    callers = [
        threading.Thread(target=lambda number=number: answers.append(send(lines(record(number)))[0]))
        for number in range(CALLS_AT_ONCE)
    ]
    for one in callers:
        one.start()
    for _ in callers:
        assert intake.inside.acquire(timeout=30)
    status, headers, told = send(lines(record()))
    assert (status, headers["Retry-After"]) == (429, "1")
    assert told["detail"] == "16 calls are being served already; nothing was taken"
    intake.gate.set()
    for one in callers:
        one.join(30)
    assert answers == [200] * CALLS_AT_ONCE
    assert send(lines(record()))[0] == 200


def test_a_caller_who_breaks_off_leaves_nothing_behind(url, send, intake):
    for _ in range(CALLS_AT_ONCE + 1):
        connection = http.client.HTTPConnection(*url.removeprefix("http://").split(":"), timeout=30)
        connection.putrequest("POST", PATH)
        connection.putheader("Authorization", f"Bearer {GATEWAY.secret}")
        connection.putheader("Content-Length", "1000")
        connection.endheaders(b'{"id": "r1"')
        connection.close()
    statuses = {send(lines(record(one)))[0] for one in range(5)}
    assert 200 in statuses
    assert all(len(batch) == 1 for _, batch in intake.batches)


def test_the_contract_is_in_the_openapi_document(url):
    with urllib.request.urlopen(f"{url}/openapi.json", timeout=30) as answer:
        document = json.load(answer)
    told = document["paths"][PATH]["post"]
    assert set(told["responses"]) >= {"200", "400", "401", "403", "413", "429", "503"}
    assert set(told["requestBody"]["content"]) == {"application/x-ndjson", "application/json"}
    assert told["security"] == [{"HTTPBearer": []}]
    assert "HTTPBearer" in document["components"]["securitySchemes"]


def test_a_secret_is_not_shown():
    assert "gateway-secret" not in repr(GATEWAY)
