"""``--fail-if "cost > $1,200 or attainment < 99%"``: a backtest as a check of a policy change.

    condition   := all ("or" all)*
    all         := one ("and" one)*
    one         := "(" condition ")" | name comparator number | number comparator name

Given several times, any of them fails the gate. ``||`` and ``&&`` are understood too. What is not known cannot be fine:
it fails the gate with its reason, unless the rest of the condition already says that the gate holds (``a and b`` needs
both).
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from controller.backtest.results import QUANTITIES, Standing, latency
from controller.backtest.words import FORMS, change, milliseconds, percent, share, shown, shown_spread, usd
from controller.documents import nearest
from controller.errors import ConfigError, Problem
from controller.facts.missing import Missing, mapped
from controller.quantities import duration_s
from controller.simulate.score import Number

WHERE = "--fail-if"
TIMES = frozenset(name for name, form in FORMS.items() if form in (latency, milliseconds))
MONEY = frozenset(name for name, form in FORMS.items() if form is usd)
SHARES = frozenset(name for name, form in FORMS.items() if form in (share, percent))
RATIOS = SHARES | frozenset(name for name, form in FORMS.items() if form is change)

COMPARATORS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}
MOST_BARE_S = 60.0
"""A larger latency without a unit was meant in milliseconds, and as seconds would never fail. A guess."""
EXAMPLE = 'such as "cost > 1200 or attainment < 99%"'

Values = Mapping[str, Number]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A clause that failed the gate. ``found``: the numbers that did it, or why there are none."""

    clause: str
    found: str

    def __str__(self) -> str:
        return f"{self.clause}: {self.found}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Clause:
    """One comparison."""

    text: str
    name: str
    compares: Callable[[float, float], bool]
    bound: float

    def holds(self, values: Values) -> bool | Missing:
        found = values.get(self.name, Missing(self.name, "this backtest did not measure it"))
        return mapped(found, lambda number: self.compares(number, self.bound))

    def clauses(self) -> tuple[Clause, ...]:
        return (self,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Either:
    """Fails when one part does."""

    parts: tuple[Condition, ...]

    def holds(self, values: Values) -> bool | Missing:
        found = [part.holds(values) for part in self.parts]
        return True if True in found else next((one for one in found if isinstance(one, Missing)), False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Both:
    """Fails when every part does."""

    parts: tuple[Condition, ...]

    def holds(self, values: Values) -> bool | Missing:
        found = [part.holds(values) for part in self.parts]
        return False if False in found else next((one for one in found if isinstance(one, Missing)), True)


Condition = Clause | Either | Both


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """A condition that must not hold."""

    text: str
    condition: Condition

    def check(self, one: Standing) -> tuple[Failed, ...]:
        """The clauses that fail, on the means over the seeds; none = passed."""
        values = {name: mapped(one.value(name), lambda found: found.mean) for name in QUANTITIES}
        return tuple(
            Failed(clause=clause.text, found=_found(clause, one)) for clause in _failing(self.condition, values)
        )


def _failing(condition: Condition, values: Values) -> list[Clause]:
    """The comparisons because of which ``condition`` holds or is unknown."""
    if condition.holds(values) is False:
        return []
    if isinstance(condition, Clause):
        return [condition]
    return list(dict.fromkeys(clause for part in condition.parts for clause in _failing(part, values)))


def _found(clause: Clause, one: Standing) -> str:
    found = one.value(clause.name)
    if isinstance(found, Missing):
        return f"unknown, and so not fine: {found.why}"
    mean, ranged = shown_spread(clause.name, found)
    if mean == shown(clause.name, clause.bound) and found.mean != clause.bound:
        mean = f"{found.mean:.9g}"  # rounded it would look like the bound itself
    return f"{clause.name} is {mean}" + (f" (mean of {len(one.runs)} seeds, {ranged})" if ranged else "")


# --- reading ---------------------------------------------------------------------------------------------------------

_TOKENS = re.compile(
    r"(?P<duration>(?:\d+(?:\.\d+)?(?:ms|[smhdw]))+(?!\w)|\d+(?:\.\d+)?\s+(?:ms|[smhdw])(?!\w))"
    r"|(?P<number>(?P<dollar>\$\s*)?[+-]?(?:\d[\d,]*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?P<percent>\s*%)?)"
    r"|(?P<name>[A-Za-z_]\w*)|(?P<comparator><=|>=|==|!=|<|>)|(?P<bracket>[()])|(?P<sign>&&|\|\|)|(?P<space>\s+)"
    r"|(?P<strange>.)",
    re.DOTALL,
)
_WORDS = {"and": "and", "&&": "and", "or": "or", "||": "or"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Token:
    kind: str
    text: str
    start: int
    end: int


def parse(*texts: str) -> Gate:
    """``texts`` as a gate that any of them fails. Raises ConfigError with every mistake, the text's number as its line,
    and its column."""
    readers = [_Reader(text, number) for number, text in enumerate(texts, start=1)]
    parts = [reader.read() for reader in readers]
    conditions = tuple(part for part in parts if part is not None)
    problems = [problem for reader in readers for problem in reader.problems]
    if problems or len(conditions) < len(parts):
        raise ConfigError(problems)
    condition = conditions[0] if len(conditions) == 1 else Either(parts=conditions)
    return Gate(text=" or ".join(texts), condition=condition)


def _tokens(text: str) -> list[_Token]:
    found = []
    for match in _TOKENS.finditer(text):
        kind, word = str(match.lastgroup), match.group()
        if match["number"] or match["duration"]:
            kind = "number"
        if word.lower() in _WORDS:
            kind, word = "word", _WORDS[word.lower()]
        if kind != "space":
            found.append(_Token(kind=kind, text=word, start=match.start(), end=match.end()))
    return [*found, _Token(kind="end", text="the end", start=len(text), end=len(text))]


class _StopError(Exception):
    """Nothing after this mistake can be understood."""


class _Reader:
    """Recursive descent. Wrong names and units are collected; a wrong shape ends the reading."""

    def __init__(self, text: str, line: int) -> None:
        self.problems: list[Problem] = []
        self._text, self._line = text, line
        self._tokens = _tokens(text)
        self._next = 0

    def read(self) -> Condition | None:
        try:
            found = self._joined("or")
            if self._here.kind != "end":
                raise self._wrong(f"expected 'and', 'or' or the end, found {self._told}")
        except _StopError:
            return None
        except RecursionError:
            self._add(self._tokens[0], "is nested too deeply")
            return None
        return found

    @property
    def _here(self) -> _Token:
        return self._tokens[self._next]

    @property
    def _told(self) -> str:
        here = self._here
        if here.text == "=" and here.kind == "strange":
            return "'='; did you mean '=='?"
        return here.text if here.kind == "end" else f"'{here.text}'"

    def _taken(self) -> _Token:
        token = self._here
        self._next += 1
        return token

    def _joined(self, word: str) -> Condition:
        """Parts between ``word``; "and" binds more closely than "or"."""
        part: Callable[[], Condition] = self._both if word == "or" else self._one
        parts = [part()]
        while self._here.kind == "word" and self._here.text == word:
            self._next += 1
            parts.append(part())
        if len(parts) == 1:
            return parts[0]
        return Either(parts=tuple(parts)) if word == "or" else Both(parts=tuple(parts))

    def _both(self) -> Condition:
        return self._joined("and")

    def _one(self) -> Condition:
        if self._here.text != "(":
            return self._comparison()
        opened = self._taken()
        found = self._joined("or")
        if self._here.text != ")":
            raise self._wrong(f"expected ')' for the '(' in column {opened.start + 1}, found {self._told}")
        self._next += 1
        return found

    def _comparison(self) -> Clause:
        left = self._side("name", "number")
        if self._here.kind != "comparator":
            raise self._wrong(f"expected one of {' '.join(COMPARATORS)} after '{left.text}', found {self._told}")
        sign = self._taken().text
        right = self._side("number" if left.kind == "name" else "name")
        name, number = (left, right) if left.kind == "name" else (right, left)
        return Clause(
            text=self._text[left.start : right.end],
            name=name.text,
            compares=COMPARATORS[sign if name is left else MIRRORED[sign]],
            bound=self._number(name, number),
        )

    def _side(self, *kinds: str) -> _Token:
        if self._here.kind not in kinds:
            wanted = " or ".join("a name" if kind == "name" else "a number" for kind in kinds)
            raise self._wrong(f"expected {wanted}, {EXAMPLE}, found {self._told}")
        token = self._taken()
        if token.kind == "name" and token.text not in QUANTITIES:
            self._add(token, f"unknown name '{token.text}'{nearest(token.text, QUANTITIES)}{_all_names(token.text)}")
        return token

    def _number(self, name: _Token, number: _Token) -> float:
        """The bound in the quantity's own unit; says so when it is in another's."""
        if number.text[-1].isalpha():
            return self._seconds(name, number)
        is_money, is_percent = number.text.startswith("$"), number.text.endswith("%")
        try:
            value = float(number.text.strip("$% ").replace(",", ""))
        except ValueError:
            raise self._wrong(f"'{number.text}' is not a number", number) from None
        if is_percent:
            value /= 100
        if name.text in QUANTITIES:
            self._check_unit(name, number, value, is_money=is_money, is_percent=is_percent)
        return value

    def _seconds(self, name: _Token, number: _Token) -> float:
        if name.text in QUANTITIES and name.text not in TIMES:
            self._add(number, f"'{name.text}' is not a time in seconds: write a number without a unit")
        return duration_s("".join(number.text.split()))

    def _check_unit(self, name: _Token, number: _Token, value: float, *, is_money: bool, is_percent: bool) -> None:
        if is_percent and name.text not in RATIOS:
            self._add(number, f"'{name.text}' is not a share: write a number without %")
        elif is_money and name.text not in MONEY:
            self._add(number, f"'{name.text}' is not money: write a number without $")
        elif not is_percent and name.text in SHARES and value > 1:
            self._add(number, f"'{name.text}' is a share: write {value:g}% or {value / 100:g}")
        elif name.text in TIMES and value > MOST_BARE_S:
            meant = f"write {value:g}ms, or {value:g}s if that is meant"
            self._add(number, f"'{name.text}' is a time in seconds: {meant}")

    def _add(self, token: _Token, message: str) -> None:
        self.problems.append(Problem(WHERE, self._line, token.start + 1, "", message))

    def _wrong(self, message: str, token: _Token | None = None) -> _StopError:
        self._add(token or self._here, message)
        return _StopError()


def _all_names(wrong: str) -> str:
    """The choices, where nothing is near."""
    return "" if nearest(wrong, QUANTITIES) else f"; expected one of {', '.join(QUANTITIES)}"
