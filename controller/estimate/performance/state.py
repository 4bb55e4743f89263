"""What was learned, as JSON text that a ledger keeps."""

from __future__ import annotations

import json
from dataclasses import asdict

from controller.facts.missing import Missing
from controller.facts.performance import LearnedStep, StepModel

FORMAT = 1
"""Version of the text. Another one is not guessed at: learning starts again."""

LENGTHS = {"bands": 4, "information": 16, "pull": 4, "factors": 4}


def to_json(state: LearnedStep) -> str:
    """Text that ``from_json`` reads back as an equal value."""
    return json.dumps({"format": FORMAT, **asdict(state)}, allow_nan=False)


def from_json(text: str) -> LearnedStep | Missing:
    """Missing, with the reason, when the text is not what this version writes."""
    try:
        data = json.loads(text)
        if data.pop("format") != FORMAT:
            return Missing("learned_step", f"another version's text; this one reads format {FORMAT}")
        data["prior"] = StepModel(**{name: float(value) for name, value in data["prior"].items()})
        for name, length in LENGTHS.items():
            data[name] = tuple(float(value) for value in data[name])
            if len(data[name]) != length:
                return Missing("learned_step", f"{name} has {len(data[name])} numbers, {length} expected")
        return LearnedStep(**data)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        return Missing("learned_step", f"the text kept is not readable ({error}); learning starts again")
