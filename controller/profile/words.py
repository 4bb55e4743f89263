"""Prompts of about as many tokens as wanted, for a tokenizer that nobody knows: short random words, counted by probing.

Random, so that no prefix cache holds them. How many tokens came of them is read from the server's usage.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_TEXT = """
time people year way day man thing woman life child world school state family student group country problem hand part
place case week company system program question work number night point home water room mother area money story fact
month lot right study book eye job word business issue side kind head house service friend father power hour game line
"""
WORDS = tuple(_TEXT.split())
"""Common English nouns: one token each in the vocabularies of most models."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenScale:
    """tokens = fixed + per_word x words, by two probes. ``fixed``: the start token, a chat's template."""

    fixed: float
    per_word: float

    @classmethod
    def between(cls, fewer: tuple[int, int], more: tuple[int, int]) -> TokenScale:
        """From (words, tokens) of two prompts."""
        per_word = (more[1] - fewer[1]) / (more[0] - fewer[0])
        if per_word <= 0:
            raise ValueError(f"{more[0]} words gave {more[1]} tokens, {fewer[0]} words {fewer[1]}")
        return cls(fixed=max(0.0, fewer[1] - per_word * fewer[0]), per_word=per_word)

    def words(self, tokens: int) -> int:
        return max(1, round((tokens - self.fixed) / self.per_word))


def prompt(words: int, random: np.random.Generator) -> str:
    """``words`` random words."""
    return " ".join(WORDS[index] for index in random.integers(0, len(WORDS), words).tolist())
