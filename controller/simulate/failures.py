"""How often replicas break by themselves."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import numpy as np

GPU_HOURS_BETWEEN_FAILURES = 16_384 * 54 * 24 / 419
"""50,677: 419 unexpected interruptions in 54 days on 16,384 H100 (Llama 3, arXiv 2407.21783, section 3.3.4), of which
78 % were confirmed or suspected hardware. Training, not serving; what breaks an engine by its own bugs is not in it."""

PURPOSE = 1
"""Of this stream of random numbers, so that it takes none from the start-up times."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failures:
    """A replica crashes ``mean_s`` after its start on average, exponential; ``per_gpu``: each of its GPUs does, and any
    of them takes it down. ``failed_start_ratio`` of all starts end at the moment at which they would have been ready.
    """

    mean_s: float = inf
    per_gpu: bool = False
    failed_start_ratio: float = 0.0

    def __post_init__(self) -> None:
        if not self.mean_s > 0 or not 0 <= self.failed_start_ratio <= 1:
            raise ValueError(f"failures need a time above 0 and a share from 0 to 1: {self}")

    @property
    def none(self) -> bool:
        return self.mean_s == inf and self.failed_start_ratio == 0

    def drawn(self, seed: int, number: int, gpus: int) -> tuple[float, bool]:
        """Of the replica with that number: seconds from its start to its crash, and whether the start fails. The same
        for every controller, however many replicas it has started before."""
        random = np.random.default_rng([seed, PURPOSE, number])
        life, luck = float(random.standard_exponential()), float(random.random())
        mean_s = self.mean_s / gpus if self.per_gpu else self.mean_s
        return inf if mean_s == inf else life * mean_s, luck < self.failed_start_ratio


PUBLISHED = Failures(mean_s=GPU_HOURS_BETWEEN_FAILURES * 3600, per_gpu=True)
NO_FAILURES = Failures()
