"""Tables for the terminal. Money comes first; what is missing says so."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table

from controller.facts.estimates import Estimate, Finding
from controller.facts.missing import Missing
from controller.facts.passes import PassResult
from controller.ledger.rows import ServiceMinute

UNKNOWN = "?"


def shown(value: float | Missing | None, form: str = "{:,.0f}") -> str:
    """``value`` in ``form``; "?" when it could not be had."""
    return UNKNOWN if value is None or isinstance(value, Missing) else form.format(value)


def pass_tables(result: PassResult) -> Iterator[Table | str]:
    """One pass as ``once`` shows it."""
    yield _services(result)
    yield _decisions(result)
    if result.estimates.findings:
        yield _findings(result.estimates.findings)
    for target in result.observation.targets:
        reading = result.observation.engines.get(target.url)
        if isinstance(reading, Missing):
            yield f"{target.service}/{target.variant}: {reading}"
    for problem in (*result.observation.discovery_problems, *result.problems):
        yield str(problem)


def _services(result: PassResult) -> Table:
    table = _money_table(f"{result.at:%Y-%m-%d %H:%M:%S} UTC, mode {result.mode}")
    for estimate in (*result.estimates.services.values(), result.estimates.fleet):
        table.add_row(*_row(estimate))
    return table


def _money_table(title: str) -> Table:
    """Narrow enough for a terminal of 80 columns."""
    table = _table(title)
    table.add_column("service", overflow="fold", min_width=7)  # a long name folds before a number is cut
    for heading in ("$/h", "$/M out", "replicas", "tok/s", "queue", "KV", "TTFT p95", "TPOT p95"):
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0))


def _row(seen: Estimate) -> tuple[str, ...]:
    return (seen.service or "fleet", *_money(seen), f"{seen.replicas_ready}/{seen.replicas_current}", *_load(seen))


def status_table(title: str, minutes: tuple[ServiceMinute, ...]) -> Table:
    """The last recorded minute of every service, as ``status`` shows it."""
    table = _money_table(title)
    undecided = any(minute.service and minute.replicas_desired is None for minute in minutes)
    for minute in minutes:
        partial = undecided and not minute.service  # the sum would be that of the decided services alone
        desired = "" if minute.replicas_desired is None or partial else f" -> {minute.replicas_desired}"
        replicas = f"{minute.replicas_ready}/{minute.replicas_current}{desired}"
        table.add_row(minute.service or "fleet", *_money(minute), replicas, *_load(minute))
    return table


def _money(seen: Estimate | ServiceMinute) -> tuple[str, str]:
    return shown(seen.usd_per_hour, "{:,.2f}"), shown(seen.usd_per_million_output_tokens, "{:,.2f}")


def _load(seen: Estimate | ServiceMinute) -> tuple[str, ...]:
    return (
        shown(seen.output_tokens_per_s),
        shown(seen.queue_depth),
        shown(seen.kv_cache_ratio, "{:.0%}"),
        shown(seen.ttft_p95_s, "{:.2f} s"),
        shown(seen.tpot_p95_s, "{:.3f} s"),
    )


def _decisions(result: PassResult) -> Table:
    outcomes = {one.decision_id: f"{one.kind}: {one.detail}" for one in result.outcomes}
    table = _table("decisions")
    for heading in ("decision", "outcome"):
        table.add_column(heading, overflow="fold")
    for decision in result.decisions:
        table.add_row(str(decision), outcomes.get(decision.id, ""))
    return table


def _findings(findings: tuple[Finding, ...]) -> Table:
    table = _table("findings")
    for heading in ("where", "what", "do"):
        table.add_column(heading, overflow="fold")
    for one in findings:
        where = "/".join(part for part in (one.service, one.variant, one.replica) if part)
        table.add_row(where, one.what, one.do)
    return table
