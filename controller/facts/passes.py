"""One pass as a whole: what is recorded before acting, and what is known after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from controller.facts.accounts import WorkRate
from controller.facts.decisions import Alert, AlertState, Decision, Memory, Outcome, Pause
from controller.facts.estimates import Estimates
from controller.facts.fleet import CapacityType, Mode
from controller.facts.interruptions import Notice
from controller.facts.learned import Learned
from controller.facts.readings import Counter, CounterMark, Observation, Phase
from controller.facts.safety import SafetySeen
from controller.facts.unguarded import unguarded


@unguarded
@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaUse:
    """What one replica did and cost between two passes, ``start`` to ``end``: the ledger rolls these up by minute.

    replica         "" for committed capacity that no replica used, STRANDED for what no replica of its nodes can use
    node            "" where discovery does not say
    counts          increases of the engine's counters; a counter that could not be read is absent
    prefill_s …     what the requests that finished spent in each phase by their own clocks, summed; None: not said
    missing         why the engine could not be read at all; "" when it was
    cost_nanousd    effective; None when the price is unknown, and the three others likewise
    """

    service: str
    variant: str
    replica: str
    capacity_type: CapacityType
    start: datetime
    end: datetime
    phase: Phase
    gpus: int
    counts: Mapping[Counter, float] = field(default_factory=dict)
    running: float | None = None
    queue_depth: float | None = None
    kv_cache_ratio: float | None = None
    mfu_ratio: float | None = None
    energy_j: float | None = None
    missing: str = ""
    cost_nanousd: int | None = None
    list_nanousd: int | None = None
    contracted_nanousd: int | None = None
    billed_nanousd: int | None = None
    node: str = ""
    prefill_s: float | None = None
    decode_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Time that the ledger knows it did not watch. ``fleet``: whose daemon did not, "" where a ledger has one fleet."""

    start: datetime
    end: datetime
    why: str
    fleet: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PassRecord:
    """Everything written before acting, in one transaction. ``memory`` is the memory as of the decisions."""

    at: datetime
    mode: Mode
    estimates: Estimates
    uses: tuple[ReplicaUse, ...]
    decisions: tuple[Decision, ...]
    marks: tuple[CounterMark, ...]
    memory: Memory
    gaps: tuple[Gap, ...] = ()
    learned: Learned | None = None
    """None: nothing new to keep in this pass; it is handed over every few minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What the ledger gives back at start."""

    memory: Memory
    marks: tuple[CounterMark, ...]
    last_pass_at: datetime | None
    unfinished: tuple[Decision, ...]
    """Decisions whose intent was recorded and whose outcome was not: the daemon died in between."""
    learned: Learned = field(default_factory=Learned)
    """Only its ``states``: the estimators make the rest anew from them."""
    notices: tuple[Notice, ...] = ()
    """What was announced about machines and is not over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PassResult:
    """What everyone who looks at the daemon sees: the HTTP API, /metrics, ``pennyweight status``."""

    at: datetime
    mode: Mode
    duration_s: float
    observation: Observation
    estimates: Estimates
    decisions: tuple[Decision, ...]
    outcomes: tuple[Outcome, ...]
    alerts: tuple[AlertState, ...]
    sent: tuple[Alert, ...]
    pauses: Mapping[str, Pause]
    problems: tuple[str, ...] = ()
    """What went wrong in this pass and what that means (the ledger could not be written: nothing was acted on)."""
    learned: Learned | None = None
    """What was learned and forecast when it was last worked out; None before the first time."""
    work_rates: tuple[WorkRate, ...] = ()
    """What a token takes of the variants whose turn it is, every few minutes: the ledger keeps those that moved."""
    safety: SafetySeen = field(default_factory=SafetySeen)
    """What the safety kernel holds back, and why."""
