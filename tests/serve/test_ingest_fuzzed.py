"""Whatever is sent to ``POST /api/v1/usage``, the answer is as documented."""

import json
from datetime import UTC, datetime
from functools import partial

import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, settings

from controller.facts.usage import Receipt
from controller.serve.ingest import Desk, Token, ingest_router
from controller.usage.batch import Rules
from controller.usage.decode import read_usage
from controller.usage.directory import Directory


class Takes:
    """An intake that takes everything."""

    def add(self, source, batch):
        return Receipt(accepted=len(batch), duplicates=0, refused=batch.refused)


def app():
    rules = Rules(directory=Directory(services={"chat": ("h100",)}))
    made = FastAPI()
    desk = Desk(
        intake=Takes(),
        read=partial(read_usage, rules=rules),
        tokens=lambda: [Token(name="gateway", secret="gateway-secret", trusted=True)],
        clock=lambda: datetime(2026, 11, 21, 12, tzinfo=UTC),
    )
    made.include_router(ingest_router(desk))
    return made


@schemathesis.serializer("application/x-ndjson")
def lines(_context, value):
    """A record a line, as gateways send them."""
    return "\n".join(json.dumps(one) for one in (value if isinstance(value, list) else [value])).encode()


schema = schemathesis.openapi.from_asgi("/openapi.json", app())
CHECKS = [
    schemathesis.checks.not_a_server_error,
    schemathesis.checks.status_code_conformance,
    schemathesis.checks.content_type_conformance,
    schemathesis.checks.response_schema_conformance,
]
EASY = settings(max_examples=60, derandomize=True, suppress_health_check=list(HealthCheck))


@schema.parametrize()
@EASY
def test_whatever_a_gateway_sends_the_answer_is_as_documented(case):
    case.call_and_validate(checks=CHECKS, headers={"Authorization": "Bearer gateway-secret"})


@schema.parametrize()
@settings(EASY, max_examples=15)  # nobody's word is looked at: they differ in nothing
def test_whoever_sends_the_answer_is_as_documented(case):
    case.call_and_validate(checks=CHECKS)
