"""HTTP to one API server. Lightkube finds it and proves who we are; requests are our own.

Lightkube's calls wait for ever on a watch whose connection died silently, and hand a page that is no JSON on as some
other library's error; here every wait ends, and every failure is one of ``controller/errors.py``. Nothing is tried
twice: a write that may have worked is for its caller to look at.
"""

from __future__ import annotations

import json
import socket
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from math import inf
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeAlias

from yaml import YAMLError

from controller.errors import AwayError, ClusterError, NonsenseError
from controller.kubernetes.refusals import Call, CredentialsError, refusal
from controller.kubernetes.resources import FIELD_MANAGER, Resource

if TYPE_CHECKING:  # an extra: who has no Kubernetes need not install it
    import httpx2
    from lightkube.config.kubeconfig import SingleConfig

Json: TypeAlias = dict[str, Any]

MERGE_PATCH = "application/merge-patch+json"
AGAIN_S = 60.0
"""Between two looks at a config whose credentials are refused. A guess: it costs a file to read."""

PAGE_ITEMS = 500
"""Objects a page of a list, as kubectl and client-go ask for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Seconds. Guesses: a healthy API server connects in milliseconds and answers within one second (its own SLO).

    watch_s    the API server ends a watch after so long, so that both sides are known to be there
    silence_s  a watch that is not ended by then, and said nothing, is taken for dead
    """

    connect_s: float = 3.0
    read_s: float = 10.0
    watch_s: float = 30.0
    silence_s: float = 40.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line of a watch: ADDED, MODIFIED, DELETED or BOOKMARK."""

    type: str
    object: Json


class Api:
    """Calls of one API server, counted. For use by several threads."""

    def __init__(
        self, config: SingleConfig, *, timeouts: Timeouts | None = None, again: Callable[[], SingleConfig] | None = None
    ) -> None:
        """ClusterError where what is to prove who we are cannot be loaded.

        again   reads the config anew, when the API server does not know us: a token or certificate that stands in it
                may have been replaced. ClusterError
        """
        self.timeouts = timeouts or Timeouts()
        self.server = config.cluster.server
        self.namespace = config.namespace
        self._config, self._again, self._read_at = config, again, -inf
        self._http = self._client(config)
        self._replaced: list[httpx2.Client] = []
        self._lock = Lock()
        self._calls: Counter[tuple[str, str]] = Counter()

    def close(self) -> None:
        """Let go of all connections."""
        for one in (self._http, *self._replaced):
            one.close()

    @property
    def calls(self) -> Mapping[tuple[str, str], int]:
        """How many were made so far, by verb and resource: ("patch", "deployments.apps/scale")."""
        with self._lock:
            return dict(self._calls)

    # reading

    def get(self, resource: Resource, namespace: str, name: str, *, sub: str = "") -> Json:
        """One object."""
        return self._ask("GET", Call("get", resource, namespace, name, sub))

    def list(self, resource: Resource, namespace: str = "", selector: str = "") -> tuple[list[Json], str]:
        """All objects, page by page, and the version that a watch goes on from."""
        call = Call("list", resource, namespace)
        items: list[Json] = []
        params = {"limit": str(PAGE_ITEMS), **({"labelSelector": selector} if selector else {})}
        while True:
            page = self._ask("GET", call, params=params)
            found, meta = page.get("items"), page.get("metadata")
            if not isinstance(found, list | None) or not isinstance(meta, dict):
                raise NonsenseError(f"{call}: the answer of {self.server} is no list; it is asked again later")
            items += found or []
            if not meta.get("continue"):
                return items, str(meta.get("resourceVersion") or "")
            params = {**params, "continue": meta["continue"]}

    def watch(self, resource: Resource, namespace: str = "", selector: str = "", *, version: str) -> Watch:
        """Everything that happens after ``version``, until the API server ends it after ``watch_s``."""
        import httpx2

        params = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": f"{self.timeouts.watch_s:.0f}",
            **({"labelSelector": selector} if selector else {}),
        }
        call = Call("watch", resource, namespace)
        self._count(call)
        waits = httpx2.Timeout(self.timeouts.silence_s, connect=self.timeouts.connect_s)
        return Watch(self._http, self._http.build_request("GET", self._url(call), params=params, timeout=waits), call)

    # changing

    def create(self, resource: Resource, namespace: str, body: Json) -> Json:
        """A new object. ConflictError when there is one of its name."""
        return self._ask("POST", Call("create", resource, namespace), body=body, params=_WRITER)

    def replace(self, resource: Resource, namespace: str, name: str, body: Json) -> Json:
        """The whole object. With metadata.resourceVersion in ``body``, ConflictError when it changed since."""
        return self._ask("PUT", Call("update", resource, namespace, name), body=body, params=_WRITER)

    def patch(self, resource: Resource, namespace: str, name: str, body: Json, *, sub: str = "") -> Json:
        """A merge patch (RFC 7386). With metadata.resourceVersion in ``body``, ConflictError when it changed since."""
        call = Call("patch", resource, namespace, name, sub)
        return self._ask("PATCH", call, body=body, params=_WRITER, content_type=MERGE_PATCH)

    def _client(self, config: SingleConfig) -> httpx2.Client:
        import httpx2

        # A watch holds its connection, so their number is the number of watches: no pool limit may starve a call.
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=8)
        heard = {"response": [self._heard]}
        return httpx2.Client(**_connection(config, self.timeouts), limits=limits, event_hooks=heard)

    def _heard(self, answer: httpx2.Response) -> None:
        """Of every call and watch. From here on with another config, if there is one; else the refusal stands."""
        if answer.status_code != HTTPStatus.UNAUTHORIZED or self._again is None:
            return
        with self._lock, suppress(ClusterError):  # half of it may be written; the refusal is told in any case
            if monotonic() - self._read_at < AGAIN_S:
                return
            self._read_at = monotonic()
            found = self._again()
            if found != self._config and _place(found) == _place(self._config):  # not what somebody switched to
                fresh = self._client(found)
                self._replaced.append(self._http)  # others may be in the midst of a call
                self._config, self._http = found, fresh

    def _url(self, call: Call) -> str:
        return call.resource.path(call.namespace, call.name, call.sub)

    def _count(self, call: Call) -> None:
        with self._lock:
            self._calls[call.verb, call.where] += 1

    def _ask(
        self,
        method: str,
        call: Call,
        *,
        body: Json | None = None,
        params: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> Json:
        import httpx2

        self._count(call)
        headers = {"Accept": "application/json", **({"Content-Type": content_type} if body is not None else {})}
        content = None if body is None else json.dumps(body)
        try:
            answer = self._http.request(method, self._url(call), params=params, headers=headers, content=content)
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
            raise AwayError(f"{call}: {self.server} cannot be reached ({_words(error)}); nothing was done") from error
        except httpx2.TimeoutException as error:
            waited = f"no answer of {self.server} within {self.timeouts.read_s:g} s"
            raise AwayError(f"{call}: {waited}; {call.doubt}") from error
        except (httpx2.HTTPError, OSError) as error:
            raise AwayError(f"{call}: {self.server} broke off ({_words(error)}); {call.doubt}") from error
        except CredentialsError as error:
            raise CredentialsError(f"{call}: no credentials for {self.server}: {error}; nothing was done") from error
        if not answer.is_success:
            raise refusal(call, answer.status_code, answer.headers, answer.content)
        return decoded(call, answer.content)


_WRITER = {"fieldManager": FIELD_MANAGER}


class Watch:
    """One watch. Iterate once; ``stop`` ends it from another thread."""

    def __init__(self, http: httpx2.Client, request: httpx2.Request, call: Call) -> None:
        self._http = http
        self._request = request
        self._call = call
        self._lock = Lock()
        self._socket: socket.socket | None = None
        self._stopped = False

    def __iter__(self) -> Iterator[Event | None]:
        """None once, when the API server has accepted it; then what happens. AwayError when it breaks off."""
        import httpx2

        try:
            answer = self._http.send(self._request, stream=True)
        except (httpx2.HTTPError, OSError) as error:
            raise AwayError(f"{self._call}: {_words(error)}; it is begun anew") from error
        except CredentialsError as error:
            raise CredentialsError(f"{self._call}: no credentials: {error}; it is begun anew") from error
        try:
            yield from self._lines(answer)
        except (httpx2.HTTPError, httpx2.StreamError, OSError) as error:
            raise AwayError(f"{self._call}: broke off ({_words(error)}); it is begun anew") from error
        finally:
            with self._lock:
                self._socket = None
            answer.close()

    def _lines(self, answer: httpx2.Response) -> Iterator[Event | None]:
        if not answer.is_success:
            raise refusal(self._call, answer.status_code, answer.headers, answer.read())
        with self._lock:
            stream = answer.extensions.get("network_stream")
            self._socket = stream.get_extra_info("socket") if stream is not None else None
            if self._stopped:
                return
        yield None
        for line in answer.iter_lines():
            if line.strip():
                yield self._event(line)

    def _event(self, line: str) -> Event:
        said = decoded(self._call, line.encode())
        kind, found = said.get("type"), said.get("object")
        if not isinstance(found, dict) or kind not in {"ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"}:
            raise NonsenseError(f"{self._call}: {line[:80]!r} is no event; everything is listed anew")
        if kind == "ERROR":
            raise refusal(self._call, int(found.get("code") or 500), {}, json.dumps(found).encode())
        return Event(type=kind, object=found)

    def stop(self) -> None:
        """Wake whoever reads it. Closing would not: a blocked read goes on."""
        with self._lock:
            self._stopped = True
            if self._socket is not None:
                with suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)


def decoded(call: Call, content: bytes) -> Json:
    """The JSON object that an answer holds. NonsenseError."""
    try:
        found = json.loads(content)
    except ValueError as error:
        start = content[:60].decode(errors="replace")
        raise NonsenseError(f"{call}: the answer is no JSON but {start!r}; {call.doubt}") from error
    if not isinstance(found, dict):
        raise NonsenseError(f"{call}: the answer is no object but {type(found).__name__}; {call.doubt}")
    return found


def _place(config: SingleConfig) -> tuple[str, str, str]:
    return config.context_name, config.cluster.server, config.namespace


def _connection(config: SingleConfig, timeouts: Timeouts) -> dict[str, Any]:
    """How httpx2 is to reach the API server."""
    import httpx2
    from lightkube.config.client_adapter import ConnectionParams
    from lightkube.config.models import User
    from lightkube.core.exceptions import ConfigError as KubeConfigError

    from controller.kubernetes.credentials import credentials_of

    waits = httpx2.Timeout(timeouts.read_s, connect=timeouts.connect_s)
    try:
        params = ConnectionParams(timeout=waits).httpx_params(config._replace(user=config.user or User()))
    except (KubeConfigError, OSError, ValueError) as error:
        server = config.cluster.server
        raise ClusterError(f"no credentials for {server}: {_words(error)}; they are loaded again later") from error
    return {**params, "auth": credentials_of(config.user, params["auth"])}


def config_of(context: str = "", *, kubeconfig: str = "") -> SingleConfig:
    """The API server to talk to: inside a pod its own cluster, else what the kubeconfig says. ClusterError.

    context      a name of the kubeconfig; "": its current one, or the pod's own cluster
    kubeconfig   the file; "": as KUBECONFIG says, or ~/.kube/config
    """
    try:
        from lightkube.config.kubeconfig import KubeConfig
        from lightkube.core.exceptions import ConfigError as KubeConfigError
    except ImportError as error:
        raise ClusterError("Kubernetes needs more than is installed: pip install 'pennyweight[kubernetes]'") from error
    wanted = f"context '{context}'" if context else "the API server"
    try:
        if kubeconfig:
            found = KubeConfig.from_file(kubeconfig).get(context or None)
        elif context:
            found = KubeConfig.from_env(service_account="/nonexistent").get(context)
        else:
            found = KubeConfig.from_env().get()
    except (KubeConfigError, YAMLError, OSError, ValueError) as error:
        raise ClusterError(
            f"no way to {wanted}: {_words(error)}; a kubeconfig or a service account is needed"
        ) from error
    except (KeyError, TypeError, AttributeError) as error:  # lightkube looks for nothing before it takes it
        raise ClusterError(f"no way to {wanted}: what was read is no whole kubeconfig ({_words(error)})") from error
    if found is None:
        raise ClusterError(f"no way to {wanted}: the kubeconfig names no current context")
    return found


def _words(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
