"""What engines, people and neighbours do that they should not."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sys
import threading
from dataclasses import replace

import pytest

from controller.act.probe import healthy, idle
from controller.act.process import MARKER
from controller.errors import StaleActError
from controller.facts.readings import Phase

ENGINE_WITH_A_STRAY = """
import http.server, subprocess, sys
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
class Idle(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
        self.wfile.write(b"vllm:num_requests_running 0\\nvllm:num_requests_waiting 0\\n")
    def log_message(self, *arguments): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Idle).serve_forever()
"""


@pytest.fixture
def dripping():
    """A server that promises a long body and sends it byte by byte until nobody listens; how many it sent."""
    sent, ended = [], threading.Event()
    server = socket.create_server(("127.0.0.1", 0))

    def serve():
        while not ended.is_set():
            try:
                client, _ = server.accept()
            except OSError:
                return
            with client:
                client.recv(9999)
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\n")
                for number in range(400):
                    if ended.wait(0.05):
                        return
                    try:
                        client.sendall(b"x")
                    except OSError:
                        break
                    sent.append(number)

    thread = threading.Thread(target=serve)
    thread.start()
    yield f"http://127.0.0.1:{server.getsockname()[1]}", sent
    ended.set()
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join()


def test_an_engine_that_drips_its_page_is_left_before_it_ends(dripping):
    url, sent = dripping
    assert not idle(url)
    assert len(sent) < 399, "waited for the whole page"


def test_health_needs_no_body(dripping):
    url, sent = dripping
    assert healthy(url)
    assert len(sent) < 399, "waited for the whole body"


def test_variants_that_share_ports_do_not_start_two_engines_on_one(engines):
    """Neither listens yet, as engines do for minutes."""
    engines.with_options(command=(sys.executable, "-c", "import time; time.sleep(600)"))
    engines.scale(0, 1)
    (first,) = engines.look()
    mine, engines.variant = engines.variant, replace(engines.variant, name="h100")
    said = engines.scale(0, 1)
    (second,) = engines.look()
    assert first.url != second.url
    assert f"belongs to {mine.service}/l4" in said.detail


def test_engines_whose_state_files_were_deleted_are_not_started_again(engines):
    engines.grown(2)
    shutil.rmtree(engines.folder / "run")
    engines.look()
    with pytest.raises(StaleActError):
        engines.scale(0, 1)
    engines.phases(Phase.READY, Phase.READY)
    assert len(engines.leaders()) == 2


def test_a_worker_in_a_session_of_its_own_ends_with_its_replica(engines):
    engines.with_options(command=(sys.executable, "-c", ENGINE_WITH_A_STRAY, "{port}"))
    engines.grown(1)
    engines.scale(1, 0)
    engines.until(lambda states: len(engines.leaders()) == 1)
    engines.look(after_s=6.0)
    engines.until(lambda states: not states)
    assert engines.processes() == []


@pytest.fixture
def intended(engines):
    """An intent on disk whose process is not to be seen: the daemon died while starting it."""
    engines.scale(0, 1)
    engines.look()
    (leader,) = engines.leaders()
    os.kill(leader, signal.SIGKILL)
    engines.until(lambda _: not engines.leaders())
    (path,) = (engines.folder / "run").glob("*.replica.json")
    record = {**json.loads(path.read_text()), "run": "", "stage": "starting", "detail": ""}
    path.write_text(json.dumps(record))
    engines.restart()
    return record


def test_an_engine_that_appears_after_the_first_look_of_the_next_daemon_is_adopted(engines, intended):
    """A child of a killed daemon carries its name only once it runs its own program."""
    (starting,) = engines.look()
    assert (starting.replica, starting.phase) == (intended["replica"], Phase.STARTING)
    with pytest.raises(StaleActError):
        engines.scale(0, 2)
    options = engines.variant.actuator_options
    command = [part.replace("{port}", str(intended["slot"])) for part in options.command]
    name = f"{intended['service']}/{intended['variant']}/{intended['replica']}"
    os.posix_spawnp(command[0], command, {**os.environ, MARKER: name}, setsid=True)
    (ready,) = engines.phases(Phase.READY)
    assert ready.replica == intended["replica"]
    assert len(engines.leaders()) == 1


def test_an_intent_that_is_not_seen_can_be_given_up(engines, intended):
    engines.scale(1, 0, intended["replica"])
    assert [one.phase for one in engines.look()] == [Phase.DRAINING]
    assert engines.look(after_s=31.0) == ()
