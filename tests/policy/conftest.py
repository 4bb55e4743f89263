"""Policy files for tests, and the reference table of a shape."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

PLAIN = """\
service: chat
scaling:
  max_replicas: 8
  targets: {queue_depth: 50}
"""


@pytest.fixture(scope="session")
def plain() -> str:
    """The least a policy can say."""
    return PLAIN


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write a file and give its path."""

    def written(text: str, name: str = "chat.yaml") -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return written


@pytest.fixture(scope="session")
def reference() -> Callable[[type[BaseModel]], list[tuple[str, str, str]]]:
    """(key, default, meaning) of every key of a shape, as docs/policy.md prints them."""
    return lambda shape: list(_rows(shape.model_json_schema(), shape.model_json_schema().get("$defs", {}), ""))


def _rows(schema: dict, definitions: dict, prefix: str) -> Iterator[tuple[str, str, str]]:
    required = schema.get("required", ())
    for key, value in schema.get("properties", {}).items():
        inner, suffix = _inner(value, definitions)
        default = "required" if key in required else "" if inner else _default(value)
        yield f"{prefix}{key}", default, value["description"]
        if inner:
            yield from _rows(inner, definitions, f"{prefix}{key}{suffix}.")


def _inner(value: dict, definitions: dict) -> tuple[dict | None, str]:
    for choice in (value, *value.get("anyOf", ()), *value.get("allOf", ())):
        for suffix, below in (("", choice), ("[]", choice.get("items")), (".NAME", choice.get("additionalProperties"))):
            if isinstance(below, dict) and "$ref" in below:
                opened = definitions[below["$ref"].rsplit("/", 1)[1]]
                if "properties" in opened:
                    return opened, suffix
    return None, ""


def _default(value: dict) -> str:
    default = value.get("default")
    if default in (None, "", []):
        return ""
    text = ", ".join(map(str, default)) if isinstance(default, list) else str(default).lower()
    if "ms|s|m|h" in str(value):
        return f"`{float(default):g}s`"
    return f"`{text}`"
