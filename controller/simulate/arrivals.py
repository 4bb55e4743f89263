"""Requests in bulk: parallel arrays in order of arrival, so that millions fit and the engines' loop can be compiled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """``n`` requests.

    arrival_s       float64[n], ascending, seconds on the trace's clock
    prompt_tokens   int32[n], 1 or more
    output_tokens   int32[n], 1 or more
    cached_tokens   int32[n], below prompt_tokens: what the prefix cache of whichever engine gets it holds
    """

    arrival_s: NDArray[np.float64]
    prompt_tokens: NDArray[np.int32]
    output_tokens: NDArray[np.int32]
    cached_tokens: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.arrival_s)

    def before(self, end_s: float) -> tuple[Requests, Requests]:
        """Those that arrive before ``end_s``, and the rest. Views, not copies."""
        cut = int(np.searchsorted(self.arrival_s, end_s, side="left"))
        return self._sliced(slice(0, cut)), self._sliced(slice(cut, None))

    def _sliced(self, part: slice) -> Requests:
        return Requests(
            arrival_s=self.arrival_s[part],
            prompt_tokens=self.prompt_tokens[part],
            output_tokens=self.output_tokens[part],
            cached_tokens=self.cached_tokens[part],
        )


def joined(parts: Sequence[Requests]) -> Requests:
    """``parts`` one after the other."""
    return Requests(
        arrival_s=np.concatenate([part.arrival_s for part in parts]),
        prompt_tokens=np.concatenate([part.prompt_tokens for part in parts]),
        output_tokens=np.concatenate([part.output_tokens for part in parts]),
        cached_tokens=np.concatenate([part.cached_tokens for part in parts]),
    )


NO_REQUESTS = Requests(
    arrival_s=np.empty(0),
    prompt_tokens=np.empty(0, np.int32),
    output_tokens=np.empty(0, np.int32),
    cached_tokens=np.empty(0, np.int32),
)


class Workload(Protocol):
    """Where requests come from. The same seed gives the same requests, however ``until`` cuts them."""

    @property
    def start_s(self) -> float: ...

    @property
    def end_s(self) -> float: ...

    def until(self, end_s: float) -> Requests:
        """The requests since the last call (at first: since ``start_s``) that arrive before ``end_s``."""
        ...
