"""The arguments of `pennyweight backtest`. Imports nothing of it: every command's help passes by here."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from controller.cli.numbers import Wrong, positive, whole

Option = tuple[str, Callable[[str], object], str, object, str]
"""Name, type, placeholder, default, help."""

USAGE = "pennyweight backtest --trace FILE --policy FILE [--policy FILE ...] [options]"
"""Thirty options would hide what is wrong."""

EXAMPLE = "pennyweight backtest --trace benchmarks/traces/azure2023_conv.csv.gz --from 10m --policy policies/chat.yaml"

BRACKET = "also what the best possible controller would have paid: a bound and a schedule; takes some 50 runs"

DESTINATIONS = {"from": "from_"}
"""Where a name is a word of the language."""

REPEATABLE = ("fail-if",)


class Once(argparse.Action):
    """A value that there can be one of: whoever gives two different ones is told so, not served by the last."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, value: Any, *_: Any) -> None:
        given = vars(namespace).setdefault("given", set())
        before = getattr(namespace, self.dest)
        if self.dest in given and before != value and not isinstance(before, Wrong):
            value = value if isinstance(value, Wrong) else Wrong(f"given twice, as {before} and {value}; give one")
        elif self.dest in given:
            return
        given.add(self.dest)
        setattr(namespace, self.dest, value)


OPTIONS: Mapping[str, tuple[Option, ...]] = {
    "what is replayed": (
        ("lengths", Path, "FILE", None, "lengths for a trace of rates (default: log-normal)"),
        ("ledger", str, "URL", None, "for --from-ledger (default: the fleet file's)"),
        ("from", str, "DURATION", "0s", "replay from here on, since the trace's start"),
        ("to", str, "DURATION", None, "and to here (default: to its end)"),
        ("warm-up", str, "DURATION", "auto", "of the time before --from, for the forecaster; auto: all, or none"),
        ("seed", whole, "N", 1, "the first seed: start-up times, lengths, moments (default 1)"),
        ("seeds", positive, "N", 1, "so many seeds, one after the other (default 1)"),
    ),
    "who plays, on what": (
        ("against", str, "NAMES", "static,hpa-load,keda-queue", "other autoscalers (default %(default)s), all or none"),
        ("fleet", Path, "FILE", None, "fleet file (default fleet.yaml, else a sample fleet)"),
        (
            "variant",
            str,
            "NAME",
            None,
            "rent this one of the fleet file's variants alone (default: all that a policy may use)",
        ),
        ("model", str, "NAME", None, "instead of a fleet file: a row of the model table"),
        ("gpu", str, "NAME", None, "a row of the GPU table"),
        ("gpus-per-replica", positive, "N", None, "default: the fewest that hold the model"),
        ("quantization", str, "NAME", None, "default fp8"),
        ("kv-cache-dtype", str, "NAME", None, "default fp8 with fp8 weights, else auto"),
        ("usd-per-gpu-hour", str, "USD", None, "the price; comes before the fleet file's"),
        ("offer", str, "OFFER", None, "price book entry: provider/region/instance type"),
        ("profile", Path, "FILE", None, "the engine's speed, from `pennyweight profile`"),
        ("token-budget", positive, "N", None, "the engine's --max-num-batched-tokens (default: fits the SLO)"),
        ("max-sequences", positive, "N", None, "the engine's --max-num-seqs"),
        ("draft-tokens", whole, "N", None, "drafted a step by speculation (default: the fleet file's; 0: none)"),
        ("acceptance", str, "SHARE", None, "of the drafted tokens that are kept, as measured: 60%%"),
        ("draft-overhead", str, "SHARE", None, "what drafting adds to a step, such as 10%%; 0%% for n-grams"),
        (
            "start-up",
            str,
            "TIME",
            None,
            "warm_node, cold_pod, cold_node, seconds (default: the fleet file's, else cold_pod)",
        ),
        ("failures", str, "TIME", None, "replicas crash so often on average, such as 30d; published: as GPUs do"),
        ("failed-starts", str, "SHARE", None, "so many starts fail, such as 2%%"),
        ("spot-trace", Path, "FILE", None, "when each zone has spot capacity (default: drawn)"),
        ("spot-seed", whole, "N", None, "the market that is drawn (default: the run's seed)"),
        ("spot-zones", str, "NAMES", None, "of the market, or how they begin: us-west-2"),
        ("spot-notice", str, "TIME", None, "aws, gcp, azure, or a duration (default: the offer's provider)"),
        ("interval", str, "DURATION", None, "between passes (default: the fleet file's, else 15s)"),
        ("jobs", positive, "N", 1, "processes that play at once (default 1)"),
    ),
    "what comes of it": (
        ("fail-if", str, "CONDITION", None, 'exit code 1 if it holds: "cost > 1200 or attainment < 99%%"; repeatable'),
        ("report", Path, "FILE", None, "write a report: .html or .md"),
        ("json", str, "FILE", None, "write the numbers; - prints only them"),
    ),
}


def add_to(parser: argparse.ArgumentParser) -> None:
    """All of them, in groups."""
    parser.usage = USAGE
    parser.epilog = f"For example: {EXAMPLE}"
    parser.add_argument(
        "--policy", type=Path, action="append", default=[], metavar="FILE", help="may be given several times; required"
    )
    parser.add_argument(
        "--trace",
        type=Path,
        action=Once,
        metavar="FILE",
        help="CSV of requests or rates, gzip or not, or an invented one: shape:spike; this or --from-ledger",
    )
    parser.add_argument(
        "--from-ledger", action=Once, metavar="DURATION", help="what the ledger recorded lately, such as 7d"
    )
    for title, options in OPTIONS.items():
        group = parser.add_argument_group(title)
        for name, kind, metavar, default, text in options:
            where = DESTINATIONS.get(name, name.replace("-", "_"))
            action = "append" if name in REPEATABLE else Once
            group.add_argument(
                f"--{name}", dest=where, type=kind, action=action, metavar=metavar, default=default, help=text
            )
    parser.add_argument("--bracket", action="store_true", help=BRACKET)
