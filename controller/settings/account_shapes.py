"""The shape of ``account:`` and ``finance:`` in fleet.yaml: who used what, and what that may cost."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StrictBool, WithJsonSchema, model_validator

from controller.documents import near
from controller.facts.accounts import Identity
from controller.quantities import RatioValue, duration_text
from controller.settings.base import Shape
from controller.settings.money_shapes import BudgetShape, CommitmentShape, ContractShape, RateShape, SharedCostShape
from controller.settings.values import Amount, Name, Period, Wait, Whole

SETTLE_AFTER_S = 2 * 3600.0
LATEST_S = 3 * 86_400.0
"""As long as the ledger knows a record that comes a second time."""

Day = Annotated[date, Field(strict=False)]
Share = Annotated[RatioValue, Field(ge=0, le=1)]
Tail = Annotated[float, Field(strict=True, ge=0, le=0.1)]


def _hash(name: str) -> str:
    if re.fullmatch(r"[0-9a-f]{16}", name):
        return name
    raise ValueError("expected the hash of a key as reports show it, 16 hexadecimal digits; never write the key itself")


def _latest(seconds: float) -> float:
    if seconds > LATEST_S:
        raise ValueError(f"expected {duration_text(LATEST_S)} at most, found {duration_text(seconds)}")
    return seconds


def _own_name(name: str) -> str:
    if name.startswith("__"):
        raise ValueError(f"'{name}' begins with __, as only the ledger's own lines may")
    return name


KeyHash = Annotated[str, AfterValidator(_hash)]
Late = Annotated[Period, AfterValidator(_latest)]
Whose = Annotated[str, Field(max_length=128), AfterValidator(_own_name)]
Team = Annotated[Whose, Field(min_length=1)]


class TokenShape(Shape):
    """Who may send usage records."""

    name: Name = Field(description="of the sender: records are known by it and their ids")
    env: Name = Field(description="the environment variable that holds the token")
    trusted: StrictBool = Field(default=False, description="a gateway that sets identities itself: it is believed")


class IngestShape(Shape):
    """Records that are sent to ``POST /api/v1/usage``."""

    tokens: tuple[TokenShape, ...] = Field(default=(), description="who may send; nobody without one")


class IdentityShape(Shape):
    """Whose an API key is."""

    team: Whose = Field(default="", description="the cost centre")
    tenant: Whose = Field(default="", description="the customer or the organisation")
    feature: Whose = Field(default="", description="the product's")
    environment: Whose = Field(default="", description="production, staging …")

    @property
    def identity(self) -> Identity:
        return Identity(team=self.team, tenant=self.tenant, feature=self.feature, environment=self.environment)


class LiteLlmShape(Shape):
    """LiteLLM's spend logs."""

    url_env: Name = Field(description="the environment variable that holds the address of LiteLLM's PostgreSQL")
    tenant: Literal["organization_id", "end_user", "user"] = Field(
        default="organization_id", description="the column with the customer: organization_id, end_user or user"
    )
    tags: dict[str, Literal["team", "tenant", "feature", "environment"]] = Field(
        default={}, description="beginning of a tag: the field it sets; left out: feature, env and environment"
    )
    overlap: Wait = Field(default=1800.0, description="how late a row may appear; a guess: it writes by the minute")


class LogShape(Shape):
    """A file that somebody writes to."""

    path: Name = Field(description="followed through its rotations")
    trusted: StrictBool = Field(default=False, description="a gateway set the identities in it: they are believed")
    fields: dict[str, str | tuple[str, ...]] = Field(
        default={}, description="a record's field: where it stands, when not where usage.md says"
    )


class SourceShape(Shape):
    """One source of usage records that is read, every five minutes."""

    name: Name = Field(description="records are known by it and their ids")
    litellm: LiteLlmShape | None = Field(default=None, description="LiteLLM's spend logs in its PostgreSQL")
    access_log: LogShape | None = Field(default=None, description="an access log of JSON lines")
    otel: LogShape | None = Field(default=None, description="OpenTelemetry GenAI spans as OTLP JSON lines")
    services: tuple[Name, ...] = Field(default=(), description="that it tells of; left out: all. One source a service")

    @property
    def chosen(self) -> tuple[str, LiteLlmShape | LogShape]:
        """The kind and the options of the one that is set."""
        blocks = {"litellm": self.litellm, "access_log": self.access_log, "otel": self.otel}
        return next((kind, block) for kind, block in blocks.items() if block is not None)

    @model_validator(mode="after")
    def _one_kind(self) -> SourceShape:
        given = [kind for kind in ("litellm", "access_log", "otel") if getattr(self, kind) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none"
            raise ValueError(f"expected exactly one of litellm, access_log and otel, found {found}")
        return self


class SharingShape(Shape):
    """A rule with the teams that it names."""

    even: tuple[Team, ...] | None = Field(default=None, min_length=1, description="the same for each of these teams")
    fixed: dict[Team, Amount] | None = Field(default=None, min_length=1, description="per cent by team; 100 or less")

    @model_validator(mode="after")
    def _one_rule(self) -> SharingShape:
        if (self.even is None) == (self.fixed is None):
            raise ValueError("expected exactly one of even and fixed")
        if self.fixed is not None and sum(self.fixed.values()) > 100:
            raise ValueError(f"fixed weights add up to {sum(self.fixed.values()):g} per cent; expected 100 at most")
        return self


def _rule_name(name: str) -> str:
    if name not in PLAIN_RULES:
        raise ValueError(
            f"'{name}' is not one of {', '.join(PLAIN_RULES)}, {{even: […]}}, {{fixed: {{…}}}}{near(name, PLAIN_RULES)}"
        )
    return name


PLAIN_RULES = ("own_line", "by_use", "by_floor")
RuleName = Annotated[str, AfterValidator(_rule_name), WithJsonSchema({"enum": list(PLAIN_RULES)})]
Sharing = RuleName | SharingShape


class RuleShape(Shape):
    """Who bears what nobody's tokens took, from a day on."""

    since: Day | None = Field(default=None, description="from this day (UTC) on; left out: from the beginning")
    service: Name | None = Field(default=None, description="left out: every service that has no rule of its own")
    idle: Sharing | None = Field(default=None, description="own_line, by_use, by_floor, {even: […]} or {fixed: {…}}")
    overhead: Sharing | None = Field(default=None, description="the same for starting, draining, swapping, interrupted")
    shared: Sharing | None = Field(default=None, description="the same for the costs under `shared`")

    @model_validator(mode="after")
    def _something(self) -> RuleShape:
        if self.idle is None and self.overhead is None and self.shared is None:
            raise ValueError("shares nothing; expected idle, overhead or shared")
        return self


class AgesShape(Shape):
    """How old an answer may be."""

    ask_after: Period = Field(description="asked again after")
    stale_after: Period = Field(description="unknown after: nothing moves for a price of long ago")

    @model_validator(mode="after")
    def _ordered(self) -> AgesShape:
        if self.stale_after <= self.ask_after:
            raise ValueError("a price would be unknown before it is asked for again: stale_after must be longer")
        return self


class PricesShape(Shape):
    """Who is asked for prices, beside the price book."""

    sources: tuple[Literal["aws_on_demand", "aws_spot"], ...] = Field(
        default=(), description="aws_on_demand, aws_spot; with AWS's own credentials"
    )
    on_demand: AgesShape | None = Field(
        default=None, description="left out: asked daily, good for 7d; a guess: list prices change a few times a year"
    )
    spot: AgesShape | None = Field(
        default=None, description="left out: asked every 10m, good for 1h; a guess: they change a few times a day"
    )


class AnomaliesShape(Shape):
    """Cost that the same hours of other weeks do not know."""

    min_usd: Amount = Field(default=5.0, description="an hour that differs by less is none; a guess")


class AccountShape(Shape):
    """Whose the cost is."""

    ingest: IngestShape = Field(default=IngestShape(), description="usage records that are sent")
    sources: tuple[SourceShape, ...] = Field(default=(), description="usage records that are read")
    keys: dict[KeyHash, IdentityShape] = Field(
        default={}, description="whose an API key is, by the hash that reports show: 16 hexadecimal digits"
    )
    models: dict[Name, Name] = Field(
        default={}, description="a model as requests name it: its service; the fleet's own names are known"
    )
    settle_after: Period = Field(
        default=SETTLE_AFTER_S,
        description="an hour is settled so long after its end; a guess: records come within minutes",
    )
    accept_late: Late = Field(default=LATEST_S, description="older records are refused; 3d at most")
    max_identities: Whole = Field(
        default=10_000, le=1_000_000, description="told apart at most; more are __other__. A guess"
    )
    cached_token_weight: Tail = Field(
        default=0.0, description="of a cached prompt token's work to a computed one's, beside attention; 0.1 at most"
    )
    rules: tuple[RuleShape, ...] = Field(default=(), description="who bears idle, overhead and shared costs; nobody")
    floors: dict[Name, dict[Team, Amount]] = Field(
        default={}, description="by service: replicas that are reserved for a team, for by_floor"
    )
    shared: tuple[SharedCostShape, ...] = Field(default=(), description="fixed costs that are nobody's alone")
    budgets: tuple[BudgetShape, ...] = Field(default=(), description="what may be spent, and what happens at the limit")
    commitments: tuple[CommitmentShape, ...] = Field(default=(), description="capacity that is paid for anyway")
    contract: dict[Name, tuple[ContractShape, ...]] = Field(
        default={}, description="discounts by provider (aws, gcp …), each from its day on"
    )
    exchange: dict[Annotated[str, Field(pattern=r"^[A-Z]{3}$")], tuple[RateShape, ...]] = Field(
        default={}, description="by currency: USD for one, from each day on"
    )
    prices: PricesShape = Field(default=PricesShape(), description="who is asked for prices, beside the price book")
    unattributed_alert: Share = Field(
        default=0.02, description="alert when more of a service's work is explained by no record"
    )
    anomalies: AnomaliesShape = Field(
        default=AnomaliesShape(), description="cost that the same hours of other weeks do not know"
    )
    to: tuple[str, ...] = Field(default=(), description="channels of alerts about money; left out: all")


class FinanceShape(Shape):
    """What the accounts are called in exports for finance."""

    billing_account_id: Name = Field(default="pennyweight", description="of focus exports")
    billing_account_name: Name = Field(default="Pennyweight", description="of focus exports")
    billing_account_type: Name = Field(default="Fleet", description="of focus exports")
    invoice_issuer: Name = Field(default="Own hardware", description="of capacity that no provider sells")
