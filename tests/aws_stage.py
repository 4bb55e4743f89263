"""A real daemon on an AWS of the tests: moto's server with what it lacks, and engines behind one port."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from controller.act.aws_asg.roll import DRAINING, READY
from controller.errors import LedgerError
from controller.facts.decisions import Decision
from controller.ledger.read import LedgerReader
from tests.auto_scaling import REGION, World
from tests.plain_groups import PlainWorld
from tests.small_fleet import until as wait

ROOT = Path(__file__).parents[1]

FLEET = """\
mode: act
interval: 1s
rate_window: 10s
ledger: {ledger}
policies: [policies/*.yaml]
serve: {{port: 0}}
interruptions: {{sqs: {{queue: {queue}, region: {region}}}}}
services:
  chat:
    model: llama-3.1-8b
    variants:
      first: {first}
      second: {second}
"""

VARIANT = """
        gpu: H100-SXM
        actuator:
          aws_asg: {{{named}, region: {region}, url: "{url}", directory: run/{group}, drain_timeout: {drain}}}
        capacity:
          - {{type: {bought}, usd_per_gpu_hour: {usd}}}
"""

POLICY = """\
service: chat
scaling:
  method: reactive
  min_replicas: 1
  max_replicas: 8
  targets: {queue_depth: 50, headroom: 0%}
  tolerance: 0%
  scale_up: {stabilization: 0s}
  scale_down: {stabilization: 2s, spare: 0s, at_most: {replicas: 4, per: 1s}}
  stuck_deadline: 3s
capacity_mix: {spot: {allow: true, quiet: 1h, spare: false}}
"""


class Wire:
    """What the daemon's calls go through; cut, nobody is there."""

    def __init__(self, to: str) -> None:
        self._to = ("127.0.0.1", int(to.rpartition(":")[2]))
        self._server = socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = set()
        self._is_cut = False
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        self._is_cut = True
        self._hang_up()

    def mend(self) -> None:
        self._is_cut = False

    def close(self) -> None:
        self._server.close()
        self._hang_up()

    def _hang_up(self) -> None:
        for one in list(self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            if self._is_cut:
                near.close()
                continue
            far = socket.create_connection(self._to)
            for source, sink in ((near, far), (far, near)):
                self._open.add(source)
                threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for one in (source, sink):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._open.discard(source)
        source.close()


class Stage:
    """Two groups, a queue, a service on them, and its daemon, which may be killed and started again."""

    def __init__(self, world: World | PlainWorld, wire: Wire, folder: Path) -> None:
        self.world, self.wire, self.folder = world, wire, folder
        self.first, self.second = world.group(1), world.group(0)
        world.serve(*world.ids(self.first))
        self.queue = self._sqs().create_queue(QueueName=f"pennyweight-interruptions-{self.first}")["QueueUrl"]
        self.keys = world.options
        self.wanted = 1
        world.engines.waiting = self._waiting
        self._log = folder / "daemon.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *, bought: str = "on_demand", drain: str = "10m", by_tag: bool = False) -> None:
        """``by_tag``: the fleet file names the groups by a tag of theirs."""
        for group, name in ((self.first, "first"), (self.second, "second")):
            self.world.tag(group, pennyweight__managed_by=f"chat/{name}", app=group)
        (self.folder / "policies").mkdir(exist_ok=True)
        (self.folder / "policies" / "chat.yaml").write_text(POLICY)
        named = "tags: {{app: {}}}" if by_tag else "group: {}"
        text = FLEET.format(
            ledger=json.dumps(self.ledger),
            queue=json.dumps(self.queue.rpartition("/")[2]),
            region=REGION,
            first=self._variant(self.first, named, bought=bought, usd="1.00", drain=drain),
            second=self._variant(self.second, named, bought="on_demand", usd="3.00", drain=drain),
        )
        (self.folder / "fleet.yaml").write_text(text)
        self.start_again()

    def _variant(self, group: str, named: str, **told: str) -> str:
        return VARIANT.format(group=group, named=named.format(group), region=REGION, url=self.world.engines.url, **told)

    def start_again(self) -> None:
        signed = {name.upper(): value for name, value in self.keys.items() if name.startswith("aws_")}
        with self._log.open("a") as sink:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "controller", "run", "--fleet", str(self.folder / "fleet.yaml")],
                cwd=ROOT,
                env={
                    **os.environ,
                    **signed,
                    "AWS_EC2_METADATA_DISABLED": "true",
                    "AWS_ENDPOINT_URL": self.wire.url,
                    "NO_PROXY": "127.0.0.1",
                },
                stdout=sink,
                stderr=sink,
            )
        before = self.said().count("listening on")
        self.until(lambda: self.said().count("listening on") > before, "the daemon listens", 120)

    def kill(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def close(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()
            self._process.wait()

    # --- what a test does ---------------------------------------------------------------------------------------------

    def want(self, replicas: int) -> None:
        """So many requests wait, shared by those that serve, that so many replicas are wanted."""
        self.wanted = replicas

    def _waiting(self, instance: str) -> float:
        tags = self.world.marks()
        there = [*self.world.ids(self.first), *self.world.ids(self.second)]
        serving = [one for one in there if READY in tags.get(one, ()) and DRAINING not in tags.get(one, ())]
        return 50.0 * self.wanted / len(serving) if instance in serving else 0.0

    def serve_new(self) -> None:
        """Whoever was launched answers from now on."""
        fresh = {*self.world.ids(self.first), *self.world.ids(self.second)} - self.world.engines.running.keys()
        self.world.serve(*fresh)

    def announce(self, kind: str, instance: str = "", **detail: str) -> None:
        """Of a time to come: a machine that is busy with other tests shall not outlast a notice."""
        self.send(
            json.dumps(
                {
                    "version": "0",
                    "id": f"{kind} {instance}",
                    "source": "aws.ec2",
                    "detail-type": kind,
                    "time": (datetime.now(UTC) + timedelta(minutes=10)).isoformat(),  # noqa: TID251
                    "detail": {"instance-id": instance} | {key.replace("_", "-"): one for key, one in detail.items()},
                }
            )
        )

    def send(self, body: str) -> None:
        self._sqs().send_message(QueueUrl=self.queue, MessageBody=body)

    # --- what a test looks at -----------------------------------------------------------------------------------------

    @property
    def ledger(self) -> str:
        return f"sqlite:///{self.folder}/pennyweight.db"

    def said(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    def until(self, condition: Callable[[], object], what: str, deadline_s: float = 240.0) -> None:
        try:
            wait(condition, what, deadline_s, every_s=0.25)  # a question costs the daemon more than a look costs us
        except AssertionError as error:
            decided = "\n".join(map(str, self.decisions()[-6:]))
            raise AssertionError(f"{error}\n{self.said()}\n{decided}") from None

    def passes(self, count: int = 3) -> None:
        """So many more of them end."""
        before = self.metric("pennyweight_pass_duration_seconds_count")
        self.until(lambda: self.metric("pennyweight_pass_duration_seconds_count") >= before + count, "passes go on")

    def metric(self, name: str, **labels: str) -> float:
        """Of all samples with these labels the sum; 0 where there is none."""
        url = re.findall(r"listening on (\S+):", self.said())[-1]
        with urllib.request.urlopen(f"{url}/metrics", timeout=60) as answer:
            page = answer.read().decode()
        found = re.findall(rf"(?m)^{name}(?:{{([^}}]*)}})? (\S+)$", page)
        told = [f'{key}="{value}"' for key, value in labels.items()]
        return sum(float(value) for named, value in found if all(one in named for one in told))

    def ready(self, variant: str) -> float:
        return self.metric("pennyweight_replicas_ready", service="chat", variant=variant)

    def decisions(self) -> list[Decision]:
        """Oldest first."""
        try:
            with closing(LedgerReader(self.ledger)) as reader:
                return [one.decision for one in reversed(reader.decisions("chat", limit=2000))]
        except LedgerError:
            return []

    def left(self) -> int:
        """Messages in the queue, also those that somebody has and has not deleted."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self._sqs().get_queue_attributes(QueueUrl=self.queue, AttributeNames=names)["Attributes"]
        return sum(int(found[one]) for one in names)

    def ended(self) -> list[str]:
        """The instances that were told to end, one for each time."""
        return [str(one["InstanceId"]) for one in self.world.of_operation("terminate_instance_in_auto_scaling_group")]

    def _sqs(self) -> Any:
        return self.world.raw("sqs")
