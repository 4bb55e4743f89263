"""Label selectors: as objects hold them, as a query writes them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Operator(StrEnum):
    """Kubernetes' own."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    ABSENT = "DoesNotExist"


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """One term."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """As the API server does it: NotIn also matches where the label is absent."""
        has, one_of = self.key in labels, labels.get(self.key) in self.values
        return {
            Operator.IN: one_of,
            Operator.NOT_IN: not one_of,
            Operator.EXISTS: has,
            Operator.ABSENT: not has,
        }[self.operator]

    def __str__(self) -> str:
        values = f"({','.join(self.values)})"
        if self.operator is Operator.IN and len(self.values) == 1:
            return f"{self.key}={self.values[0]}"
        return {
            Operator.IN: f"{self.key} in {values}",
            Operator.NOT_IN: f"{self.key} notin {values}",
            Operator.EXISTS: self.key,
            Operator.ABSENT: f"!{self.key}",
        }[self.operator]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """All of its terms must hold; without any it matches everything. Its text is what a query takes."""

    terms: tuple[Requirement, ...] = ()
    nothing: bool = False

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether an object with these labels is meant."""
        return not self.nothing and all(term.matches(labels) for term in self.terms)

    def __str__(self) -> str:
        return ",".join(map(str, self.terms))


def selector_of(block: Mapping[str, Any] | None) -> Selector:
    """``{matchLabels, matchExpressions}`` of an object. None matches nothing, an empty one everything."""
    if block is None:
        return Selector(nothing=True)
    labels, expressions = block.get("matchLabels") or {}, block.get("matchExpressions") or ()
    exact = [Requirement(key=key, operator=Operator.IN, values=(value,)) for key, value in sorted(labels.items())]
    others = [
        Requirement(key=one["key"], operator=Operator(one["operator"]), values=tuple(one.get("values") or ()))
        for one in expressions
    ]
    return Selector(terms=(*exact, *others))


_KEY = r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?/)?[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
_VALUE = r"(?:[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?"
_TERM = re.compile(
    rf"\s*(?:(?P<key>{_KEY})\s*(?P<sign>==|=|!=)\s*(?P<value>{_VALUE})"
    rf"|(?P<set>{_KEY})\s+(?P<word>in|notin)\s*\((?P<values>[^()]*)\)"
    rf"|(?P<bang>!?)\s*(?P<only>{_KEY}))\s*"
)
_COMMA = re.compile(r",(?![^()]*\))")
_ONE_VALUE = re.compile(_VALUE)


def parse_selector(text: str) -> Selector:
    """``app=vllm,tier in (a,b),!canary`` as the API server reads it. ValueError says which term is wrong."""
    if not text.strip():
        return Selector()
    return Selector(terms=tuple(map(_term, _COMMA.split(text))))


def _term(text: str) -> Requirement:
    found = _TERM.fullmatch(text)
    if found is None:
        raise ValueError(
            f"'{text.strip()}' is no selector term; expected name=value, name!=value, name in (a,b) or !name"
        )
    if found["key"]:
        unequal = found["sign"] == "!="
        operator = Operator.NOT_IN if unequal else Operator.IN
        return Requirement(key=found["key"], operator=operator, values=(found["value"],))
    if found["set"]:
        operator = Operator.IN if found["word"] == "in" else Operator.NOT_IN
        values = tuple(sorted(value.strip() for value in found["values"].split(",")))
        if wrong := next((value for value in values if not _ONE_VALUE.fullmatch(value)), None):
            raise ValueError(f"'{wrong}' is no label value")
        return Requirement(key=found["set"], operator=operator, values=values)
    return Requirement(key=found["only"], operator=Operator.ABSENT if found["bang"] else Operator.EXISTS)
