"""OpenCost's ``/inferenceCost``: what models cost by the token, from measured work."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from controller.attribute.savings import Worked, prefix_cache
from controller.attribute.unit_costs import OF_TOKENS, Basis, TokenKind, by_kind, on_basis
from controller.facts.account_reader import NO_PARTS, Dimension, Effects, Window, added_parts, added_tokens, part_sum
from controller.facts.accounts import IDLE, Part, Tokens
from controller.facts.missing import Missing
from controller.facts.money import NANOUSD_PER_USD
from controller.serve.accounts import Accounts, Row
from controller.serve.opencost import (
    EVERYWHERE,
    PROPERTIES,
    UNALLOCATED,
    answered,
    number,
    rows_of,
    value_of,
)
from controller.serve.opencost_told import REFUSALS, SpanTold
from controller.serve.spans import step_of, window_of

METHOD = "measured_work"
MILLION = 1_000_000

NAMES = {"modelName": "model", "modelVersion": "label:quantization", "namespace": "namespace", "cluster": "cluster"}
"""OpenCost's properties of a model, and ours. A version is what it is quantized to."""

STEPS = {"hour": "1h", "day": "1d", "week": "7d", "": "1d"}


class _Told(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, protected_namespaces=())


class InferenceProperties(_Told):
    """ "" where the row holds several."""

    model_name: str
    model_version: str
    namespace: str
    cluster: str


class InferenceCost(_Told):
    """USD and tokens; null where nothing tells. Input and output cost add up to the total where both are known.

    ``cacheSavingsFraction``: of what the input would have cost without the prefix cache, what that saved."""

    properties: InferenceProperties
    window: SpanTold
    cost_basis: Basis
    total_cost: float
    prompt_tokens: int
    generation_tokens: int
    total_tokens: int
    cost_per_million_tokens: float | None
    input_cost: float | None
    output_cost: float | None
    input_cost_per_million_tokens: float | None
    output_cost_per_million_tokens: float | None
    cache_savings_fraction: float | None
    allocation_method: str = METHOD


class InferenceSet(_Told):
    inference_costs: dict[str, InferenceCost]
    window: SpanTold


class InferenceSets(_Told):
    inference_cost_sets: list[InferenceSet]


class TotalAnswer(BaseModel):
    data: InferenceSet


class TimeseriesAnswer(BaseModel):
    data: InferenceSets


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    window: Window
    basis: Basis
    names: tuple[str, ...]
    only: Mapping[str, str]
    with_idle: bool


class _Question:
    """What both endpoints are asked, as it stands in the URL. FastAPI makes one from the query."""

    def __init__(
        self,
        window: Annotated[str, Query(description="As of /allocation.")] = "",
        costBasis: Annotated[  # noqa: N803 - OpenCost's name
            str, Query(description="allocation: idle and overhead included; usage: the work alone.")
        ] = "allocation",
        aggregate: Annotated[
            str, Query(description=f"Joined by commas: {', '.join((*NAMES, *PROPERTIES))}. Without it, the first four.")
        ] = "",
        filter: Annotated[  # noqa: A002 - OpenCost's name
            str, Query(description='Joined by +: modelName:"llama",namespace:"chat"')
        ] = "",
        idle: Annotated[str, Query(description="false leaves idle out of the allocation basis.")] = "true",
    ) -> None:
        self._window, self._basis, self._aggregate, self._filter, self._idle = (
            window,
            costBasis,
            aggregate,
            filter,
            idle,
        )

    def asked(self, now: datetime) -> _Asked:
        """Raises ValueError, which says what was expected."""
        if self._basis not in set(Basis):
            raise ValueError(f"costBasis is '{self._basis[:80]}'; expected allocation or usage")
        if self._idle not in ("true", "false", ""):
            raise ValueError(f"idle is '{self._idle[:80]}'; expected true or false")
        return _Asked(
            window=window_of(self._window, now),
            basis=Basis(self._basis),
            names=tuple(dict.fromkeys(_property(name) for name in _words(self._aggregate))) or tuple(NAMES.values()),
            only=_conditions(self._filter),
            with_idle=self._idle != "false",
        )


QuestionAsked = Annotated[_Question, Depends()]


def inference_router(accounts: Accounts) -> APIRouter:
    """Two endpoints that only read."""
    router = APIRouter(prefix="/inferenceCost", responses=REFUSALS)

    @router.get("/total", summary="What models cost, and their tokens", response_model=TotalAnswer)
    def total(
        question: QuestionAsked,
        accumulate: Annotated[str, Query(description="Taken and not needed: it is one set.")] = "",
    ) -> Any:
        def answer() -> TotalAnswer:
            return TotalAnswer(data=_sets(accounts, question.asked(accounts.clock()), None)[0])

        return answered(answer)

    @router.get("/timeseries", summary="The same by hour, day or week", response_model=TimeseriesAnswer)
    def timeseries(
        question: QuestionAsked,
        accumulate: Annotated[str, Query(description="hour, day (without it) or week")] = "",
    ) -> Any:
        def answer() -> TimeseriesAnswer:
            asked = question.asked(accounts.clock())
            if accumulate not in STEPS:
                raise ValueError(f"accumulate is '{accumulate[:80]}'; expected hour, day or week")
            step = step_of(STEPS[accumulate], asked.window)
            return TimeseriesAnswer(data=InferenceSets(inference_cost_sets=_sets(accounts, asked, step)))

        return answered(answer)

    return router


def _words(text: str) -> Iterable[str]:
    return (word.strip() for word in text.split(",") if word.strip())


def _property(name: str) -> str:
    found = NAMES.get(name, name)
    if found not in PROPERTIES and found not in EVERYWHERE and not found.startswith("label:"):
        raise ValueError(f"there is no property '{name[:80]}'; there are {', '.join((*NAMES, *PROPERTIES, 'label:x'))}")
    return found


_CONDITION = re.compile(r'\s*([\w:]+?)\s*:\s*(?:"([^"]*)"|([^"+,:\s]++))\s*(?![:"])')


def _conditions(text: str) -> dict[str, str]:
    """``name:"value"``, joined by + (which a URL may turn into a space) or a comma."""
    found: dict[str, str] = {}
    place = 0
    while place < len(text):
        one = _CONDITION.match(text, place)
        if one is None or one.end() == place:
            raise ValueError(f"filter is '{text[:80]}'; expected name:\"value\", joined by +")
        found[_property(one[1])] = one[2] if one[2] is not None else one[3]
        place = one.end()
        if place < len(text) and text[place] in "+,":
            place += 1
    return found


@dataclass(slots=True)
class _Group:
    """Rows of one key. ``by_variant``: the same, by (service, variant), to work out what the cache saved."""

    parts: tuple[int, ...] = NO_PARTS
    tokens: Tokens = field(default_factory=Tokens)
    told: dict[str, set[str]] = field(default_factory=lambda: {name: set() for name in NAMES})
    by_variant: dict[tuple[str, str], tuple[tuple[int, ...], Tokens]] = field(default_factory=dict)

    def add(self, row: Row, cluster: str) -> None:
        self.parts = added_parts(self.parts, row.parts)
        self.tokens = added_tokens(self.tokens, row.tokens)
        for name, ours in NAMES.items():
            self.told[name].add(value_of(row, ours, cluster))
        variant = (row.values.get(Dimension.SERVICE, ""), row.values.get(Dimension.VARIANT, ""))
        parts, tokens = self.by_variant.get(variant, (NO_PARTS, Tokens()))
        self.by_variant[variant] = (added_parts(parts, row.parts), added_tokens(tokens, row.tokens))


def _sets(accounts: Accounts, asked: _Asked, step: timedelta | None) -> list[InferenceSet]:
    needed = (*asked.names, *asked.only)
    found = []
    for window, rows in rows_of(accounts, needed, asked.window, step):
        groups: dict[str, _Group] = {}
        for row in rows:
            if all(value_of(row, name, accounts.cluster) == value for name, value in asked.only.items()):
                key = "/".join(value_of(row, name, accounts.cluster) or UNALLOCATED for name in asked.names)
                groups.setdefault(key, _Group()).add(row, accounts.cluster)
        effects = accounts.reader.effects(window)
        span = SpanTold(start=window.start, end=window.end)
        costs = {key: _cost(group, asked, span, effects) for key, group in sorted(groups.items())}
        found.append(InferenceSet(inference_costs=costs, window=span))
    return found


def _cost(group: _Group, asked: _Asked, span: SpanTold, effects: Effects) -> InferenceCost:
    amounts = by_kind(group.parts)
    whole = on_basis(amounts, asked.basis)
    if asked.basis is Basis.ALLOCATION and not asked.with_idle:
        whole -= part_sum(group.parts, IDLE)
    measured = sum(amounts[kind] for kind in OF_TOKENS)
    output = Fraction(amounts[TokenKind.OUTPUT] * whole, measured) if measured > 0 else None
    prompt, generated = group.tokens.uncached + group.tokens.cached, group.tokens.output
    given = None if output is None else whole - output
    return InferenceCost(
        properties=_properties(group.told),
        window=span,
        cost_basis=asked.basis,
        total_cost=whole / NANOUSD_PER_USD,
        prompt_tokens=prompt,
        generation_tokens=generated,
        total_tokens=prompt + generated,
        cost_per_million_tokens=_per_million(Fraction(whole), prompt + generated),
        input_cost=None if given is None else float(given / NANOUSD_PER_USD),
        output_cost=None if output is None else float(output / NANOUSD_PER_USD),
        input_cost_per_million_tokens=_per_million(given, prompt),
        output_cost_per_million_tokens=_per_million(output, generated),
        cache_savings_fraction=_cache_savings(group, effects),
    )


def _properties(told: Mapping[str, set[str]]) -> InferenceProperties:
    def one(name: str) -> str:
        values = told[name]
        return next(iter(values)) if len(values) == 1 else ""

    return InferenceProperties(
        model_name=one("modelName"),
        model_version=one("modelVersion"),
        namespace=one("namespace"),
        cluster=one("cluster"),
    )


def _per_million(nanousd: Fraction | None, tokens: int) -> float | None:
    if nanousd is None or tokens <= 0:
        return None
    return number(float(nanousd * MILLION / (tokens * NANOUSD_PER_USD)))


def _cache_savings(group: _Group, effects: Effects) -> float | None:
    """Unknown when the rates of any variant that found tokens in its cache are."""
    saved, paid = 0, 0
    for variant, (parts, tokens) in group.by_variant.items():
        paid += part_sum(parts, (Part.PREFILL, Part.CACHED))
        if tokens.cached:
            rate = effects.rates.get(variant)
            found = None if rate is None else prefix_cache(_worked(parts, tokens), rate)
            if found is None or isinstance(found, Missing):
                return None
            saved += found.nanousd
    return number(saved / (saved + paid)) if saved + paid > 0 else None


def _worked(parts: Sequence[int], tokens: Tokens) -> Worked:
    def of(part: Part) -> int:
        return part_sum(parts, (part,))

    return Worked(
        tokens=tokens,
        prefill_nanousd=of(Part.PREFILL),
        cached_nanousd=of(Part.CACHED),
        decode_nanousd=of(Part.DECODE),
    )
