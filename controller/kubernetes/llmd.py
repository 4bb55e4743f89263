"""Labels of llm-d (https://llm-d.ai), as its Workload Variant Autoscaler puts them on targets and their pods.

They may stand among the labels or the annotations; a label wins. ``variant-cost`` has no unit of its own: llm-d
compares it between variants only, and its default of 10 is nobody's dollars. What it is in is said in the fleet file,
or it is not used.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite

from controller.facts.missing import Missing

MANAGED, MODEL, VARIANT, COST, ROLE = (
    f"llm-d.ai/{name}" for name in ("managed", "model-id", "variant", "variant-cost", "role")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LlmD:
    """What they say; "" and None where they do not.

    managed   False: nobody but its owner may scale it
    cost      above zero, in whatever unit the fleet file says
    role      "prefill", "decode" or "both"
    """

    managed: bool | None = None
    model: str = ""
    variant: str = ""
    cost: float | Missing | None = None
    role: str = ""


def llmd_of(labels: Mapping[str, str], annotations: Mapping[str, str] | None = None) -> LlmD:
    """Read from one object."""
    told = {**(annotations or {}), **labels}
    managed = {"true": True, "false": False}.get(told.get(MANAGED, "").lower())
    return LlmD(
        managed=managed,
        model=told.get(MODEL, ""),
        variant=told.get(VARIANT, ""),
        cost=_cost(told[COST]) if COST in told else None,
        role=told.get(ROLE, ""),
    )


def same_model(label: str, name: str) -> bool:
    """Whether a model-id means the model ``name``: "meta-llama--Llama-3.1-70B-Instruct" is "llama-3.1-70b".

    Labels hold no "/", so everybody writes them differently; what stands around the name does not matter.
    """
    one, other = (re.sub(r"[^a-z0-9]", "", text.rpartition("/")[2].lower()) for text in (label, name))
    return bool(one and other) and (one in other or other in one)


def _cost(text: str) -> float | Missing:
    try:
        cost = float(text)
    except ValueError:
        cost = 0.0
    if isfinite(cost) and cost > 0:
        return cost
    return Missing(COST, f"expected a number above zero, found '{text}'")
