"""Asking AWS: clients that give up in time and call nothing but what the IAM policy allows, every page of an answer,
and what went wrong in one error."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import inf
from threading import Lock
from time import monotonic
from typing import Any, Protocol

from controller.aws.operations import OPERATIONS, PREFIXES
from controller.errors import AwsError

LONGEST_ANSWER = 200
"""Pages. A guess: 200,000 spot prices are years of one instance type; a token that leads in a circle ends here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long one call may take. ``attempts``: of which each may time out; with ``adaptive`` retries botocore also
    slows down by itself while AWS throttles."""

    connect_s: float
    read_s: float
    attempts: int
    adaptive: bool = True


IN_A_PASS = Patience(connect_s=2.0, read_s=5.0, attempts=2)
"""A pass waits for it. Guesses: AWS answers in well under a second, and a pass has 15 s unless set."""

ONCE = Patience(connect_s=2.0, read_s=8.0, attempts=1)
"""For calls that do more when made twice: what became of one without an answer is read before anything else is done."""

BETWEEN_PASSES = Patience(connect_s=5.0, read_s=20.0, attempts=3, adaptive=False)
"""Guesses: whoever asks waits a minute at most, and is asked again a few minutes later."""


AGAIN_S = 60.0
"""Between two looks for credentials that were not there, or that AWS refused. A guess: a look may ask the instance
metadata for a second, and new clients take a tenth of one each."""

NO_KEYS = (
    "AWS cannot be asked: no credentials were found (environment, ~/.aws, role of the container or the instance); they"
    " are looked for again every minute"
)

UNKNOWN_KEYS = frozenset(
    {"AuthFailure", "ExpiredToken", "ExpiredTokenException", "InvalidAccessKeyId", "InvalidClientTokenId"}
    | {"SignatureDoesNotMatch", "UnrecognizedClientException"}
)
"""Codes of AWS for keys that it does not know, or no longer.
https://docs.aws.amazon.com/IAM/latest/APIReference/CommonErrors.html and
https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html"""


class Client(Protocol):
    """What is called of a boto3 client: methods by name, with keywords, that give plain mappings."""

    def __getattr__(self, name: str) -> Callable[..., Mapping[str, Any]]: ...


Clients = Callable[[str], Client]
"""A client of one service in a region."""


class Aws:
    """boto3's clients, with the credentials that it finds for itself. Made when they are first asked for and then kept,
    because that takes longer than a call; until AWS refuses their keys, which may have been replaced since. Ask for
    a client each time. For use by several threads."""

    def __init__(self, **options: Any) -> None:
        """``options``: of every client, e.g. ``endpoint_url``."""
        self._calls: Counter[str] = Counter()
        self._options = options
        self._made: dict[tuple[str, str, Patience], Client] = {}
        self._boto: Any = None
        self._given = "aws_access_key_id" in options
        self._looked_at = -inf
        """When credentials were last looked for, by the monotonic clock."""
        self._lock, self._counting = Lock(), Lock()

    @property
    def calls(self) -> Mapping[str, int]:
        """How often each operation was called, retries not counted; also refused ones."""
        with self._counting:
            return dict(self._calls)

    def client(self, service: str, region: str = "", patience: Patience = IN_A_PASS) -> Client:
        """Of ``service`` in ``region``; "": the one that boto3 finds for itself. Raises AwsError without boto3, and
        where boto3 cannot make one."""
        with self._lock:
            key = (service, region, patience)
            if key not in self._made:
                self._made[key] = self._new(*key)
            return self._made[key]

    def clients(self, service: str, patience: Patience = IN_A_PASS) -> Clients:
        """Those of ``service``, by region."""
        return lambda region: self.client(service, region, patience)

    def _new(self, service: str, region: str, patience: Patience) -> Client:
        try:
            import boto3
            from botocore.config import Config
            from botocore.exceptions import BotoCoreError
        except ImportError as error:
            raise AwsError(f"AWS cannot be asked: {error}; install pennyweight[aws]") from error
        config = Config(
            connect_timeout=patience.connect_s,
            read_timeout=patience.read_s,
            retries={"mode": "adaptive" if patience.adaptive else "standard", "total_max_attempts": patience.attempts},
        )
        try:
            # One for all: it reads what a service looks like once. Not the default one, which is not for several
            # threads; of this one clients are made one after the other.
            self._boto = self._boto or self._session(boto3.session.Session)
            made: Any = self._boto.client(service, region_name=region or None, config=config, **self._options)
        except (BotoCoreError, ValueError) as error:
            raise AwsError(f"AWS cannot be asked: {error}") from error
        made.meta.events.register("provide-client-params.*.*", self._called)
        made.meta.events.register("before-parse.*.*", _without_page)
        if not self._given:
            made.meta.events.register("after-call.*.*", self._answered)
        kept: Client = made
        return kept

    def _session(self, new: Callable[[], Any]) -> Any:
        """One that has credentials: without any it would go on without when there are some."""
        if self._given:
            return new()
        if monotonic() - self._looked_at < AGAIN_S:
            raise AwsError(NO_KEYS)
        self._looked_at, session = monotonic(), new()
        if session.get_credentials() is None:
            raise AwsError(NO_KEYS)
        return session

    def _answered(self, *, parsed: Mapping[str, Any], **_: object) -> None:
        """New clients, with the keys that are found then, where AWS does not know these."""
        if parsed.get("Error", {}).get("Code") not in UNKNOWN_KEYS:
            return
        with self._lock:
            if monotonic() - self._looked_at >= AGAIN_S:
                self._made.clear()
                self._boto = None

    def _called(self, *, model: Any, **_: object) -> None:
        operation = iam_action(str(model.service_model.service_id.hyphenize()), str(model.name))
        with self._counting:
            self._calls[operation] += 1
        if operation not in OPERATIONS:
            raise AwsError(f"{operation} is called nowhere else and not in the IAM policy; it was not called")


PAGES = (b"<html", b"<!doctype")
"""How a page begins; no answer of AWS does."""


def _without_page(*, response_dict: dict[str, Any], **_: object) -> None:
    """A server error that brings a page for people is told by its status: botocore knows only some of those pages, and
    takes the others for an answer that it cannot understand. With a status that says all is well, it takes them for an
    answer of those operations that answer nothing, and of EC2 for one that lists nothing."""
    if not (response_dict.get("body") or b"").lstrip()[:9].lower().startswith(PAGES):
        return
    if response_dict["status_code"] >= 500:
        response_dict["body"] = b""
    elif response_dict["status_code"] < 300:
        raise AwsError("AWS answered with a page for people: somebody in between did, and nothing is taken from it")


NOT_FOR_US = frozenset(
    {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "InvalidAction", "UnsupportedOperation"}
)
"""Codes of AWS for what who we are may not ask, or what nobody there knows.
https://docs.aws.amazon.com/IAM/latest/APIReference/CommonErrors.html and
https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html"""


def unanswerable(error: AwsError) -> bool:
    """Whether AWS said that this call is not to be had: it may not be made, is not known, or fails on the server. What
    was throttled, or got no answer, may be answered in the next pass."""
    return error.status >= 500 or error.code in NOT_FOR_US


def clients(service: str, aws: Aws | None = None, **options: Any) -> Clients:
    """Of ``service`` by region, for whoever asks between passes; those of ``aws``, or new ones with ``options``.
    One that cannot be made raises AwsError."""
    return (aws or Aws(**options)).clients(service, BETWEEN_PASSES)


def iam_action(service: str, operation: str) -> str:
    """What IAM calls botocore's ``operation`` of ``service``."""
    return f"{PREFIXES.get(service, service)}:{operation}"


def asked(call: Callable[..., Mapping[str, Any]], **question: Any) -> Mapping[str, Any]:
    """The answer. Raises AwsError with AWS's own words."""
    from botocore.exceptions import BotoCoreError, ClientError  # there is no client without it
    from botocore.parsers import ResponseParserError

    try:
        return call(**question) or {}
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        raise AwsError(f"AWS answered: {error}", code=code, status=status) from error
    except BotoCoreError as error:
        raise AwsError(f"AWS answered: {error}") from error
    except (ResponseParserError, ValueError, LookupError, TypeError) as error:
        # Somebody in between answered, or half of the answer came: botocore gives up on it in any of these ways.
        words = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise AwsError(f"AWS answered something that cannot be understood: {words}") from error


def pages(call: Callable[..., Mapping[str, Any]], token: str, **question: Any) -> Iterator[Mapping[str, Any]]:
    """Every page of an answer whose next one is asked for with ``token``. Raises AwsError."""
    following: dict[str, str] = {}
    for _ in range(LONGEST_ANSWER):
        page = asked(call, **question, **following)
        yield page
        if not page.get(token):
            return
        following = {token: page[token]}
    raise AwsError(f"AWS went on after {LONGEST_ANSWER} pages; nothing of its answer was used")
