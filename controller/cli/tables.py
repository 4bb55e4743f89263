"""Tables for the terminal. Money comes first; what is missing says so."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table

from controller.facts.decisions import Decision
from controller.facts.estimates import Estimate, Finding
from controller.facts.missing import Missing
from controller.facts.passes import PassResult
from controller.ledger.rows import ServiceMinute

UNKNOWN = "unknown"


def shown(value: float | Missing | None, form: str = "{:,.0f}") -> str:
    """``value`` in ``form``; "unknown" when it could not be had."""
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
    table = Table(title=title, title_justify="left")
    table.add_column("service")
    for heading in (
        "$/h",
        "$/M output",
        "tokens/$",
        "replicas",
        "output tok/s",
        "running",
        "queue",
        "KV",
        "TTFT p95",
        "TPOT p95",
    ):
        table.add_column(heading, justify="right")
    return table


def _row(seen: Estimate) -> tuple[str, ...]:
    return (
        seen.service or "fleet",
        shown(seen.usd_per_hour, "{:,.2f}"),
        shown(seen.usd_per_million_output_tokens, "{:,.2f}"),
        shown(seen.tokens_per_usd),
        f"{seen.replicas_ready}/{seen.replicas_current}",
        shown(seen.output_tokens_per_s),
        shown(seen.running),
        shown(seen.queue_depth),
        shown(seen.kv_cache_ratio, "{:.0%}"),
        shown(seen.ttft_p95_s, "{:.2f} s"),
        shown(seen.tpot_p95_s, "{:.3f} s"),
    )


def status_table(title: str, minutes: tuple[ServiceMinute, ...]) -> Table:
    """The last recorded minute of every service, as ``status`` shows it."""
    table = _money_table(title)
    for minute in minutes:
        desired = "" if minute.replicas_desired is None else f" -> {minute.replicas_desired}"
        table.add_row(
            minute.service or "fleet",
            shown(minute.usd_per_hour, "{:,.2f}"),
            shown(minute.usd_per_million_output_tokens, "{:,.2f}"),
            shown(minute.tokens_per_usd),
            f"{minute.replicas_ready}/{minute.replicas_current}{desired}",
            shown(minute.output_tokens_per_s),
            shown(minute.running),
            shown(minute.queue_depth),
            shown(minute.kv_cache_ratio, "{:.0%}"),
            shown(minute.ttft_p95_s, "{:.2f} s"),
            shown(minute.tpot_p95_s, "{:.3f} s"),
        )
    return table


def _decisions(result: PassResult) -> Table:
    outcomes = {one.decision_id: f"{one.kind}: {one.detail}" for one in result.outcomes}
    table = Table(title="decisions", title_justify="left")
    for heading in ("decision", "outcome"):
        table.add_column(heading, overflow="fold")
    for decision in result.decisions:
        table.add_row(_sentence(decision), outcomes.get(decision.id, ""))
    return table


def _sentence(decision: Decision) -> str:
    return str(decision)


def _findings(findings: tuple[Finding, ...]) -> Table:
    table = Table(title="findings", title_justify="left")
    for heading in ("where", "what", "do"):
        table.add_column(heading, overflow="fold")
    for one in findings:
        where = "/".join(part for part in (one.service, one.variant, one.replica) if part)
        table.add_row(where, one.what, one.do)
    return table
