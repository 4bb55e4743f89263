"""The emulated demo's gateway: it knows who asks, and sends usage records of what was answered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from controller.attribute.batch import Batch, digests, joined
from controller.demo.files import SERVICE
from controller.facts.accounts import Identity
from controller.facts.usage import Receipt
from controller.simulate.arrivals import Requests
from controller.simulate.fleet import Finished
from controller.simulate.traffic import MEAN_OUTPUT_TOKENS, MEAN_PROMPT_TOKENS

SOURCE = "gateway"

REMEMBERED = 1 << 17
"""Of so many requests it is known how much of their prompt was cached: an hour at the peak, and none takes so long."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks, and what their requests look like.

    who                       None: they ask the engines directly, past the gateway, and nobody records them
    share                     of all requests, about
    busy, otherwise           hours of the day (UTC) in which they ask, and how much less they do outside of them
    prompt_lean, output_lean  above 0: their prompts and answers are longer than others'; below: shorter
    """

    who: Identity | None
    share: float
    busy: tuple[int, int] = (0, 24)
    otherwise: float = 1.0
    prompt_lean: float = 0.0
    output_lean: float = 0.0

    def lively(self, hour: NDArray[np.int64]) -> Floats:
        begin, end = self.busy
        inside = (hour - begin) % 24 < (end - begin if end > begin else end - begin + 24)
        return np.where(inside, 1.0, self.otherwise)


def _team(team: str, feature: str, tenant: str = "", environment: str = "production") -> Identity:
    return Identity(team=team, tenant=tenant, feature=feature, environment=environment)


CALLERS = (
    Caller(who=_team("chat-app", "assistant", "acme"), share=0.24),
    Caller(who=_team("chat-app", "assistant", "globex"), share=0.13),
    Caller(who=_team("chat-app", "drafts", "acme"), share=0.06, output_lean=0.8),
    Caller(who=_team("search", "answers"), share=0.30, output_lean=-0.6),
    Caller(who=_team("batch", "summaries"), share=0.16, busy=(20, 6), otherwise=0.4, prompt_lean=0.5),
    Caller(who=_team("internal", "code-review", environment="staging"), share=0.10, busy=(7, 18), otherwise=0.1),
    Caller(who=None, share=0.01),
)
"""Made up: a product of two tenants, a search with short answers, long summaries at night, staff by day, and an
experiment that nobody labelled."""


class Gateway:
    """Draws who asked each request, and hands records of the answered ones to ``take`` in batches."""

    def __init__(self, take: Callable[[str, Batch], Receipt], seed: int) -> None:
        self._take = take
        self._random = np.random.default_rng([seed, 1])
        self._cached: NDArray[np.int64] = np.empty(0, np.int64)
        self._seen = 0
        self._waiting: list[Batch] = []

    def asked(self, requests: Requests) -> None:
        """They are numbered as they come, as the engines do."""
        self._cached = np.concatenate((self._cached, requests.cached_tokens.astype(np.int64)))[-REMEMBERED:]
        self._seen += len(requests)

    def answered(self, finished: Finished) -> None:
        """To be recorded with the next batch."""
        if not len(finished):
            return
        caller = self._callers(finished)
        known = np.array([one.who is not None for one in CALLERS])[caller]
        cached = self._cached[finished.number - (self._seen - len(self._cached))]
        self._waiting.append(_batch(finished, cached, caller).kept(known))

    def send(self) -> None:
        """Returns when what was answered so far is recorded for good. LedgerError when it cannot be."""
        if self._waiting:
            self._take(SOURCE, joined(self._waiting))
            self._waiting = []

    def _callers(self, finished: Finished) -> NDArray[np.int64]:
        hour = (finished.sent_s % 86_400 // 3600).astype(np.int64)
        prompt = np.log(finished.prompt_tokens / MEAN_PROMPT_TOKENS)
        output = np.log(finished.output_tokens / MEAN_OUTPUT_TOKENS)
        likely = np.stack(
            [
                one.share * one.lively(hour) * np.exp(one.prompt_lean * prompt + one.output_lean * output)
                for one in CALLERS
            ]
        ).cumsum(axis=0)
        drawn = self._random.random(len(finished)) * likely[-1]
        return np.asarray((drawn >= likely).sum(axis=0), dtype=np.int64).clip(max=len(CALLERS) - 1)


NOBODY = Identity()
"""In the place of who is not recorded: such records are left out."""


def _batch(finished: Finished, cached: NDArray[np.int64], caller: NDArray[np.int64]) -> Batch:
    a, b = digests(SOURCE, map(str, finished.number.tolist()))
    return Batch(
        a=a,
        b=b,
        started_us=_microseconds(finished.sent_s),
        ended_us=_microseconds(finished.finished_s),
        uncached=finished.prompt_tokens - cached,
        cached=cached,
        output=finished.output_tokens,
        from_cache=np.zeros(len(finished), dtype=np.bool_),
        place=np.zeros(len(finished), dtype=np.int64),
        identity=caller,
        places=((SERVICE, ""),),
        identities=tuple(one.who or NOBODY for one in CALLERS),
    )


def _microseconds(seconds: Floats) -> NDArray[np.int64]:
    return np.rint(seconds * 1e6).astype(np.int64)
