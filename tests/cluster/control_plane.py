"""A real API server with its etcd, controller manager and scheduler, from a folder that holds their programs.

    with control_plane(folder_of_programs, scratch) as real:
        real.kubeconfig(tmp_path / "kubeconfig")

No kubelets: tests/cluster/live.py does for them. Everything listens on 127.0.0.1 and ends with the context.
"""

from __future__ import annotations

import json
import secrets
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import monotonic, sleep

import httpx2
import yaml

from tests.cluster.documents import Doc
from tests.serve.pki import Authority

START_S = 180.0
"""On a loaded machine; a few seconds on an idle one."""

FRONT_PROXY = "front-proxy-client"
"""As whom the API server comes to servers behind it."""

Running = tuple[subprocess.Popen[bytes], Path]
"""A program and its log."""


class ControlPlane:
    """A running one. ``admin``: may do everything. ``groups``: the controller of LeaderWorkerSets works here as well."""

    groups = False

    def __init__(self, url: str, authority: Path, admin: str, front_proxy_authority: Path) -> None:
        self.url, self.authority, self.admin = url, authority, admin
        self.front_proxy_authority = front_proxy_authority
        trusted = ssl.create_default_context(cafile=str(authority))
        self.http = httpx2.Client(
            base_url=url, verify=trusted, headers={"Authorization": f"Bearer {admin}"}, timeout=30.0
        )

    def ask(
        self, method: str, path: str, body: object = None, content_type: str = "application/json"
    ) -> tuple[int, Doc]:
        """The code and the document of one call, as admin."""
        headers = {"Content-Type": content_type} if body is not None else {}
        answer = self.http.request(method, path, content=None if body is None else json.dumps(body), headers=headers)
        found = answer.json() if answer.headers.get("Content-Type", "").startswith("application/json") else {}
        return answer.status_code, found

    def kubeconfig(self, path: Path, *, namespace: str = "default", token: str | None = None) -> Path:
        """Write one, with a single context "test"."""
        cluster = {"server": self.url, "certificate-authority": str(self.authority)}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "test", "user": {"token": token or self.admin}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": namespace}}],
        }
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        return path

    def token_of(self, namespace: str, service_account: str) -> str:
        """As its pods would get it."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{service_account}/token"
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 7200}}
        code, found = self.ask("POST", path, body)
        assert code == 201, found
        return str(found["status"]["token"])


@contextmanager
def control_plane(programs: Path, scratch: Path) -> Iterator[ControlPlane]:
    """Start all four, and wait until they serve."""
    scratch.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        running: list[Running] = []

        def start(program: str, options: Mapping[str, object]) -> None:
            log = scratch / f"{program}.log"
            running.append(stack.enter_context(program_running(programs / program, options, log)))

        etcd = f"http://127.0.0.1:{free_port()}"
        start("etcd", _of_etcd(scratch / "etcd", etcd))
        port, admin, front = free_port(), secrets.token_hex(16), Authority(scratch, "front-proxy-ca")
        accounts = Authority(scratch, "accounts-ca").issue("service-accounts")  # their tokens are signed with its key
        (scratch / "tokens.csv").write_text(f'{admin},admin,admin,"system:masters"\n')
        start("kube-apiserver", _of_api_server(scratch, accounts, front, etcd, port))
        authority = scratch / "api" / "apiserver.crt"
        wait_for(authority.is_file, running, "the API server's certificate")
        made = ControlPlane(f"https://127.0.0.1:{port}", authority, admin, front.file)
        stack.callback(made.http.close)
        wait_for(lambda: _ready(made), running, "the API server to be ready")
        config = made.kubeconfig(scratch / "admin.kubeconfig")
        start("kube-controller-manager", _of_controllers(config, accounts[1], authority))
        start("kube-scheduler", {"kubeconfig": config, "leader-elect": "false", "secure-port": 0})
        wait_for(lambda: _at_work(made), running, "the controllers to work")
        yield made


def _of_etcd(data: Path, url: str) -> dict[str, object]:
    return {
        "data-dir": data,
        "listen-client-urls": url,
        "advertise-client-urls": url,
        "listen-peer-urls": "http://127.0.0.1:0",
        "unsafe-no-fsync": "true",
    }


def _of_api_server(
    scratch: Path, accounts: tuple[Path, Path], front: Authority, etcd: str, port: int
) -> dict[str, object]:
    certificate, key = front.issue(FRONT_PROXY)
    return {
        "etcd-servers": etcd,
        "bind-address": "127.0.0.1",
        "advertise-address": "127.0.0.1",  # else a default route is looked for
        "secure-port": port,
        "cert-dir": scratch / "api",
        "service-cluster-ip-range": "10.96.0.0/16",
        "endpoint-reconciler-type": "none",
        "etcd-compaction-interval": "1s",  # what is older than two of them is forgotten,
        "watch-cache-sizes": "leases.coordination.k8s.io#0",  # and these are watched without a memory of it
        "authorization-mode": "RBAC",
        "token-auth-file": scratch / "tokens.csv",
        "service-account-issuer": "https://kubernetes.default.svc",
        "service-account-signing-key-file": accounts[1],
        "service-account-key-file": accounts[0],
        "requestheader-client-ca-file": front.file,
        "requestheader-allowed-names": FRONT_PROXY,
        "requestheader-username-headers": "X-Remote-User",
        "requestheader-group-headers": "X-Remote-Group",
        "requestheader-extra-headers-prefix": "X-Remote-Extra-",
        "proxy-client-cert-file": certificate,
        "proxy-client-key-file": key,
    }


def _of_controllers(config: Path, accounts: Path, authority: Path) -> dict[str, object]:
    return {
        "kubeconfig": config,
        "authentication-kubeconfig": config,
        "authorization-kubeconfig": config,
        "service-account-private-key-file": accounts,
        "root-ca-file": authority,
        "use-service-account-credentials": "true",
        "leader-elect": "false",
        "secure-port": 0,
        "horizontal-pod-autoscaler-sync-period": "1s",
        "node-monitor-grace-period": "1h",  # nobody renews the nodes' leases here
    }


@contextmanager
def program_running(
    program: Path, options: Mapping[str, object], log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[Running]:
    """One program, until the context ends. ``environment``: all that it has; None: what we have."""
    command: Sequence[str] = [str(program), *(f"--{name}={value}" for name, value in options.items())]
    with log.open("wb") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=sink, env=environment)
    try:
        yield process, log
    finally:
        process.kill()  # nothing of theirs is needed any more
        process.wait()


def wait_for(condition: Callable[[], object], running: Sequence[Running], what: str) -> None:
    """Until ``condition``; fails with what a program said that ended, or took too long."""
    deadline = monotonic() + START_S
    while not condition():
        for process, log in running:
            if process.poll() is not None or monotonic() > deadline:
                said = log.read_text(encoding="utf-8", errors="replace")[-3000:]
                raise AssertionError(f"waited for {what}; {log.stem} ended: {process.poll()}\n{said}")
        sleep(0.1)


def _ready(made: ControlPlane) -> bool:
    try:
        return made.http.get("/readyz").status_code == 200
    except httpx2.HTTPError:
        return False


def _at_work(made: ControlPlane) -> bool:
    return made.ask("GET", "/api/v1/namespaces/default/serviceaccounts/default")[0] == 200


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def kubectl(config: Path, *words: str, check: bool = True) -> str:
    """What it prints, errors and warnings as well."""
    found = shutil.which("kubectl")
    assert found is not None, "kubectl is not on the PATH"
    done = subprocess.run(
        [found, "--kubeconfig", str(config), *words], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0 or not check, done.stderr
    return done.stdout + done.stderr
