"""YAML files whose every mistake is told with its file, line, column and the nearest valid choice."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from controller.errors import ConfigError, Problem
from controller.file_kinds import FileKind, misplaced

Place = tuple[str | int, ...]
"""The way to a value: keys and list indices from the top."""

ModelType = TypeVar("ModelType", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML file: plain data, and where every key and value of it stands.

    positions   line and column, from 1, of each key, or of the item where there is no key
    texts       the same of the first character of each scalar, inside its quotes
    problems    what could not be read, such as a key that stands twice; the rest of the data is there all the same
    unread      where ``data`` has nothing for that reason
    """

    file: str
    data: dict[str, Any]
    positions: Mapping[Place, tuple[int, int]]
    texts: Mapping[Place, tuple[int, int]] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    unread: frozenset[Place] = frozenset()

    def position(self, place: Place) -> tuple[int, int]:
        """Line and column, from 1, of what stands at ``place``, or of the nearest thing around it."""
        while place not in self.positions and place:
            place = place[:-1]
        return self.positions.get(place, (1, 1))

    def problem(self, place: Place, message: str) -> Problem:
        """A mistake at ``place``."""
        line, column = self.position(place)
        return Problem(self.file, line, column, dotted(place), message)

    def problem_inside(self, place: Place, line: int, column: int, message: str) -> Problem:
        """A mistake at a line and column, from 1, of the text that stands at ``place``."""
        first_line, first_column = self.texts.get(place, self.position(place))
        found = (first_line + line - 1, column if line > 1 else first_column + column - 1)
        return Problem(self.file, *found, dotted(place), message)


def dotted(place: Iterable[str | int]) -> str:
    """``place`` as people write it: services.chat.variants[0]."""
    text = ""
    for part in place:
        plain = isinstance(part, str) and part
        text += f"[{part!r}]" if not plain else f".{part}" if text else str(part)
    return text


def nearest(wrong: str, choices: Iterable[str]) -> str:
    """ "; did you mean 'x'?", or the choices when nothing is near and they are few."""
    known = sorted(set(choices))
    close = near(wrong, known)
    if close:
        return close
    return f"; expected one of {', '.join(known)}" if 0 < len(known) <= 12 else ""


def near(wrong: str, choices: Iterable[str]) -> str:
    """ "; did you mean 'x'?", or nothing."""
    close = difflib.get_close_matches(wrong, sorted(set(choices)), n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else ""


def otherwise(told: str, other: str) -> str:
    """``told``; or ``other``. After a question that is a sentence of its own."""
    return f"{told} Or {other}" if told.endswith("?") else f"{told}; or {other}"


def sentence(text: str) -> str:
    """``text`` with a full stop, unless it ends already."""
    return text if text.endswith((".", "?", "!")) else f"{text}."


def load_yaml(path: Path, shown_as: str | None = None, *, wanted: FileKind | None = None) -> Document:
    """Read one file. Raises ConfigError when nothing of it can be read, or when it plainly is not what is ``wanted``;
    lesser mistakes are the document's problems."""
    file = shown_as or str(path)
    try:
        data = path.read_bytes()
        instead = misplaced(data, wanted) if wanted else ""
        if instead:
            raise ConfigError([Problem(file, 0, 0, "", instead)])
        text = data.decode("utf-8")
    except OSError as error:
        raise ConfigError([Problem(file, 0, 0, "", f"cannot be read: {error.strerror}")]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([Problem(file, 0, 0, "", f"is not UTF-8 text: {error.reason}")]) from error
    return parse_yaml(text, file)


def parse_yaml(text: str, file: str) -> Document:
    """The same for a text."""
    try:
        node = yaml.compose(text, Loader=yaml.CSafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        raise ConfigError([Problem(file, line, column, "", f"is not YAML: {error.problem}")]) from error
    except yaml.reader.ReaderError as error:
        line, column = _after(text.encode()[: error.position].decode(errors="ignore"))
        message = f"is not YAML: the control character #x{error.character:04x} is not allowed"
        raise ConfigError([Problem(file, line, column, "", message)]) from error
    if node is None:
        raise ConfigError([Problem(file, 1, 1, "", "is empty; expected keys and values")])
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError([Problem(file, *_at(node), "", "expected keys and values at the top")])
    reader = _Reader(file)
    try:
        data = reader.value(node, ())
    except RecursionError as error:
        raise ConfigError([Problem(file, 0, 0, "", "is nested too deeply")]) from error
    return Document(
        file, data, reader.positions, reader.texts, problems=tuple(reader.problems), unread=frozenset(reader.unread)
    )


class _Reader:
    """Turns nodes into plain data, remembering where each stood."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.positions: dict[Place, tuple[int, int]] = {}
        self.texts: dict[Place, tuple[int, int]] = {}
        self._open: set[int] = set()
        self.problems: list[Problem] = []
        self.unread: set[Place] = set()
        self._scalars = yaml.SafeLoader("")

    def value(self, node: yaml.Node, place: Place) -> Any:
        self.positions.setdefault(place, _at(node))
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, place)
        if id(node) in self._open:
            self.problems.append(Problem(self.file, *self.positions[place], dotted(place), "contains itself"))
            self.unread.add(place)
            return None
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, place)
            return [self.value(item, (*place, index)) for index, item in enumerate(node.value)]
        finally:
            self._open.discard(id(node))

    def _scalar(self, node: yaml.ScalarNode, place: Place) -> Any:
        line, column = _at(node)
        if node.style in ("|", ">"):
            # The text is indented under its key; two spaces is a guess, for the parser does not say.
            self.texts[place] = (line + 1, self.positions[place][1] + 2)
        else:
            self.texts[place] = (line, column + (node.style in ("'", '"')))
        try:
            return self._scalars.construct_object(node)
        except (yaml.YAMLError, ValueError) as error:
            self.problems.append(Problem(self.file, *_at(node), dotted(place), f"cannot be understood: {error}"))
            self.unread.add(place)
            return None

    def _mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self.problems.append(Problem(self.file, *_at(key_node), dotted(place), "a key must be plain text"))
                continue
            key = str(key_node.value)
            here = (*place, key)
            if key in found:
                first = self.positions[here][0]
                message = f"the key stands twice, first in line {first}"
                self.problems.append(Problem(self.file, *_at(key_node), dotted(here), message))
                continue
            self.positions[here] = _at(key_node)
            found[key] = self.value(value_node, here)
        return found


def _at(node: yaml.Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _after(text: str) -> tuple[int, int]:
    """Line and column, from 1, of what comes after ``text``."""
    return text.count("\n") + 1, len(text) - text.rfind("\n")


# --- shapes ----------------------------------------------------------------------------------------------------------


class TextError(ValueError):
    """A text is wrong at this line and column of it, counted from 1."""

    def __init__(self, message: str, line: int, column: int) -> None:
        super().__init__(message)
        self.line, self.column = line, column


class ContradictionError(ValueError):
    """Two values that both stand there do not go together: told even when something else beside them is wrong."""


KINDS = {
    "string_type": "text",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a number",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "keys and values",
    "model_type": "keys and values",
}
"""What was expected where something of another kind stands, by pydantic's error type."""


def validate(model: type[ModelType], document: Document) -> tuple[ModelType | None, list[Problem]]:
    """The document as ``model``, or every mistake in it."""
    made, wrong = _tried(model, document.data)
    problems = [*document.problems, *_told(model, document, wrong), *_contradictions(model, document, wrong)]
    return (None if problems else made), list(dict.fromkeys(problems))


def _tried(model: type[ModelType], data: dict[str, Any]) -> tuple[ModelType | None, list[ErrorDetails]]:
    try:
        return model.model_validate(data), []
    except ValidationError as error:
        return None, error.errors(include_url=False)


def _told(model: type[BaseModel], document: Document, wrong: Sequence[ErrorDetails]) -> list[Problem]:
    """What pydantic found, as people say it; nothing of what could not even be read."""
    placed = [(_way(document.data, one["loc"]), one) for one in wrong]
    told = [(place, one) for place, one in placed if place not in document.unread]
    problems = [document.problem(place, message) for place, message in _wrong_kinds(told).items()]
    return problems + [
        _shape_problem(model, document, place, one)
        for place, one in told
        if one["type"] not in KINDS and not _only_shorter_by_mistakes(one)
    ]


def _contradictions(model: type[BaseModel], document: Document, wrong: Sequence[ErrorDetails]) -> list[Problem]:
    """A block with a mistake in it is not looked at as a whole: so the mistakes are cut out until nothing else is
    wrong, and of what comes up then only contradictions count. Anything else may be missing because it was cut."""
    data, problems = document.data, []
    while cut := {way for one in wrong if (way := _keyed(_way(data, one["loc"])))}:
        data = _without(data, cut, ())
        _, wrong = _tried(model, data)
        problems += [
            document.problem(_way(document.data, one["loc"]), str(one["ctx"]["error"]))
            for one in wrong
            if isinstance(one.get("ctx", {}).get("error"), ContradictionError)
        ]
    return problems


def _keyed(place: Place) -> Place:
    """``place`` up to its last key: a list keeps its items, or their numbers would change."""
    while place and isinstance(place[-1], int):
        place = place[:-1]
    return place


def _without(value: Any, cut: Collection[Place], here: Place) -> Any:
    """``value``, which stands at ``here``, without what stands at the places ``cut``."""
    if isinstance(value, Mapping):
        return {key: _without(one, cut, (*here, key)) for key, one in value.items() if (*here, key) not in cut}
    if isinstance(value, list):
        return [_without(one, cut, (*here, index)) for index, one in enumerate(value)]
    return value


def _wrong_kinds(told: Sequence[tuple[Place, ErrorDetails]]) -> dict[Place, str]:
    """What should stand where something of another kind does.

    A value that may be of several kinds is told once. Where one kind fits, only that kind's own mistakes count.
    """
    fits = [place for place, one in told if one["type"] not in KINDS]
    wrong: dict[Place, list[str]] = {}
    found: dict[Place, object] = {}
    for place, one in told:
        if one["type"] in KINDS:
            wrong.setdefault(place, []).append(KINDS[one["type"]])
            found[place] = one["input"]
    deeper = [*fits, *wrong]
    return {
        place: f"expected {' or '.join(dict.fromkeys(words))}, found {_shown(found[place])}"
        for place, words in wrong.items()
        if place not in fits and not any(other[: len(place)] == place for other in deeper if len(other) > len(place))
    }


def _shown(value: object) -> str:
    """A value as the file's reader knows it."""
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return "keys and values"
    return "a list" if isinstance(value, list) else repr(value)


def _only_shorter_by_mistakes(error: ErrorDetails) -> bool:
    """A list counts as too short when its items are wrong: they are told already."""
    return error["type"] == "too_short" and len(error["input"]) >= error["ctx"]["min_length"]


def _shape_problem(model: type[BaseModel], document: Document, place: Place, error: ErrorDetails) -> Problem:
    kind, context = error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        wrong = str(place[-1])
        return document.problem(place, f"unknown key '{wrong}'{nearest(wrong, _siblings(model, place[:-1]))}")
    if kind == "missing":
        return document.problem(place, f"the key '{error['loc'][-1]}' is missing")
    if kind in ("literal_error", "enum"):
        choices = re.findall(r"'([^']*)'", str(context.get("expected", "")))
        found = str(error["input"])
        return document.problem(place, f"'{found}' is not one of {', '.join(choices)}{near(found, choices)}")
    if kind == "string_too_short":
        return document.problem(place, "must not be empty")
    if kind == "too_short":
        return document.problem(place, f"expected at least {context['min_length']}, found {len(error['input'])}")
    if kind == "value_error":
        cause = context["error"]
        if isinstance(cause, TextError):
            return document.problem_inside(place, cause.line, cause.column, str(cause))
        return document.problem(place, str(cause))
    return document.problem(place, f"{error['msg'][0].lower()}{error['msg'][1:]}, found {_shown(error['input'])}")


def _way(data: Any, loc: Sequence[str | int]) -> Place:
    """pydantic's way to a mistake without the steps that name a union's member rather than a key."""
    place: Place = ()
    for step in loc:
        if isinstance(data, Mapping) and step in data:
            place, data = (*place, step), data[str(step)]
        elif isinstance(data, list) and isinstance(step, int) and step < len(data):
            place, data = (*place, step), data[step]
    return place


def _siblings(model: type[BaseModel], place: Place) -> set[str]:
    """The keys that ``model`` knows at ``place``."""
    schema = model.model_json_schema()
    definitions = schema.get("$defs", {})
    level = [schema]
    for step in place:
        level = [after for one in level for after in _below(_opened(one, definitions), step)]
    return {key for one in level for choice in _opened(one, definitions) for key in choice.get("properties", {})}


def _opened(schema: dict[str, Any], definitions: Mapping[str, Any]) -> list[dict[str, Any]]:
    """``schema`` with references and alternatives opened."""
    if "$ref" in schema:
        return _opened(definitions[schema["$ref"].rsplit("/", 1)[1]], definitions)
    choices = [*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())]
    return [opened for choice in choices for opened in _opened(choice, definitions)] or [schema]


def _below(choices: Sequence[dict[str, Any]], step: str | int) -> list[dict[str, Any]]:
    found = []
    for choice in choices:
        if isinstance(step, int):
            found.append(choice.get("items"))
        else:
            more = choice.get("additionalProperties")
            found.append(choice.get("properties", {}).get(step) or (more if isinstance(more, dict) else None))
    return [one for one in found if one]
