"""The JSON Schema of a policy file, for editors."""

from __future__ import annotations

from typing import Any

from controller.policy.shape import PolicyShape
from controller.quantities import EditorSchema


def json_schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of a policy file."""
    made = PolicyShape.model_json_schema(schema_generator=EditorSchema)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made, "title": "Pennyweight policy"}
