"""What the price sources of AWS share: clients, every page of an answer, and errors in their words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from controller.aws import clients as aws
from controller.errors import AwsError, PriceError

Client = aws.Client
Clients = aws.Clients


def clients(service: str, of: aws.Aws | None = None, **options: Any) -> Clients:
    """A client of ``service`` by region, with the credentials that boto3 finds. It raises PriceError without boto3."""
    made = aws.clients(service, of, **options)

    def client(region: str) -> Client:
        try:
            return made(region)
        except AwsError as error:
            raise PriceError(str(error)) from error

    return client


def asked(call: Callable[..., Mapping[str, Any]], **question: Any) -> Mapping[str, Any]:
    """The answer. Raises PriceError with AWS's own words."""
    try:
        return aws.asked(call, **question)
    except AwsError as error:
        raise PriceError(str(error)) from error


def pages(call: Callable[..., Mapping[str, Any]], token: str, **question: Any) -> Iterator[Mapping[str, Any]]:
    """Every page of an answer whose next one is asked for with ``token``. Raises PriceError."""
    try:
        yield from aws.pages(call, token, **question)
    except AwsError as error:
        raise PriceError(str(error)) from error


def instance(offer: str) -> tuple[str, str]:
    """Region and instance type of "aws/region/instance_type". Raises PriceError for any other offer."""
    provider, _, rest = offer.partition("/")
    region, _, kind = rest.partition("/")
    if provider != "aws" or not region or not kind or "/" in kind:
        raise PriceError(f"{offer!r} is no offer of AWS: expected aws/region/instance_type")
    return region, kind
