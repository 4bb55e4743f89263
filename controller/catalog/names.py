"""Comparing names that people and drivers spell differently."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

NEAREST_CUTOFF = 0.4
"""difflib similarity from which a name is worth proposing. A guess: 0.6, difflib's default, misses "H100" for
"H100-SXM"."""

VENDOR_WORDS = frozenset({"nvidia", "amd", "tesla", "geforce", "instinct"})


def words(name: str) -> tuple[str, ...]:
    """Lower-case words of ``name`` without the vendor's: "NVIDIA A100-SXM4-80GB" -> ("a100", "sxm4", "80gb")."""
    return tuple(word for word in re.split(r"[^a-z0-9.]+", name.lower()) if word and word not in VENDOR_WORDS)


def compact(name: str) -> str:
    """The words run together, so that "RTX 4090", "rtx-4090" and "RTX4090" are one name."""
    return "".join(words(name))


def nearest(name: str, choices: Iterable[str], most: int = 3) -> tuple[str, ...]:
    """Up to ``most`` of ``choices`` that look like ``name``, best first, for "did you mean"."""
    by_lower = {choice.lower(): choice for choice in choices}
    close = get_close_matches(name.lower(), by_lower, n=most, cutoff=NEAREST_CUTOFF)
    return tuple(by_lower[choice] for choice in close)
