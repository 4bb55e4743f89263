"""Asking Amazon Web Services: clients that give up in time, every page of an answer, and errors in our words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, Protocol

from controller.errors import PriceError

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 20.0
ATTEMPTS = 3
"""Guesses: whoever asks waits a minute at most, and is asked again a few minutes later."""

LONGEST_ANSWER = 200
"""Pages. A guess: 200,000 spot prices are years of one instance type; a token that leads in a circle ends here."""


class Client(Protocol):
    """What is called of a boto3 client: methods by name, with keywords, that give plain mappings."""

    def __getattr__(self, name: str) -> Callable[..., Mapping[str, Any]]: ...


Clients = Callable[[str], Client]
"""A client of one service in a region."""


def clients(service: str, **options: Any) -> Clients:
    """boto3's, with the credentials that it finds for itself. Raises PriceError where boto3 is not installed."""
    try:
        import boto3
        from botocore.config import Config
    except ImportError as error:
        raise PriceError(f"AWS cannot be asked: {error}; install pennyweight[aws]") from error
    config = Config(
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=READ_TIMEOUT_S,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
    )

    @cache
    def client(region: str) -> Client:
        made: Client = boto3.client(service, region_name=region, config=config, **options)
        return made

    return client


def asked(call: Callable[..., Mapping[str, Any]], **question: Any) -> Mapping[str, Any]:
    """The answer. Raises PriceError with AWS's own words."""
    from botocore.exceptions import BotoCoreError, ClientError  # there is no client without it

    try:
        return call(**question)
    except (BotoCoreError, ClientError) as error:
        raise PriceError(f"AWS answered: {error}") from error


def pages(call: Callable[..., Mapping[str, Any]], token: str, **question: Any) -> Iterator[Mapping[str, Any]]:
    """Every page of an answer whose next one is asked for with ``token``. Raises PriceError."""
    following: dict[str, str] = {}
    for _ in range(LONGEST_ANSWER):
        page = asked(call, **question, **following)
        yield page
        if not page.get(token):
            return
        following = {token: page[token]}
    raise PriceError(f"AWS went on after {LONGEST_ANSWER} pages; nothing of its answer was used")


def instance(offer: str) -> tuple[str, str]:
    """Region and instance type of "aws/region/instance_type". Raises PriceError for any other offer."""
    provider, _, rest = offer.partition("/")
    region, _, kind = rest.partition("/")
    if provider != "aws" or not region or not kind or "/" in kind:
        raise PriceError(f"{offer!r} is no offer of AWS: expected aws/region/instance_type")
    return region, kind
