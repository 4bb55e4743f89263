"""What replays told about blocks of ten minutes, and the cheapest way through them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]

BLOCK_SLOTS = 10

_HALVINGS = 40
_DEAREST = 1e6
"""Replica-slots for one miss: nobody pays more."""


class Blocks:
    """For each block the replica counts that it had in some replay, and how many of its requests missed with them.

    slots   of the whole schedule
    lead    slots that a replica is ordered, and billed, before the slot that needs it
    """

    def __init__(self, slots: int, lead: int) -> None:
        self._size, self._lead = slots, lead
        self.count = -(-slots // BLOCK_SLOTS)
        self._known: list[dict[tuple[int, ...], float]] = [{} for _ in range(self.count)]

    def slots(self, block: int) -> slice:
        return slice(block * BLOCK_SLOTS, min((block + 1) * BLOCK_SLOTS, self._size))

    def saw(self, wanted: Counts, misses: Floats) -> None:
        """A replay of ``wanted`` had so many ``misses`` by block. The latest is believed."""
        for block in range(self.count):
            self.saw_one(wanted, block, float(misses[block]))

    def saw_one(self, wanted: Counts, block: int, misses: float) -> None:
        self._known[block][tuple(wanted[self.slots(block)].tolist())] = misses

    def cheapest(self, allowed: float) -> tuple[Counts, float]:
        """The schedule of known blocks that is billed least with at most ``allowed`` misses expected, and how many.

        A miss is given a price; each price has its shortest path; the lowest price that keeps what is allowed is
        looked for by halving. The fewest misses known when nothing keeps it.
        """
        choices = [np.array(list(known), np.int64) for known in self._known]
        misses = [np.array(list(known.values())) for known in self._known]
        bills = self._bills(choices)
        low, high = 0.0, _DEAREST
        best = _path(bills, misses, high)
        for _ in range(_HALVINGS):
            price = (low * high) ** 0.5 if low > 0 else high / 1e3
            path = _path(bills, misses, price)
            if sum(misses[block][choice] for block, choice in enumerate(path)) <= allowed:
                best, high = path, price
            else:
                low = price
        wanted: Counts = np.concatenate([choices[block][choice] for block, choice in enumerate(best)])
        return wanted, float(sum(misses[block][choice] for block, choice in enumerate(best)))

    def _bills(self, choices: list[Counts]) -> list[Floats]:
        """By block: replica-slots billed, for each of its choices and each of the next block's (one for the last)."""
        bills = []
        for block, here in enumerate(choices):
            after = choices[block + 1] if block + 1 < len(choices) else np.zeros((1, BLOCK_SLOTS), np.int64)
            ahead = after[:, : self._lead]
            both = np.concatenate(
                [
                    np.broadcast_to(here[:, None, :], (len(here), len(after), here.shape[1])),
                    np.broadcast_to(ahead[None, :, :], (len(here), len(after), ahead.shape[1])),
                ],
                axis=2,
            )
            billed = sum(both[:, :, slot : slot + self._lead + 1].max(axis=2) for slot in range(here.shape[1]))
            bills.append(np.asarray(billed, np.float64))
        return bills


def _path(bills: list[Floats], misses: list[Floats], price: float) -> list[int]:
    """The choice of each block that adds up to the least, from the last block back to the first."""
    rest: Floats = np.zeros(1)
    steps: list[NDArray[np.int64]] = []
    for billed, missed in zip(reversed(bills), reversed(misses), strict=True):
        total = billed + price * missed[:, None] + rest[None, :]
        steps.append(total.argmin(axis=1))
        rest = total.min(axis=1)
    place = int(rest.argmin())
    path = [place]
    for step in reversed(steps[1:]):
        place = int(step[place])
        path.append(place)
    return path
