"""One emulated engine: continuous batching, chunked prefill, a bounded KV cache, preemption by recompute.

Steps that only decode between two events (an arrival, a finish, a full cache) are advanced as one block in closed
form, so the cost is per event, not per token. Two simplifications, both small: KV space is counted in tokens rather
than blocks (half a block of 16 a sequence is 0.5 % of a 1,632-token prompt), and a request is let in only when its
whole context fits, where vLLM takes space chunk by chunk.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count
from math import ceil, sqrt

from controller.simulate.stepmodel import EngineSpec
from controller.simulate.tally import Tally


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request. ``cached_tokens`` of its prompt are in the prefix cache of whichever engine gets it.

    sent_s      when the client first sent it; arrival_s: when the engine got it (later when it was tried again)
    """

    number: int
    sent_s: float
    arrival_s: float
    prompt_tokens: int
    output_tokens: int
    cached_tokens: int = 0

    def __post_init__(self) -> None:
        if self.prompt_tokens < 1 or self.output_tokens < 1 or not 0 <= self.cached_tokens < self.prompt_tokens:
            raise ValueError(f"a request needs a prompt, an output and something left to compute: {self}")

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.output_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A request that got all its tokens."""

    request: Request
    first_token_s: float
    finished_s: float
    preemptions: int

    @property
    def ttft_s(self) -> float:
        """As the client saw it: retries included."""
        return self.first_token_s - self.request.sent_s

    @property
    def tpot_s(self) -> float:
        """Mean time per output token after the first; 0 for a single token."""
        gaps = self.request.output_tokens - 1
        return (self.finished_s - self.first_token_s) / gaps if gaps else 0.0


class _Sequence:
    """A request inside the engine. ``generated`` counts tokens up to its last (re)start; decoding adds to it."""

    __slots__ = (
        "context",
        "first_token_s",
        "generated",
        "last_step",
        "last_token_s",
        "preemptions",
        "request",
        "start_step",
        "started_s",
        "todo",
    )

    def __init__(self, request: Request) -> None:
        self.request = request
        self.context = 0  # tokens of KV it was let in with
        self.todo = 0  # of these, still to compute
        self.generated = 0
        self.start_step = 0
        self.last_step = -1  # the step that gives its last token; -1 while not decoding
        self.started_s = -1.0
        self.first_token_s = -1.0
        self.last_token_s = -1.0
        self.preemptions = 0


class EmulatedEngine:
    """Times are seconds on the caller's clock. Equal inputs give equal outputs: there is no randomness in here."""

    def __init__(self, spec: EngineSpec, started_s: float = 0.0) -> None:
        self.spec = spec
        self.started_s = started_s
        self.tally = Tally(spec.max_model_len)
        self._clock = started_s
        self._step = 0
        self._arrivals: deque[Request] = deque()
        self._waiting: deque[_Sequence] = deque()
        self._prefilling: deque[_Sequence] = deque()
        self._running: dict[_Sequence, None] = {}  # in the order they were let in: the last is preempted first
        self._ends: list[tuple[int, int, _Sequence]] = []  # heap of (last step, tie-break, sequence)
        self._ties = count()
        self._decoding = 0
        self._kv_decoding = 0
        self._kv_reserved = 0  # of sequences still prefilling

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def idle(self) -> bool:
        return not (self._running or self._waiting or self._arrivals)

    @property
    def kv_tokens(self) -> int:
        return self._kv_decoding + self._kv_reserved

    @property
    def kv_cache_ratio(self) -> float:
        return self.kv_tokens / self.spec.kv_capacity_tokens

    def in_flight(self) -> list[tuple[Request, int]]:
        """Every request that has come and not finished, with how many tokens it has got so far."""
        inside = [(seq.request, self._generated(seq)) for seq in (*self._running, *self._waiting)]
        return inside + [(request, 0) for request in self._arrivals]

    def advance(self, until_s: float, arrivals: Sequence[Request] = ()) -> list[Finished]:
        """Work until ``until_s``; ``arrivals`` come in order of time, none later than that.

        A step that is under way at ``until_s`` is finished: the engine's clock may stand a step ahead. How a span is
        cut into calls therefore does not change what happens in it.
        """
        for request in arrivals:
            if request.tokens > self.spec.max_model_len:
                raise ValueError(f"request {request.number} of {request.tokens} tokens exceeds the model's length")
        self._arrivals.extend(arrivals)
        finished: list[Finished] = []
        while self._clock < until_s:
            self._take_arrived()
            if not (self._running or self._waiting):
                self._clock = min(self._arrivals[0].arrival_s, until_s) if self._arrivals else until_s
                continue
            if self._kv_decoding + self._kv_reserved + self._decoding > self.spec.kv_capacity_tokens:
                self._preempt_last()
            elif self._prefilling or self._can_admit():
                self._mixed_step(finished)
            else:
                self._decode_block(until_s, finished)
        self._take_arrived()
        return finished

    def _take_arrived(self) -> None:
        while self._arrivals and self._arrivals[0].arrival_s <= self._clock:
            self._waiting.append(_Sequence(self._arrivals.popleft()))

    def _generated(self, seq: _Sequence) -> int:
        return seq.generated if seq.last_step < 0 else seq.generated + self._step - seq.start_step

    def _can_admit(self) -> bool:
        if not self._waiting or len(self._running) >= self.spec.max_sequences:
            return False
        first = self._waiting[0]
        needed = first.request.prompt_tokens + first.generated + self._decoding + 1
        room = self.spec.kv_capacity_tokens - self._kv_decoding - self._kv_reserved
        return needed <= room and self._decoding < self.spec.token_budget

    def _admit(self) -> None:
        seq = self._waiting.popleft()
        if seq.started_s < 0:
            seq.started_s = self._clock
            self.tally.prefix_queries += seq.request.prompt_tokens
            self.tally.prefix_hits += seq.request.cached_tokens
        seq.context = seq.request.prompt_tokens + seq.generated
        seq.todo = seq.context - seq.request.cached_tokens
        self._kv_reserved += seq.context
        self._running[seq] = None
        self._prefilling.append(seq)

    def _preempt_last(self) -> None:
        """The cache is full: the sequence let in last gives up its space and will be computed again."""
        seq = next(reversed(self._running))
        del self._running[seq]
        if seq.last_step < 0:
            self._prefilling.remove(seq)
            self._kv_reserved -= seq.context
        else:
            self._kv_decoding -= seq.context + self._step - seq.start_step
            self._decoding -= 1
            seq.last_token_s = self._clock
            seq.generated = self._generated(seq)
            seq.last_step = -1
        seq.preemptions += 1
        self.tally.preemptions += 1
        self._waiting.appendleft(seq)

    def _mixed_step(self, finished: list[Finished]) -> None:
        """One step that computes prompt tokens beside decoding: running ones first, then whoever can be let in."""
        budget = self.spec.token_budget - self._decoding
        tokens, pairs = 0, 0.0
        ready: list[_Sequence] = []
        while budget > 0 and (self._prefilling or self._can_admit()):
            if not self._prefilling:
                self._admit()
            seq = self._prefilling[0]
            chunk = min(budget, seq.todo)
            built = seq.context - seq.todo
            seq.todo -= chunk
            budget -= chunk
            tokens += chunk
            pairs += chunk * (2 * built + chunk)  # (built + chunk)² - built²: chunks add up to the whole prompt's
            if seq.todo == 0:
                ready.append(self._prefilling.popleft())
        step = self.spec.step
        took_s = step.decode_s(self._decoding, self._kv_decoding) + step.prefill_s(tokens, pairs)
        self.tally.stepped(self._decoding, 1, took_s, took_s, prefill_tokens=tokens + len(ready))
        self._take_steps(1, took_s, finished)
        for seq in ready:
            self._first_token(seq, finished)

    def _decode_block(self, until_s: float, finished: list[Finished]) -> None:
        """As many steps as can go before anything else may happen: nobody comes, nobody ends, the cache holds."""
        step, sequences = self.spec.step, self._decoding
        first_s = step.decode_s(sequences, self._kv_decoding)
        growth_s = step.per_kv_token_s * sequences  # each step reads one more token a sequence
        horizon_s = min(until_s, self._arrivals[0].arrival_s) if self._arrivals else until_s
        room = (self.spec.kv_capacity_tokens - self._kv_decoding - self._kv_reserved) // sequences
        steps = min(_steps_to_cover(horizon_s - self._clock, first_s, growth_s), self._next_end() - self._step, room)
        last_s = first_s + growth_s * (steps - 1)
        self.tally.stepped(sequences, steps, first_s, last_s)
        self._take_steps(steps, (first_s + last_s) / 2 * steps, finished)

    def _take_steps(self, steps: int, took_s: float, finished: list[Finished]) -> None:
        self._clock += took_s
        self._step += steps
        self._kv_decoding += steps * self._decoding
        while self._ends and self._next_end() <= self._step:
            seq = heappop(self._ends)[2]
            self._kv_decoding -= seq.context + self._step - seq.start_step
            self._decoding -= 1
            self._finish(seq, finished)

    def _next_end(self) -> int:
        """The step that ends the first sequence to end; entries of preempted ones are thrown away on the way."""
        while self._ends[0][0] != self._ends[0][2].last_step:
            heappop(self._ends)
            if not self._ends:
                return self._step + 1
        return self._ends[0][0]

    def _first_token(self, seq: _Sequence, finished: list[Finished]) -> None:
        """Its context is computed, which gives one token: its first, or the next one after a preemption."""
        self.tally.generation_tokens += 1
        seq.generated += 1
        self._kv_reserved -= seq.context
        if seq.first_token_s < 0:
            seq.first_token_s = self._clock
            self.tally.prefilled(seq.request.prompt_tokens, seq.request.cached_tokens)
            self.tally.ttft_s.observe(self._clock - seq.request.arrival_s)
        else:
            self.tally.inter_token_s.observe(self._clock - seq.last_token_s)
        if seq.generated == seq.request.output_tokens:
            self._finish(seq, finished)
            return
        self._kv_decoding += seq.context
        self._decoding += 1
        seq.start_step = self._step
        seq.last_step = self._step + seq.request.output_tokens - seq.generated
        heappush(self._ends, (seq.last_step, next(self._ties), seq))

    def _finish(self, seq: _Sequence, finished: list[Finished]) -> None:
        del self._running[seq]
        done = Finished(
            request=seq.request,
            first_token_s=seq.first_token_s,
            finished_s=self._clock,
            preemptions=seq.preemptions,
        )
        self.tally.ended(
            seq.request.prompt_tokens,
            seq.request.output_tokens,
            seq.request.cached_tokens,
            preemptions=seq.preemptions,
            queue_s=seq.started_s - seq.request.arrival_s,
            prefill_s=seq.first_token_s - seq.started_s,
            decode_s=self._clock - seq.first_token_s,
        )
        finished.append(done)


def _steps_to_cover(span_s: float, first_s: float, growth_s: float) -> int:
    """The fewest steps that reach ``span_s``, the first taking ``first_s`` and each next one ``growth_s`` more.

    n x first + growth x n (n - 1) / 2 >= span, solved for n.
    """
    if growth_s <= 0:
        return max(1, ceil(span_s / first_s))
    linear = first_s - growth_s / 2
    return max(1, ceil((sqrt(linear * linear + 2 * growth_s * span_s) - linear) / growth_s))
