"""Whose a dollar was and what it bought: the words in which the ledger accounts. Money is integer nanodollars."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from controller.facts.fleet import CapacityType


class Part(StrEnum):
    """What a nanodollar of capacity went into. The parts of a cost add up to it, always.

    prefill, cached, decode   work: prompt tokens computed, prompt tokens found in the prefix cache, output tokens
    unmeasured                the engine served and could not be read: nobody knows what it worked on
    idle_warm                 ready and unused, as the policy asked: headroom and minimums
    idle_unscheduled          ready or committed, unused, and nobody asked for it
    idle_stuck                requests ran or waited, and nothing came of them; or it had failed
    idle_stranded             GPUs of a rented node that no replica can use
    overhead_starting         ordered and not ready yet
    overhead_draining         on its way out, for the time in which it did not work
    overhead_swapping         starting in the place of another variant of the service
    overhead_interrupted      lost with an interrupted spot replica, or starting in its place
    """

    PREFILL = "prefill"
    CACHED = "cached"
    DECODE = "decode"
    UNMEASURED = "unmeasured"
    IDLE_WARM = "idle_warm"
    IDLE_UNSCHEDULED = "idle_unscheduled"
    IDLE_STUCK = "idle_stuck"
    IDLE_STRANDED = "idle_stranded"
    OVERHEAD_STARTING = "overhead_starting"
    OVERHEAD_DRAINING = "overhead_draining"
    OVERHEAD_SWAPPING = "overhead_swapping"
    OVERHEAD_INTERRUPTED = "overhead_interrupted"


WORK = (Part.PREFILL, Part.CACHED, Part.DECODE, Part.UNMEASURED)
IDLE = (Part.IDLE_WARM, Part.IDLE_UNSCHEDULED, Part.IDLE_STUCK, Part.IDLE_STRANDED)
OVERHEAD = (
    Part.OVERHEAD_STARTING,
    Part.OVERHEAD_DRAINING,
    Part.OVERHEAD_SWAPPING,
    Part.OVERHEAD_INTERRUPTED,
)
PARTS = (*WORK, *IDLE, *OVERHEAD)
"""In this order wherever parts stand in a row: arrays, columns, files."""

STRANDED = "__stranded__"
"""In the place of a replica's name: GPUs of a rented node that no replica can use."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Identity:
    """Who asked. "" where nobody said; ``api_key`` is a hash, never the key.

    team          the cost centre
    tenant        the customer or the organisation
    feature       the product's
    environment   "production", "staging" …
    """

    team: str = ""
    tenant: str = ""
    feature: str = ""
    environment: str = ""
    api_key: str = ""


UNATTRIBUTED = Identity(team="__unattributed__")
"""Work that the engines did and no usage record explains."""

IDLE_OWN = Identity(team="__idle__")
OVERHEAD_OWN = Identity(team="__overhead__")
"""Idle and overhead that no rule hands to anybody: lines of their own."""

OTHER = Identity(team="__other__")
"""Identities beyond the most that are told apart."""

SHARED = Identity(team="__shared__")
ADJUSTMENT = Identity(team="__adjustment__")
"""What a bill says beyond our estimate, where no line of ours could carry it."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Pool:
    """Replicas that are interchangeable in price: a team pays for its work at the price of its pool, not for the luck
    of which replica served it."""

    service: str
    variant: str
    capacity_type: CapacityType


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Counted by an engine, or told by usage records. ``uncached`` and ``cached`` add up to the prompt tokens."""

    uncached: int = 0
    cached: int = 0
    output: int = 0
    requests: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkRate:
    """Engine-seconds of one replica that a token takes at the replica's capacity inside the SLO.

    Batching is in it once: at capacity, one second of requests takes one engine-second, whatever the batch. A request
    of u uncached and h cached prompt tokens and o output tokens (p = u + h) takes

        prefill   u x prefill_s_per_token + u^2 x prefill_s_per_square
        cached    h x cached_s_per_token  + 2 h u x cached_s_per_cross        (computed tokens attend to cached ones)
        decode    o x decode_s_per_token  + o (2 p + o) x decode_s_per_context

    mean_…       the shape at which a replica's minute is evaluated: it counts tokens, not requests one by one
    uncached_cv  standard deviation / mean of a request's uncached prompt tokens: its squares are by 1 + cv² larger
    basis        where the step model comes from: "learned", "profile" or "prior"
    band_ratio   relative uncertainty of the capacity
    """

    service: str
    variant: str
    at: datetime
    prefill_s_per_token: float
    prefill_s_per_square: float
    cached_s_per_cross: float
    cached_s_per_token: float
    decode_s_per_token: float
    decode_s_per_context: float
    mean_uncached: float
    mean_cached: float
    mean_output: float
    basis: str
    band_ratio: float
    uncached_cv: float = 0.0
