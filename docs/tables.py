"""Writes the tables of docs/metrics.md from the code: `python docs/tables.py`. A test fails while they differ."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from controller.facts.readings import Counter, Distribution, Gauge
from controller.observe.engines import ADAPTERS
from controller.serve.names import ESTIMATES, OTHERS

PAGE = Path(__file__).parent / "metrics.md"


def exported() -> Iterator[str]:
    """What the daemon exports."""
    yield "| metric | meaning |"
    yield "|---|---|"
    for metric in ESTIMATES:
        yield f"| `{metric.name}` | {metric.help} By service and variant. |"
    for name, text in OTHERS.items():
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


TABLES = {"exported": exported, "read": read}


def refreshed(text: str) -> str:
    """``text`` with the part between each pair of markers made anew."""
    for name, rows in TABLES.items():
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        made = "\n".join([begin, "", *rows(), end]).replace("\n\n\n", "\n\n")
        text = re.sub(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _, made=made: made, text, flags=re.DOTALL)
    return text


if __name__ == "__main__":
    PAGE.write_text(refreshed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
