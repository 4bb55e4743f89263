"""What an engine's requests spent in each phase lately, summed up forgetfully: the newest minutes count most."""

from __future__ import annotations

from collections.abc import Iterable

from controller.estimate.demand.shape import HALF_LIFE_S
from controller.estimate.work import PhaseSeconds
from controller.facts.missing import Missing
from controller.facts.readings import Distribution, EngineReading, Gauge

NOTHING_SEEN = PhaseSeconds(requests=0.0, prefill_s=0.0, decode_s=0.0, running=0.0)


def phases_after(before: PhaseSeconds, spent_s: float, readings: Iterable[EngineReading]) -> PhaseSeconds:
    """``before`` after ``spent_s`` more seconds, in which ``readings`` were made.

    It forgets as fast as the shape of requests does, because the two are compared: both are of the same requests. The
    batch is that of the moment of the reading, weighted by the requests that finished until then.
    """
    share = 0.5 ** (max(spent_s, 0.0) / HALF_LIFE_S)
    told = [one for reading in readings if (one := _told(reading)) is not None]
    kept = before.requests * share
    requests = kept + sum(one.requests for one in told)
    batches = kept * before.running + sum(one.requests * one.running for one in told)
    return PhaseSeconds(
        requests=requests,
        prefill_s=before.prefill_s * share + sum(one.prefill_s for one in told),
        decode_s=before.decode_s * share + sum(one.decode_s for one in told),
        running=batches / requests if requests > 0 else 0.0,
    )


def _told(reading: EngineReading) -> PhaseSeconds | None:
    """None where the engine does not tell both phases of the same requests, or not its batch."""
    prefill, decode = (reading.histograms.get(one) for one in (Distribution.PREFILL_TIME_S, Distribution.DECODE_TIME_S))
    running = reading.gauge(Gauge.RUNNING)
    if prefill is None or decode is None or isinstance(running, Missing) or prefill.count != decode.count:
        return None
    return PhaseSeconds(
        requests=prefill.count, prefill_s=prefill.total, decode_s=decode.total, running=max(running, 1.0)
    )
