"""Numbers as tired people want them, and the verdict in sentences. The terminal and the reports say the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import floor

from controller.backtest.results import (
    DAYS_PER_YEAR,
    HOURS_PER_DAY,
    NOT_COMPARED,
    Backtest,
    Spread,
    Standing,
    latency,
    plain,
    standings,
)
from controller.documents import sentence
from controller.facts.missing import Missing, mapped
from controller.simulate.score import Number

UNKNOWN = "?"
DASH = "–"


def usd(value: float) -> str:
    """$1,234.56; no cents from $100,000 on; one cent's worth of more digits below ten cents."""
    sign, size = ("-" if value < 0 else ""), abs(value)
    digits = 0 if size >= 100_000 else 2 if size >= 0.1 or size == 0 else 4
    return f"{sign}${size:,.{digits}f}"


def signed_usd(value: float) -> str:
    """+$8.80, -$8.80."""
    return f"{'+' if value > 0 else ''}{usd(value)}"


def share(value: float) -> str:
    """99.12 %, rounded down: 98.999 % must not look like the 99 % that were asked for."""
    return f"{floor(value * 10_000 + 1e-6) / 100:.2f} %"


def percent(value: float) -> str:
    """12.3 %, rounded to the nearest: for what is not promised."""
    return f"{value * 100:.1f} %"


def change(value: float) -> str:
    """+12.3 %, -4.0 %."""
    return f"{value * 100:+.1f} %" if abs(value) >= 0.0005 else "±0.0 %"


def count(value: float) -> str:
    """1,234; means over seeds keep a digit below a hundred."""
    return f"{value:,.0f}" if value == round(value) or value >= 100 else f"{value:,.1f}"


def many(value: float, one: str, more: str = "") -> str:
    """1 move, 2 moves, 0.5 moves; ``more``: a plural that is not ``one`` with an s."""
    return f"{count(value)} {one if value == 1 else more or f'{one}s'}"


def milliseconds(value_s: float) -> str:
    """1.2 ms of 0.0012."""
    return f"{plain(value_s * 1000)} ms" if value_s < 1 else f"{value_s * 1000:,.0f} ms"


def span(hours: float) -> str:
    """7 days, 24 h, 40 min, 12 s."""
    if hours >= 48:
        return f"{plain(hours / HOURS_PER_DAY)} days"
    if hours >= 1:
        return f"{plain(hours)} h"
    minutes = hours * 60
    return f"{plain(minutes)} min" if minutes >= 1 else f"{plain(minutes * 60)} s"


FORMS: Mapping[str, Callable[[float], str]] = {
    "cost": usd,
    "cost_per_day": usd,
    "usd_reserved": usd,
    "usd_on_demand": usd,
    "usd_spot": usd,
    "regret": change,
    "attainment": share,
    "attainment_ttft": share,
    "attainment_tpot": share,
    "worst_five_minutes": share,
    "replica_hours": lambda hours: f"{hours:,.1f}",
    "idle": percent,
    "forecast_error": percent,
    "pass": milliseconds,
    "ttft_p50": latency,
    "ttft_p99": latency,
    "tpot_p50": latency,
    "tpot_p99": latency,
}
"""How a quantity is written; those not here are counts."""


def mark(why: Missing) -> str:
    """What stands where there is no number: nobody knows it, or there is none."""
    return DASH if why == NOT_COMPARED else UNKNOWN


def shown(quantity: str, value: Number) -> str:
    return mark(value) if isinstance(value, Missing) else FORMS.get(quantity, count)(value)


def shown_spread(quantity: str, found: Spread | Missing) -> tuple[str, str]:
    """The mean, and the range over the seeds or nothing where all are equal."""
    if isinstance(found, Missing):
        return mark(found), ""
    form = FORMS.get(quantity, count)
    if form is usd and found.low >= 100:
        form = "${:,.0f}".format  # cents beside hundreds say nothing about a range
    low, high = form(found.low), form(found.high)
    return shown(quantity, found.mean), "" if low == high else _ranged(low, high)


def _ranged(low: str, high: str) -> str:
    """$1,305–1,342, 95.57–99.15 %, +3.0 to +7.1 %: units once."""
    for unit in (" %", " ms", " s"):
        if low.endswith(unit) and high.endswith(unit):
            low = low.removesuffix(unit)
    return f"{low} to {high}" if low[0] in "+-±" else f"{low}{DASH}{high.removeprefix('$')}"


# --- the verdict -----------------------------------------------------------------------------------------------------

MOST_OF_THEM = 0.5
"""From this share of the missed requests on, the policy's limit is worth telling. A guess: more than anything else."""


SHORTEST_FOR_A_YEAR_HOURS = 10 / 60
"""Less is not extrapolated. A guess: a start takes some four minutes, so the bill is mostly that of the replicas that
were there at the start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """``winner``: the cheapest that kept the SLO, or None. ``warnings`` mean that something is wrong with the run."""

    headline: str
    details: tuple[str, ...]
    warnings: tuple[str, ...]
    winner: Standing | None


def verdict(backtest: Backtest) -> Verdict:
    """Who was cheapest at the required attainment, by how much, and what a reader must know beside it."""
    all_of_them = standings(backtest)
    kept = sorted((one for one in all_of_them if one.met), key=lambda one: one.usd)
    winner = kept[0] if kept else None
    first, about = all_of_them[0], winner or all_of_them[0]
    told = [_bracket(backtest, winner), _first(first, winner), _cheaper(all_of_them, winner), _why_missed(first)]
    told += [_still(first), _lost(all_of_them), _befell(all_of_them)]
    told += [_spent(about), _seeds(about), sentence(backtest.short) if backtest.short else "", _year(backtest, about)]
    return Verdict(
        headline=_headline(backtest, all_of_them, kept),
        details=tuple(one for one in told if one),
        warnings=tuple(_below(one) for one in all_of_them if one.below_bound),
        winner=winner,
    )


def wanted(backtest: Backtest) -> str:
    """99 %, 99.9 %."""
    return f"{backtest.slo.attainment_ratio * 100:.4g} %"


def attained(one: Standing, quantity: str = "attainment") -> str:
    return shown(quantity, mapped(one.value(quantity), lambda found: found.mean))


def _headline(backtest: Backtest, everybody: tuple[Standing, ...], kept: list[Standing]) -> str:
    """Where luck had a part in it, with the number of times that it was tried."""
    seeds = len(backtest.seeds)
    rests = f" ({'1 seed only' if seeds == 1 else f'mean of {seeds} seeds'})" if backtest.perils or seeds > 1 else ""
    return f"{_judged(backtest, everybody, kept)}{rests}."


def _judged(backtest: Backtest, everybody: tuple[Standing, ...], kept: list[Standing]) -> str:
    time = span(backtest.hours)
    if not kept:
        best = max(everybody, key=_attainment)
        subject = f"{best.name} did not keep" if len(everybody) == 1 else f"None of {len(everybody)} controllers kept"
        closest = "it had" if len(everybody) == 1 else f"the closest, {best.name}, had"
        found = f"{closest} {attained(best)} of requests in time, for {usd(best.usd)} in {time}"
        return f"{subject} the SLO of {wanted(backtest)}: {found}"
    winner = kept[0]
    achieved = f"{attained(winner)} of requests in time, {wanted(backtest)} wanted"
    if len(everybody) == 1:
        return f"{winner.name} kept the SLO for {usd(winner.usd)} in {time}: {achieved}"
    if len(kept) == 1:
        return f"{winner.name} alone kept the SLO, for {usd(winner.usd)} in {time}: {achieved}"
    return f"{_by_how_much(kept, time)}; {achieved}"


def _by_how_much(kept: list[Standing], time: str) -> str:
    winner, runner_up = kept[:2]
    same = [one for one in kept if one.usd <= winner.usd]
    if len(same) > 1:
        others = f", {runner_up.name} and {many(len(same) - 2, 'other')}" if len(same) > 2 else f" and {runner_up.name}"
        return f"{winner.name}{others} kept the SLO for the same {usd(winner.usd)} in {time}"
    saved = runner_up.usd - winner.usd
    less = f"{percent(saved / runner_up.usd)} ({usd(saved)}) less than {runner_up.name}, the next"
    return f"{winner.name} kept the SLO for the least money: {usd(winner.usd)} in {time}, {less}"


def _attainment(one: Standing) -> float:
    found = one.attainment
    return -1.0 if isinstance(found, Missing) else found


def _bracket(backtest: Backtest, winner: Standing | None) -> str:
    lower, upper = backtest.lower_usd, backtest.upper_usd
    known_lower = "" if isinstance(lower, Missing) else f"no controller can cost less than {usd(lower)}"
    known_upper = "" if isinstance(upper, Missing) else f"a schedule that knew the future costs {usd(upper)}"
    told = " and ".join(part for part in (known_lower, known_upper) if part)
    if not told:
        return ""
    times = backtest.upper_to_lower
    told += "" if isinstance(times, Missing) else f", {times:.4g} times as much"
    against = ""
    if winner is not None and not isinstance(upper, Missing) and upper > 0:
        over = winner.usd / upper - 1
        against = f"; {winner.name} is {percent(abs(over))} {'above' if over >= 0 else 'below'} the schedule"
    return f"{told[0].upper()}{told[1:]}{against}."


def _first(first: Standing, winner: Standing | None) -> str:
    if winner is None or winner is first:
        return ""
    if not first.met:
        return f"{first.name} did not keep the SLO: {attained(first)} in time, for {usd(first.usd)}."
    more = first.usd - winner.usd
    return f"{first.name} kept it too, for {usd(first.usd)}: {change(more / winner.usd)} ({usd(more)})."


def _why_missed(first: Standing) -> str:
    """Which latency it was, and whether more replicas were allowed at all."""
    if first.met:
        return ""
    slo = first.backtest.slo
    kept = [
        f"{attained(first, name)} {words}"
        for name, words, target in (
            ("attainment_ttft", "within the time to first token", slo.ttft),
            ("attainment_tpot", "within the time per output token", slo.tpot),
        )
        if target is not None
    ]
    told = f"{first.name} had {' and '.join(kept)}"
    most, at_limit = first.backtest.most_replicas, _missed_at_limit(first)
    if at_limit < MOST_OF_THEM:
        return f"{told}."
    limit = f"all {most:,} replicas that the policy allows" if most > 1 else "the one replica that the policy allows"
    came = f"{percent(at_limit)} of the requests that missed came while it had {limit}"
    return f"{told}; {came}: more of them (max_replicas) or faster ones are needed."


def _missed_at_limit(one: Standing) -> float:
    """The share of the requests that missed the SLO which arrived when every allowed replica was ready: where some
    were still starting, more of them would not have been there sooner."""
    missed = at_limit = 0
    for run in one.runs:
        late = run.series.judged - run.series.within_slo
        missed += int(late.sum())
        at_limit += int(late[run.series.ready >= one.backtest.most_replicas].sum())
    return at_limit / missed if missed and one.backtest.most_replicas else 0.0


def _still(first: Standing) -> str:
    """A rehearsal in which the policy had nothing to do: everybody looks equal, and who reads it wonders why."""
    if not first.met or any(run.moves for run in first.runs):
        return ""
    return f"{first.name} never changed its number of replicas: nothing here says how it scales."


def _cheaper(everybody: tuple[Standing, ...], winner: Standing | None) -> str:
    """Those that one might believe to be better; of the first something is said anyway."""
    if winner is None:
        return ""
    names = [f"{one.name} ({usd(one.usd)}, {attained(one)})" for one in everybody[1:] if one.usd < winner.usd]
    return f"Cheaper, but the SLO was not kept: {', '.join(names)}." if names else ""


def _lost(everybody: tuple[Standing, ...]) -> str:
    """Everybody's requests that were never answered."""
    told = [f"{one.name} {_of_requests(one)}" for one in everybody if _of_requests(one)]
    return f"Never answered: {'; '.join(told)}." if told else ""


def _of_requests(one: Standing) -> str:
    told = [
        f"{shown(name, found.mean)} {name}"
        for name, found in (("dropped", one.value("dropped")), ("unfinished", one.value("unfinished")))
        if not isinstance(found, Missing) and found.high > 0
    ]
    requests = sum(run.requests for run in one.runs) / len(one.runs)
    return f"{' and '.join(told)} of {many(requests, 'request')}" if told else ""


def _befell(everybody: tuple[Standing, ...]) -> str:
    """Everybody's losses, as soon as anybody had some."""
    losses = {one.name: _losses(one) for one in everybody}
    if not any(any(means) for means in losses.values()):
        return ""
    mean = ", a seed on average" if len(everybody[0].runs) > 1 else ""
    return f"Lost{mean}: {'; '.join(f'{name} {_in_words(*means)}' for name, means in losses.items())}."


def _losses(one: Standing) -> tuple[float, float, float]:
    """Spot replicas taken away, failed replicas, requests lost with either; means over the seeds."""
    taken, failed, lost = (
        sum(getattr(run, name) for run in one.runs) / len(one.runs) for name in ("interruptions", "failures", "lost")
    )
    return taken, failed, lost


def _in_words(taken: float, failed: float, lost: float) -> str:
    spot = f"{many(taken, 'spot replica')} taken away" if taken else ""
    own = f"{count(failed)} failed" if failed and taken else f"{many(failed, 'failed replica')}" if failed else ""
    gone = " and ".join(part for part in (spot, own) if part) or "no replica"
    return f"{gone}, {many(lost, 'request')}"


def _spent(one: Standing) -> str:
    """Where it went, by variant and way of buying, the most first."""
    shares: dict[str, float] = {}
    for run in one.runs:
        for paid in run.paid:
            name = f"{paid.variant} {paid.type}".strip().replace("_", " ")
            shares[name] = shares.get(name, 0.0) + paid.usd / len(one.runs)
    if len(shares) < 2:
        return ""
    ranked = sorted(shares.items(), key=lambda share: -share[1])
    return f"{one.name} paid for {', '.join(f'{name} {usd(spent)}' for name, spent in ranked)}."


def _seeds(one: Standing) -> str:
    if len(one.runs) == 1:
        perils = "what went wrong and " if one.backtest.perils else ""
        return (
            f"All of this rests on 1 seed: with another, {perils}how long starts took would differ."
            " --seeds 5 tells by how much."
        )
    _, ranged = shown_spread("cost", one.value("cost"))
    cost = f"its bill was {ranged}" if ranged else "its bill was the same every time"
    short = one.seeds_short
    kept = "" if not short else f", and {short} of them fell short of the SLO"
    return f"Over {len(one.runs)} seeds of {one.name} {cost}{kept}; figures are means."


def _year(backtest: Backtest, one: Standing) -> str:
    if not lasts_for_a_year(backtest):
        return f"Only {span(backtest.hours)} were replayed: too little to say what a year would cost."
    caution = " Less than a day was replayed: nights and weekends are not in it." if backtest.hours < 23.5 else ""
    return (
        f"Extrapolated, not measured: at this rate a year would cost {a_year(backtest, one)} with {one.name}.{caution}"
    )


def lasts_for_a_year(backtest: Backtest) -> bool:
    """Whether its bill says anything about a year's."""
    return backtest.hours >= SHORTEST_FOR_A_YEAR_HOURS


def a_year(backtest: Backtest, one: Standing) -> str:
    """Of its bill, to three digits: more would pretend."""
    year = float(f"{one.usd / backtest.hours * HOURS_PER_DAY * DAYS_PER_YEAR:.3g}")
    return f"${year:,.0f}" if year >= 100 else usd(year)


def _below(one: Standing) -> str:
    lower = one.backtest.lower_usd
    assert not isinstance(lower, Missing)
    return (
        f"{one.name} kept the SLO for {usd(one.usd)}, less than the lower bound of {usd(lower)}: the simulator, the"
        " billing or the bound is wrong. Do not use these figures."
    )
