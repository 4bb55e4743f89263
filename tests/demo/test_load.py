"""The clients of the demo on real engines, over a server that answers as vLLM does, and what becomes of their records."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from controller.demo.accounts import Accounts
from controller.demo.gateway import CALLERS
from controller.demo.load import LoadGenerator
from controller.demo.real import _send
from controller.facts.account_reader import Statics
from controller.ledger.accounts.ingest import Intake
from controller.ledger.accounts.read import AccountReader
from controller.ledger.accounts.reader import LedgerAccounts
from tests.small_fleet import until

PROMPT, OUTPUT = 64, 25


class Vllm(BaseHTTPRequestHandler):
    """``/v1/completions``; every tenth request is refused, as by an engine that stops."""

    asked = 0

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        Vllm.asked += 1
        status = 503 if Vllm.asked % 10 == 0 else 200
        usage = {"prompt_tokens": PROMPT, "completion_tokens": body["max_tokens"]}
        answer = json.dumps({"usage": usage}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def targets(tmp_path: Path) -> Iterator[Path]:
    """The file of a ready engine, and of one that still starts at an address where nobody answers."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Vllm)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    groups = [
        {"targets": [f"127.0.0.1:{server.server_port}"], "labels": {"phase": "ready"}},
        {"targets": ["127.0.0.1:9"], "labels": {"phase": "starting"}},
    ]
    file = tmp_path / "tiny-cpu.targets.json"
    file.write_text(json.dumps(groups), encoding="utf-8")
    yield file
    server.shutdown()
    thread.join()
    server.server_close()


def test_every_answer_that_somebody_asked_for_is_recorded_once_whatever_is_sent_meanwhile(
    targets: Path, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'pennyweight.db'}"
    load = LoadGenerator(targets, service="tiny", model="tiny", prompt="p", output_tokens=OUTPUT, deadline_s=60)
    with closing(Intake.open(url)) as intake, closing(LedgerAccounts(url, Statics())) as reader:
        accounts = Accounts(take=intake.add, settle=lambda _now: None, reader=reader, url=url)
        load.set_clients(6)

        def sent() -> bool:
            _send(accounts, load)
            return load.received.requests >= 150 and load.received.failed >= 5

        until(sent, "150 answers")
        load.close()
        _send(accounts, load)
        _send(accounts, load)
        with closing(AccountReader(url)) as written:
            (source,) = written.sources()
    got = load.received
    assert (source.source, source.duplicates, source.refused) == ("gateway", 0, 0)
    assert got.prompt_tokens == got.requests * PROMPT
    unlabelled = sum(one.share for one in CALLERS if one.who is None) / sum(one.share for one in CALLERS)
    assert source.records == pytest.approx(got.requests * (1 - unlabelled), rel=0.15)
    assert source.records < got.requests, "some ask without saying who they are"
    assert load.take_records() == []
    assert accounts.told() == ["Nobody's spend yet: no hour has been accounted."]
