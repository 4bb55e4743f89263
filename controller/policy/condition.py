"""Alert conditions: a checked part of CEL over the quantities of an estimate.

Understood: numbers, the quantities' names, comparisons, + - *, &&, ||, !, ?: and parentheses. Every number is a
double, so ``queue_depth > 50`` needs no ``50.0``. Whether the whole is a condition is known when it is compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

import celpy
from celpy.celparser import CELParseError
from celpy.celtypes import DoubleType
from celpy.evaluation import CELEvalError
from lark import Token, Tree

from controller.documents import TextError, nearest
from controller.facts.estimates import Estimate
from controller.facts.missing import Missing

VARIABLES = frozenset(field.name for field in fields(Estimate) if field.type in ("Number", "int", "float"))
"""The quantities a condition may name."""

UNDERSTOOD = "conditions know numbers, quantities, comparisons, + - *, &&, ||, ! and ?:"

Kind = Literal["number", "condition"]


class ConditionError(TextError):
    """A condition is wrong."""


@dataclass(frozen=True, slots=True)
class CelCondition:
    """A compiled condition and the quantities it names."""

    text: str
    names: tuple[str, ...]
    program: celpy.Runner

    def evaluate(self, values: Mapping[str, float | Missing]) -> bool | Missing:
        """Whether it holds, or which value it would need. ``a || b`` holds when one side does."""
        found = {name: values.get(name, Missing(name, "it is not measured")) for name in self.names}
        lost = [value for value in found.values() if isinstance(value, Missing)]
        known = {name: DoubleType(value) for name, value in found.items() if not isinstance(value, Missing)}
        try:
            return bool(self.program.evaluate(known))
        except CELEvalError as error:
            if not lost:
                return Missing("condition", f"'{self.text}' cannot be worked out: {error.args[0]}")
        return lost[0] if len(lost) == 1 else Missing(", ".join(one.what for one in lost), _reasons(lost))


def _reasons(lost: list[Missing]) -> str:
    return "; ".join(dict.fromkeys(one.why for one in lost))


def compiled(text: str) -> CelCondition:
    """``text`` as a condition. Raises ConditionError."""
    try:
        return _compiled(text)
    except RecursionError as error:
        raise ConditionError("is nested too deeply", 1, 1) from error


def _compiled(text: str) -> CelCondition:
    environment = celpy.Environment(runner_class=celpy.InterpretedRunner)
    try:
        tree = environment.compile(text)
    except CELParseError as error:
        raise ConditionError("is not a CEL expression here", error.line or 1, error.column or 1) from error
    reader = _Reader()
    reader.expect("condition", tree)
    return CelCondition(text, tuple(dict.fromkeys(reader.names)), environment.program(tree))


class _Reader:
    """Walks a syntax tree: what kind each part is, which names it uses; makes its whole numbers doubles."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._kinds: Mapping[str, Callable[[Tree[Token]], Kind]] = {
            "expr": self._choice,
            "conditionalor": self._logic,
            "conditionaland": self._logic,
            "relation": self._comparison,
            "addition": self._arithmetic,
            "multiplication": self._arithmetic,
            "unary": self._sign,
            "literal": self._literal,
            "ident": self._name,
        }

    def kind(self, tree: Tree[Token]) -> Kind:
        only = tree.children[0] if len(tree.children) == 1 else None
        if isinstance(only, Tree) and tree.data in _WRAPPERS:
            return self.kind(only)
        read = self._kinds.get(tree.data)
        if read is None:
            raise _wrong(tree, f"is not understood; {UNDERSTOOD}")
        return read(tree)

    def expect(self, wanted: Kind, tree: Any) -> Kind:
        found = self.kind(tree)
        if found != wanted:
            raise _wrong(tree, f"is a {found}; expected a {wanted}")
        return found

    def _choice(self, tree: Tree[Token]) -> Kind:
        question, yes, no = tree.children
        self.expect("condition", question)
        return self.expect(self.kind(_tree(yes)), no)

    def _logic(self, tree: Tree[Token]) -> Kind:
        for side in tree.children:
            self.expect("condition", side)
        return "condition"

    def _comparison(self, tree: Tree[Token]) -> Kind:
        operator, right = _tree(tree.children[0]), tree.children[1]
        left = operator.children[0]
        if operator.data == "relation_in":
            raise _wrong(tree, f"`in` is not understood; {UNDERSTOOD}")
        same = operator.data in ("relation_eq", "relation_ne")
        self.expect(self.kind(_tree(left)) if same else self.expect("number", left), right)
        return "condition"

    def _arithmetic(self, tree: Tree[Token]) -> Kind:
        operator = _tree(tree.children[0])
        if operator.data in ("multiplication_div", "multiplication_mod"):
            # The evaluator makes 0 / 0 infinite, which would fire; a multiplication on the other side says the same.
            raise _wrong(tree, "divides; multiply the other side of the comparison instead")
        self.expect("number", operator.children[0])
        return self.expect("number", tree.children[1])

    def _sign(self, tree: Tree[Token]) -> Kind:
        operator = _tree(tree.children[0])
        return self.expect("condition" if operator.data == "unary_not" else "number", tree.children[1])

    def _literal(self, tree: Tree[Token]) -> Kind:
        token = tree.children[0]
        assert isinstance(token, Token)
        if token.type == "BOOL_LIT":
            return "condition"
        if token.type not in ("INT_LIT", "UINT_LIT", "FLOAT_LIT"):
            raise _wrong(tree, f"{token} is not a number; {UNDERSTOOD}")
        if token.type != "FLOAT_LIT":
            tree.children[0] = Token.new_borrow_pos("FLOAT_LIT", repr(float(int(token.rstrip("uU"), 0))), token)
        return "number"

    def _name(self, tree: Tree[Token]) -> Kind:
        name = str(tree.children[0])
        if name not in VARIABLES:
            raise _wrong(tree, f"unknown quantity '{name}'{nearest(name, VARIABLES)}")
        self.names.append(name)
        return "number"


_WRAPPERS = frozenset(
    {"expr", "conditionalor", "conditionaland", "relation", "addition", "multiplication", "unary", "member", "primary"}
    | {"paren_expr"}
)


def _tree(node: Any) -> Tree[Token]:
    """The grammar puts a tree here; tokens stand only in literals and names."""
    assert isinstance(node, Tree)
    return node


def _wrong(tree: Tree[Token], message: str) -> ConditionError:
    first = next(iter(sorted(tree.scan_values(lambda value: isinstance(value, Token)), key=_at)), None)
    return ConditionError(message, *(_at(first) if first is not None else (1, 1)))


def _at(token: Token) -> tuple[int, int]:
    return token.line or 1, token.column or 1
