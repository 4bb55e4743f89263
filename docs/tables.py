"""Writes the tables of the docs from the code: `python docs/tables.py`. A test fails while they differ."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, BeforeValidator
from pydantic.fields import FieldInfo

from controller.facts.readings import Counter, Distribution, Gauge
from controller.observe.engines import ADAPTERS
from controller.quantities import duration_s, duration_text
from controller.serve.account_metrics import ACCOUNT_METRICS
from controller.serve.names import ESTIMATES, OTHERS
from controller.serve.wanted import EXTERNAL_METRICS
from controller.settings.shapes import FleetShape

HERE = Path(__file__).parent
PAGES = (HERE / "metrics.md", HERE / "fleet.md")


def exported() -> Iterator[str]:
    """What the daemon exports."""
    yield "| metric | meaning |"
    yield "|---|---|"
    for metric in ESTIMATES:
        yield f"| `{metric.name}` | {metric.help} By service and variant. |"
    for name, text in (*OTHERS.items(), *EXTERNAL_METRICS.items(), *ACCOUNT_METRICS.items()):
        yield f"| `{name}` | {text} |"


def read() -> Iterator[str]:
    """What is read of each engine: every candidate name, in order of preference."""
    for kind, adapter in ADAPTERS.items():
        yield f"### {kind.value}"
        yield ""
        yield "| signal | names, first found wins | over ranks |"
        yield "|---|---|---|"
        sources = {source.signal: source for source in adapter.sources}
        for signal in (*Gauge, *Counter, *Distribution):
            source = sources.get(signal)
            if source is None:
                yield f"| {signal.value} | not exported | |"
                continue
            names = "<br>".join(f"`{str(name).replace('|', chr(92) + '|')}`" for name in source.names)
            yield f"| {signal.value} | {names or source.absent} | {source.combine.value} |"
        yield ""


def fleet_keys() -> Iterator[str]:
    """Every key of fleet.yaml."""
    yield "| key | default | means |"
    yield "|---|---|---|"
    for place, default, means in keys(FleetShape, ""):
        yield f"| `{place}` | {default} | {means} |"


def keys(shape: type[BaseModel], above: str) -> Iterator[tuple[str, str, str]]:
    """(key, default, meaning) of a shape and all that it holds."""
    for name, field in shape.model_fields.items():
        place = f"{above}{field.alias or name}"
        yield place, _default(field), field.description or ""
        for inner, step in _inside(field.annotation):
            yield from keys(inner, f"{place}{step}.")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.default
    if value is None or isinstance(value, BaseModel) or value in ((), {}, ""):
        return ""
    if isinstance(value, float):
        return f"`{duration_text(value) if _is_duration(field) else f'{value:g}'}`"
    if isinstance(value, tuple):
        return f"`{'-'.join(map(str, value)) if isinstance(value[0], int) else ', '.join(map(str, value))}`"
    return f"`{value}`"


def _is_duration(field: FieldInfo) -> bool:
    return any(isinstance(one, BeforeValidator) and one.func is duration_s for one in field.metadata)


def _inside(annotation: Any) -> Iterator[tuple[type[BaseModel], str]]:
    """The shapes inside a field's type, and what stands between its key and theirs."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, ""
    for argument in get_args(annotation):
        step = {tuple: "[]", dict: ".NAME"}.get(get_origin(annotation), "")
        for shape, further in _inside(argument):
            yield shape, step + further


TABLES = {"exported": exported, "read": read, "fleet": fleet_keys}


def refreshed(text: str) -> str:
    """``text`` with the part between each pair of markers made anew."""
    for name, rows in TABLES.items():
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        if begin not in text:
            continue
        made = "\n".join([begin, "", *rows(), end]).replace("\n\n\n", "\n\n")
        text = re.sub(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _, made=made: made, text, flags=re.DOTALL)
    return text


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(refreshed(page.read_text(encoding="utf-8")), encoding="utf-8")
