"""Who we are, proved to the API server. Whatever goes wrong with that is an error of our own, and the next call tries
again.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path
from threading import Lock
from time import monotonic

import httpx2
from lightkube.config.client_adapter import ExecAuth
from lightkube.config.models import User, UserExec

from controller.kubernetes.refusals import CredentialsError

PLUGIN_S = 20.0
"""A plugin that has not ended by then is ended. A guess: ``aws eks get-token`` takes one or two seconds, and a pass may
wait for it."""

LONGEST = 300
"""Characters of a plugin's complaint that are told."""

VERSIONS = tuple(f"client.authentication.k8s.io/{version}" for version in ("v1", "v1beta1", "v1alpha1"))

Flow = Generator[httpx2.Request, httpx2.Response, None]


class Credentials(httpx2.Auth):
    """As ``inner`` proves it."""

    def __init__(self, inner: httpx2.Auth) -> None:
        self._inner = inner

    def sync_auth_flow(self, request: httpx2.Request) -> Flow:
        try:
            yield from self._inner.sync_auth_flow(request)
        except CredentialsError:
            raise
        except Exception as error:  # a file may hold anything, and its reader is not ours
            raise CredentialsError(" ".join(str(error).split()) or type(error).__name__) from error


class Bearer(httpx2.Auth):
    """A token from ``source``: got when there is none, and when it is refused. What is no token is not kept.
    For several threads: one gets it, and those who wait take what came of it.

    ``source`` raises CredentialsError.
    """

    def __init__(self, source: Callable[[], str]) -> None:
        self._source = source
        self._lock = Lock()
        self._token = ""
        self._failed, self._failed_at = "", 0.0

    def sync_auth_flow(self, request: httpx2.Request) -> Flow:
        refused = self._token
        if refused:
            request.headers["Authorization"] = f"Bearer {refused}"
            response = yield request
            if response.status_code != httpx2.codes.UNAUTHORIZED:
                return
        request.headers["Authorization"] = f"Bearer {self._other_than(refused)}"
        yield request

    def _other_than(self, refused: str) -> str:
        began = monotonic()
        with self._lock:
            if self._token != refused:
                return self._token
            if self._failed and self._failed_at >= began:
                raise CredentialsError(self._failed)
            try:
                self._token, self._failed = self._source(), ""
            except CredentialsError as error:
                self._failed, self._failed_at = str(error), monotonic()
                raise
            return self._token


def credentials_of(user: User | None, found: httpx2.Auth | None) -> Credentials | None:
    """``found``, as lightkube has it for ``user``, with failures of ours. None: nothing is to be proved.

    Two of lightkube's do not come back from a failure, so they are ours: it waits for ever for a plugin that hangs, and
    keeps what it once read of a token file, though that may have been empty for a moment.
    """
    if user is not None and user.token_file is not None:
        return Credentials(Bearer(partial(_read, Path(user.token_file))))
    if isinstance(found, ExecAuth):
        return Credentials(Bearer(partial(_printed, found._exec)))
    return Credentials(found) if found is not None else None


def _read(file: Path) -> str:
    """The token of a file, which the kubelet or another writes anew from time to time. CredentialsError."""
    try:
        token = file.read_bytes().decode(errors="replace").strip()
    except OSError as error:
        raise CredentialsError(f"token file {file} cannot be read: {error.strerror}") from error
    if not _fits(token):
        raise CredentialsError(f"token file {file} holds no token; it may be being written")
    return token


def _printed(command: UserExec) -> str:
    """The token that a plugin prints, a command such as ``aws eks get-token``. CredentialsError.

    https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins
    """
    if command.apiVersion not in VERSIONS:
        raise CredentialsError(
            f"{command.command} is a plugin of {command.apiVersion}; known are {', '.join(VERSIONS)}"
        )
    try:
        done = subprocess.run(
            [command.command, *(command.args or ())],
            env=_environment(command),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PLUGIN_S,
        )
    except subprocess.TimeoutExpired as error:
        raise CredentialsError(f"{command.command} did not end within {PLUGIN_S:g} s") from error
    except OSError as error:
        raise CredentialsError(f"{command.command} cannot be run: {error.strerror}") from error
    if done.returncode:
        complaint = " ".join(done.stderr.decode(errors="replace").split())[:LONGEST]
        raise CredentialsError(f"{command.command} ended with exit {done.returncode}: {complaint or 'no word'}")
    return _token(command.command, done.stdout)


def _environment(command: UserExec) -> dict[str, str]:
    asked = {"kind": "ExecCredential", "apiVersion": command.apiVersion, "spec": {"interactive": False}}
    own = {one.name: one.value for one in command.env or ()}
    return {**os.environ, "KUBERNETES_EXEC_INFO": json.dumps(asked), **own}


def _token(plugin: str, printed: bytes) -> str:
    """What was printed is never told: it may hold the token."""
    try:
        token = json.loads(printed)["status"]["token"]
    except (ValueError, KeyError, TypeError) as error:
        raise CredentialsError(f"{plugin} printed no token ({type(error).__name__})") from error
    if not isinstance(token, str) or not _fits(token):
        raise CredentialsError(f"{plugin} printed no token but what no header can hold")
    return token


def _fits(token: str) -> bool:
    """Whether a header can hold it: one with other characters is quoted in an error."""
    return bool(token) and token.isascii() and token.isprintable()
