"""What was typed, as values; every wrong argument becomes a mistake."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from math import inf, isfinite
from pathlib import Path

from controller.backtest.gate import Gate, parse
from controller.backtest.ground import Described, Priced
from controller.backtest.mistakes import Mistakes
from controller.backtest.shapes import PREFIX, Invented, invented
from controller.backtest.speculation import Drafting
from controller.documents import nearest
from controller.errors import ConfigError, Problem
from controller.quantities import duration_s, ratio_value
from controller.settings.values import ledger_url
from controller.simulate.failures import NO_FAILURES, PUBLISHED, Failures
from controller.simulate.opponents.catalogue import OPPONENTS
from controller.simulate.spot import NOTICE_S
from controller.simulate.startup import PROFILES, StartUp

STDOUT = "-"
ALL, NONE, PUBLISHED_RATE = "all", "none", "published"
LONGEST_START_UP_S = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SpotAsked:
    """The spot market, as far as it was said. ``zones``: names, or how they begin."""

    trace: Path | None = None
    seed: int | None = None
    zones: tuple[str, ...] = ()
    notice_s: float | None = None

    @property
    def said(self) -> tuple[str, ...]:
        """The options that were given."""
        given = {"trace": self.trace, "seed": self.seed, "zones": self.zones or None, "notice": self.notice_s}
        return tuple(f"--spot-{name}" for name, value in given.items() if value is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A backtest as asked for.

    trace, lengths      files; or an invented ``shape``; or ``ledger_s`` of the ledger at ``ledger`` (None: the
                        fleet file's)
    from_s, to_s        since the start of the trace; None: to its end
    warm_up_s           of the trace before ``from_s`` is shown to the forecaster; infinite: all there is
    fleet               the fleet file; None: options, or the sample fleet
    start_up            None: the fleet file's, else a pod with cold caches
    interval_s          between passes; None: the fleet file's
    """

    policies: tuple[Path, ...]
    against: tuple[str, ...]
    trace: Path | None
    shape: Invented | None
    lengths: Path | None
    ledger_s: float | None
    ledger: str | None
    from_s: float
    to_s: float | None
    warm_up_s: float
    fleet: Path | None
    variant: str | None
    described: Described
    priced: Priced
    profile: Path | None
    token_budget: int | None
    max_sequences: int | None
    drafting: Drafting
    start_up: StartUp | None
    seeds: tuple[int, ...]
    interval_s: float | None
    jobs: int
    failures: Failures
    spot: SpotAsked
    bracket: bool
    gate: Gate | None
    report: Path | None
    json: str | None

    @property
    def sourced(self) -> bool:
        """Whether there is anything to replay."""
        return self.trace is not None or self.shape is not None or self.ledger_s is not None


def read(arguments: argparse.Namespace, mistakes: Mistakes, default_fleet: Path) -> Asked:
    """``default_fleet`` is taken where it exists and no fleet is described."""
    described = _described(arguments)
    _needed(arguments, mistakes)
    usd = mistakes.read("--usd-per-gpu-hour", arguments.usd_per_gpu_hour, _amount)
    if arguments.report is not None:
        mistakes.tried(lambda: _check_report(arguments.report))
    if arguments.json not in (None, STDOUT):
        mistakes.tried(lambda: _json_writable(arguments.json))
        if arguments.report is not None and arguments.report.absolute() == Path(arguments.json).absolute():
            mistakes.wrong("--json", f"{arguments.json} is the report's file; name another")
    return Asked(
        policies=tuple(arguments.policy),
        against=mistakes.read("--against", arguments.against, _against) or (),
        trace=None if _is_shape(arguments) else arguments.trace,
        shape=mistakes.read("--trace", str(arguments.trace), invented) if _is_shape(arguments) else None,
        lengths=arguments.lengths,
        ledger_s=mistakes.read("--from-ledger", arguments.from_ledger, _lately),
        ledger=mistakes.read("--ledger", arguments.ledger, ledger_url),
        from_s=mistakes.read("--from", arguments.from_, duration_s) or 0.0,
        to_s=mistakes.read("--to", arguments.to, _more_than_no_time),
        warm_up_s=mistakes.read("--warm-up", arguments.warm_up, _warm_up) or 0.0,
        fleet=_fleet(arguments, described, default_fleet, mistakes),
        variant=arguments.variant,
        described=described,
        priced=Priced(usd_per_gpu_hour=usd, offer=arguments.offer),
        profile=arguments.profile,
        token_budget=arguments.token_budget,
        max_sequences=arguments.max_sequences,
        drafting=Drafting(
            draft_tokens=arguments.draft_tokens,
            acceptance_ratio=mistakes.read("--acceptance", arguments.acceptance, _share),
            draft_overhead_ratio=mistakes.read("--draft-overhead", arguments.draft_overhead, _share),
        ),
        start_up=mistakes.read("--start-up", arguments.start_up, _start_up),
        seeds=tuple(range(arguments.seed, arguments.seed + arguments.seeds)),
        interval_s=mistakes.read("--interval", arguments.interval, _more_than_no_time),
        jobs=arguments.jobs,
        failures=_failures(arguments, mistakes),
        spot=SpotAsked(
            trace=arguments.spot_trace,
            seed=arguments.spot_seed,
            zones=_zones(arguments, mistakes),
            notice_s=mistakes.read("--spot-notice", arguments.spot_notice, _notice),
        ),
        bracket=mistakes.tried(lambda: _bracket(arguments.bracket)) or False,
        gate=mistakes.tried(lambda: parse(*arguments.fail_if)) if arguments.fail_if is not None else None,
        report=arguments.report,
        json=arguments.json,
    )


def _is_shape(arguments: argparse.Namespace) -> bool:
    return arguments.trace is not None and str(arguments.trace).startswith(PREFIX)


def _needed(arguments: argparse.Namespace, mistakes: Mistakes) -> None:
    if not arguments.policy:
        mistakes.wrong("--policy", "is missing: which policy is rehearsed? Such as --policy policies/chat.yaml")
    told = {problem.file for problem in mistakes.problems}
    if arguments.trace is None and arguments.from_ledger is None and not told & {"--trace", "--from-ledger"}:
        mistakes.wrong("--trace", "is missing: give --trace FILE, or --from-ledger 7d for what the ledger recorded")
    if arguments.trace is not None and arguments.from_ledger is not None:
        mistakes.wrong("--from-ledger", "cannot stand beside --trace; choose one of them")


def _failures(arguments: argparse.Namespace, mistakes: Mistakes) -> Failures:
    crashes = mistakes.read("--failures", arguments.failures, _crashes) or NO_FAILURES
    share = mistakes.read("--failed-starts", arguments.failed_starts, _share)
    return replace(crashes, failed_start_ratio=share or 0.0)


def _zones(arguments: argparse.Namespace, mistakes: Mistakes) -> tuple[str, ...]:
    if arguments.spot_seed is not None and arguments.spot_trace is not None:
        mistakes.wrong("--spot-seed", "draws a market, and --spot-trace is one; choose one of them")
    named = (part.strip() for part in (arguments.spot_zones or "").split(","))
    return tuple(name for name in named if name)


def _described(arguments: argparse.Namespace) -> Described:
    return Described(
        model=arguments.model,
        gpu=arguments.gpu,
        gpus_per_replica=arguments.gpus_per_replica,
        quantization=arguments.quantization,
        kv_cache_dtype=arguments.kv_cache_dtype,
    )


def _fleet(arguments: argparse.Namespace, described: Described, default: Path, mistakes: Mistakes) -> Path | None:
    named: Path | None = arguments.fleet
    if named is not None and described.said:
        mistakes.wrong("--fleet", "a fleet file and --model, --gpu and so on cannot stand together; choose one of them")
    if named is not None or described.said:
        return named
    return default if default.exists() else None


# --- single arguments ------------------------------------------------------------------------------------------------


def _against(text: str) -> tuple[str, ...]:
    """Names, families, "all" or "none"."""
    names = [part.strip() for part in text.split(",")]
    if names == [NONE]:
        return ()
    if NONE in names:
        raise ValueError(f"none stands alone: leave it out of '{text}', or the others")
    if "" in names:
        found = f"'{text}'" if text else "nothing"
        raise ValueError(f"expected names with commas between, all or none, found {found}")
    return tuple(dict.fromkeys(one for name in names for one in _named(name)))


def _named(name: str) -> Sequence[str]:
    """One; or all that begin so: hpa, or dynamo-all where the beginning is a name itself."""
    if name in OPPONENTS:
        return (name,)
    family = name.removesuffix(f"-{ALL}")
    found = [one for one in OPPONENTS if name == ALL or one == family or one.startswith(f"{family}-")]
    if not found:
        families = _families()
        close = nearest(name, (*OPPONENTS, *families)) or "."
        told = f"{', '.join(OPPONENTS)}, the families {', '.join(families[:-1])} and {families[-1]}, all and none"
        raise ValueError(f"there is no '{name}'{close} There are {told}")
    return found


def _families() -> list[str]:
    """What names several at once."""
    begin = Counter(name.partition("-")[0] for name in OPPONENTS)
    families = [one for one in begin if begin[one] > 1]
    return [f"{one}-{ALL}" if one in OPPONENTS else one for one in families]


def _start_up(text: str) -> StartUp:
    if text in PROFILES:
        return PROFILES[text]
    try:
        seconds = float(text)
    except ValueError:
        seconds = _seconds(text)
    if not 0 <= seconds <= LONGEST_START_UP_S:
        names = ", ".join(PROFILES)
        raise ValueError(f"expected {names}, seconds or a duration such as 4m, up to a day, found '{text}'")
    return StartUp.around(seconds)


def _seconds(text: str) -> float:
    """Of a duration; below zero where it is none."""
    try:
        return duration_s(text)
    except ValueError:
        return -1.0


def _crashes(text: str) -> Failures:
    if text == PUBLISHED_RATE:
        return PUBLISHED
    seconds = _seconds(text)
    if not seconds > 0:
        raise ValueError(
            f"expected published, or the time between two crashes of a replica such as 30d, found '{text}'"
        )
    return Failures(mean_s=seconds)


def _share(text: str) -> float:
    try:
        share = ratio_value(text if text.endswith("%") else float(text))
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise ValueError(f"expected a share from 0% to 100%, such as 2%, found '{text}'")
    return share


def _notice(text: str) -> float:
    seconds = NOTICE_S.get(text, _seconds(text))
    if seconds < 0:
        raise ValueError(f"expected {', '.join(NOTICE_S)} or a duration such as 30s, found '{text}'")
    return seconds


def _warm_up(text: str) -> float:
    if text in ("auto", NONE):
        return inf if text == "auto" else 0.0
    seconds = _seconds(text)
    if seconds < 0:
        raise ValueError(f"expected auto, none or a duration such as 7d, found '{text}'")
    return seconds


def _more_than_no_time(text: str) -> float:
    found = duration_s(text)
    if not found > 0:
        raise ValueError(f"expected more than no time, found '{text}'")
    return found


def _lately(text: str) -> float:
    if text.startswith("-"):
        raise ValueError(f"expected how far back, such as 7d, found '{text}'; did you mean {text.lstrip('-')}?")
    return _more_than_no_time(text)


def _amount(text: str) -> float:
    try:
        found = float(text.removeprefix("$"))
    except ValueError:
        found = 0.0
    if not (found > 0 and isfinite(found)):
        raise ValueError(f"expected US dollars above 0, such as 3 or 6.88, found '{text}'")
    return found


def _check_report(path: Path) -> None:
    _needs("--report", "matplotlib")
    from controller.backtest.report.write import check_path  # loads it

    check_path(path)


def _bracket(wanted: bool) -> bool:
    if wanted:
        _needs("--bracket", "scipy")
    return wanted


def _needs(option: str, package: str) -> None:
    """Told before an hour of playing, not after it."""
    if find_spec(package) is None:
        message = f"needs {package}, which is not installed: pip install 'pennyweight[backtest]'"
        raise ConfigError([Problem(option, 0, 0, "", message)])


def _json_writable(name: str) -> None:
    folder = Path(name).absolute().parent
    if not folder.is_dir() or Path(name).is_dir():
        why = "is a folder" if Path(name).is_dir() else f"cannot be written: there is no folder {folder}"
        raise ConfigError([Problem("--json", 0, 0, "", f"{name} {why}")])
