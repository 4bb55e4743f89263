"""The instance's own metadata service: a real small one that insists on the token."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from controller.aws.imds import MetadataPoller
from controller.facts.interruptions import LOCAL, NoticeKind

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
NODE = "i-0123456789abcdef0"
ACTION = "/latest/meta-data/spot/instance-action"
REBALANCE = "/latest/meta-data/events/recommendations/rebalance"


class Metadata:
    """Version 2 alone: whoever brings no good token is refused. ``pages``: what stands where."""

    def __init__(self) -> None:
        self.pages = {"/latest/meta-data/instance-id": NODE}
        self.tokens: list[str] = []
        self.good = True
        self.put_status = 200
        metadata = self

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                asked = self.path == "/latest/api/token" and "X-aws-ec2-metadata-token-ttl-seconds" in self.headers
                token = f"token-{len(metadata.tokens)}"
                metadata.tokens.append(token)
                self._answer(metadata.put_status if asked else 400, token)

            def do_GET(self) -> None:
                if not metadata.good or self.headers.get("X-aws-ec2-metadata-token") not in metadata.tokens[-1:]:
                    self._answer(401, "")
                elif self.path in metadata.pages:
                    self._answer(200, metadata.pages[self.path])
                else:
                    self._answer(404, "")

            def _answer(self, status: int, text: str) -> None:
                body = text.encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *words: object) -> None:
                """Silent."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.server.server_port

    def close(self) -> None:
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()


@pytest.fixture
def metadata():
    server = Metadata()
    yield server
    server.close()


class Watch:
    """A poller with a clock that the test moves, and what it handed on."""

    def __init__(self, address):
        self.now, self.said = NOW, []
        self.poller = MetadataPoller(lambda said, now: self.said.append(said), lambda: self.now, address=address)

    def look(self, after_s=5.0):
        self.now += timedelta(seconds=after_s)
        self.poller.look()
        said, self.said = self.said, []
        return [notice for one in said for notice in one.notices]


@pytest.fixture
def watch(metadata):
    return Watch(metadata.address)


def test_nothing_announced_is_no_notice(watch, metadata):
    assert watch.look() == []
    assert watch.poller.age_s(watch.now) == 0
    assert watch.poller.problem(watch.now) is None
    assert metadata.tokens == ["token-0"]


def test_an_action_is_told_once_for_this_machine_and_under_the_instances_id(watch, metadata):
    metadata.pages[ACTION] = '{"action": "terminate", "time": "2026-11-21T12:02:00Z"}'
    notices = watch.look()
    assert [(one.node, one.kind, one.deadline) for one in notices] == [
        (node, NoticeKind.SPOT, datetime(2026, 11, 21, 12, 2, tzinfo=UTC)) for node in (LOCAL, NODE)
    ]
    assert notices[0].at == NOW + timedelta(seconds=5)
    assert watch.look() == []


def test_a_rebalance_recommendation_ends_nothing(watch, metadata):
    metadata.pages[REBALANCE] = '{"noticeTime": "2026-11-21T11:58:00Z"}'
    notices = watch.look()
    assert {(one.kind, one.ends, one.deadline) for one in notices} == {(NoticeKind.REBALANCE, False, None)}
    assert watch.look() == []
    metadata.pages[ACTION] = '{"action": "stop", "time": "2026-11-21T12:02:00Z"}'
    assert {one.kind for one in watch.look()} == {NoticeKind.SPOT}


@pytest.mark.parametrize("text", ["", "no JSON", "[]", '{"action": 7}', '{"time": "soon"}'])
def test_an_action_that_cannot_be_read_is_a_notice_without_a_deadline(watch, metadata, text):
    metadata.pages[ACTION] = text
    assert {(one.kind, one.deadline) for one in watch.look()} == {(NoticeKind.SPOT, None)}
    assert watch.look() == []


def test_a_token_that_ended_is_asked_for_anew(watch, metadata):
    watch.look()
    metadata.tokens.append("somebody else's")  # the poller's own is refused from now on
    metadata.pages[ACTION] = '{"action": "terminate", "time": "2026-11-21T12:02:00Z"}'
    assert len(watch.look()) == 2
    assert metadata.tokens[-1] == "token-2"


def test_a_service_that_does_not_answer_is_a_problem_after_two_minutes(watch, metadata):
    watch.look()
    metadata.good = False
    assert watch.look(60) == []
    assert watch.poller.problem(watch.now) is None
    watch.look(61)
    problem = watch.poller.problem(watch.now)
    assert problem is not None
    assert "not heard for 121 s: it refuses the token" in str(problem)


@pytest.mark.parametrize(("status", "said"), [(403, "switched off"), (500, "no token (500)")])
def test_no_token_says_why(watch, metadata, status, said):
    metadata.put_status = status
    watch.look(200)
    assert said in str(watch.poller.problem(watch.now))


def test_nobody_there_names_the_hop_limit(metadata):
    address = metadata.address
    metadata.server.server_close()  # nobody listens any more
    watch = Watch(address)
    watch.look(200)
    assert "--http-put-response-hop-limit 2" in str(watch.poller.problem(watch.now))


def test_it_asks_by_itself_until_it_is_closed(metadata):
    heard = threading.Event()
    metadata.pages[ACTION] = '{"action": "terminate", "time": "2026-11-21T12:02:00Z"}'
    poller = MetadataPoller(lambda said, now: heard.set(), lambda: NOW, address=metadata.address, every_s=0.01)
    poller.start()
    assert heard.wait(10)
    poller.close()
    assert not any(thread.name == "interruptions-imds" for thread in threading.enumerate())
