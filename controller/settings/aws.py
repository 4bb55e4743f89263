"""What no shape can know of the blocks about Auto Scaling groups."""

from __future__ import annotations

from controller.documents import Document
from controller.errors import Problem
from controller.settings.plain import Block, mapping, variant_blocks


def asg_mistakes_in(document: Document) -> list[Problem]:
    """One group has one variant: two would count the same instances, and shrink each other's."""
    first: dict[str, Block] = {}
    problems = []
    for block in variant_blocks(document.data):
        options = mapping(mapping(block.data.get("actuator")).get("aws_asg"))
        named = {key: options[key] for key in ("group", "tags", "region") if options.get(key)}
        if not named.keys() & {"group", "tags"}:
            continue  # the shape tells
        other = first.setdefault(repr(sorted(named.items(), key=str)), block)
        if other is not block:
            message = f"{other.service}/{other.name} scales the same group; expected a group of its own"
            problems.append(document.problem((*block.place, "actuator", "aws_asg"), message))
    return problems
