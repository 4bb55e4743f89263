"""The command that measures a server under load: profile."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Callable
from math import ceil, isfinite, nan
from pathlib import Path
from typing import TypeVar

from rich.console import Console

from controller.backtest.words import many
from controller.catalog.load import nearest
from controller.clock import utc_now
from controller.errors import ConfigError, Problem
from controller.facts.fleet import CapacityType
from controller.facts.missing import Missing
from controller.facts.performance import StepModel
from controller.facts.profile import Profile
from controller.prices.book import PriceBook
from controller.profile.plan import CONCURRENCY, OPEN_LOOP_SHARES, RATE, PointPlan, SweepPlan
from controller.profile.plot import plot, trouble
from controller.profile.show import Progressed, told
from controller.profile.sweep import Priced, Sweep
from controller.quantities import duration_s

STDOUT = "-"
STOPPED, DIED = 130, 1

Numbers = tuple[float, ...]
NONE: Numbers = ()
DEFAULT_CONCURRENCY: Numbers = (1, 2, 4, 8, 16)

Value = TypeVar("Value")


def profile(arguments: argparse.Namespace) -> int:
    """Measure, show, keep. What was measured before Ctrl-C or before the server died is shown and kept all the same."""
    plan, price, prior = _checked(arguments)
    only_json = arguments.out == STDOUT
    console = Console(stderr=only_json)
    console.print(_announced(plan), highlight=False)
    with Progressed(console, len(plan.points)) as progress:
        sweep = Sweep(
            plan=plan,
            price=price,
            prior=prior,
            clock=utc_now,
            began=progress.began,
            told=progress.told,
            finished=progress.finished,
        )
        asyncio.run(_run(sweep))
    if not sweep.points:
        print(f"pennyweight: {sweep.ended or 'nothing was measured'}", file=sys.stderr)
        return STOPPED if sweep.stop.is_set() else DIED
    measured = sweep.profile()
    for part in told(measured):
        console.print(part, highlight=False)
    if arguments.plot is not None:
        plot(measured, arguments.plot)
        console.print(f"plot: {arguments.plot}", highlight=False)
    if only_json:
        sys.stdout.write(measured.to_json())
    elif arguments.out is not None:
        Path(arguments.out).write_text(measured.to_json(), encoding="utf-8")
        console.print(f"profile: {arguments.out}", highlight=False)
    if sweep.stop.is_set():
        return STOPPED
    return DIED if sweep.ended else 0


def _announced(plan: SweepPlan) -> str:
    """What is about to happen, and for how long."""
    points, each_s = len(plan.points), plan.warm_up_s + plan.duration_s
    minutes = ceil(points * each_s / 60)
    return (
        f"{plan.root}: {many(points, 'point')} of {each_s:g} s, about {many(minutes, 'minute')}; "
        "Ctrl-C ends the sweep and keeps what was measured"
    )


async def _run(sweep: Sweep) -> None:
    """The first Ctrl-C ends the sweep, a second one everything."""
    loop = asyncio.get_running_loop()

    def stop() -> None:
        sweep.stop.set()
        loop.remove_signal_handler(signal.SIGINT)

    loop.add_signal_handler(signal.SIGINT, stop)
    try:
        await sweep.run()
    finally:
        loop.remove_signal_handler(signal.SIGINT)


class _Reader:
    """Reads arguments one by one and keeps every mistake, so that all are told at once."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._arguments = arguments
        self.problems: list[Problem] = list(arguments.wrong)

    def read(self, name: str, reader: Callable[[str], Value], default: Value) -> Value:
        """The argument ``name``, or ``default`` when it is not given or wrong."""
        text = getattr(self._arguments, name)
        if text is None:
            return default
        try:
            return reader(text)
        except ValueError as error:
            self.wrong(name, str(error))
            return default

    def wrong(self, name: str, message: str) -> None:
        self.problems.append(Problem("--" + name.replace("_", "-"), 0, 0, "", message))


def _checked(arguments: argparse.Namespace) -> tuple[SweepPlan, Priced, StepModel | None]:
    """What to do, or every mistake in the arguments at once."""
    reader = _Reader(arguments)
    concurrency = reader.read("concurrency", _whole_numbers, NONE)
    rates = reader.read("rates", _numbers, NONE)
    if arguments.concurrency is None and arguments.rates is None:
        concurrency = DEFAULT_CONCURRENCY
    if arguments.closed_loop_only and arguments.rates is not None:
        reader.wrong("closed_loop_only", "leaves out arrivals at random, which --rates asks for; give one of them")
    loads = [(CONCURRENCY, load) for load in concurrency] + [(RATE, load) for load in rates]
    shares = NONE if arguments.closed_loop_only or arguments.rates is not None else OPEN_LOOP_SHARES
    lengths = [
        (prompt, output)
        for prompt in reader.read("prompt_tokens", _numbers, NONE)
        for output in reader.read("output_tokens", _numbers, NONE)
    ]
    plan = SweepPlan(
        url=_address(reader, arguments.url),
        points=(
            *(
                PointPlan(kind=kind, load=load, prompt_tokens=prompt, output_tokens=output)
                for prompt, output in lengths
                for kind, load in loads
            ),
            *(
                PointPlan(kind=RATE, share=share, prompt_tokens=prompt, output_tokens=output)
                for prompt, output in lengths
                for share in shares
            ),
        ),
        api=arguments.api,
        model=arguments.model,
        api_key=reader.read("api_key_env", _variable, None),
        spread=reader.read("spread", _spread, 0.0),
        duration_s=reader.read("duration", _duration, 1.0),
        warm_up_s=reader.read("warm_up", duration_s, 0.0),
        timeout_s=reader.read("timeout", _duration, 1.0),
        seed=arguments.seed,
    )
    price = _price(reader, arguments)
    prior = reader.read("prior", _prior, None)
    _check_files(reader, arguments)
    if reader.problems:
        raise ConfigError(reader.problems)
    return plan, price, prior


def _prior(path: str) -> StepModel | None:
    """The step model of an earlier profile."""
    try:
        earlier = Profile.from_json(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise ValueError(f"{path} cannot be used: {why}") from error
    if isinstance(earlier.fit, Missing):
        raise ValueError(f"{path} has no step model: {earlier.fit.why}")
    return earlier.fit.step


def _address(reader: _Reader, url: str) -> str:
    wrong = (
        "" if url.startswith(("http://", "https://")) else f"expected http://HOST:PORT or https://HOST, found '{url}'"
    )
    if "@" in url:  # it would be shown and kept; so it is not repeated here either
        wrong = "expected an address without user and password; a key goes into --api-key-env"
    if wrong:
        reader.problems.append(Problem("URL", 0, 0, "", wrong))
    return url


def _check_files(reader: _Reader, arguments: argparse.Namespace) -> None:
    """Told before an hour of measuring, not after it."""
    if arguments.plot is not None and (why := trouble(arguments.plot)):
        reader.wrong("plot", why)
    for name, path in (("plot", arguments.plot), ("out", arguments.out)):
        if path is None or path == STDOUT:
            continue
        if Path(path).is_dir():
            reader.wrong(name, f"{path} is a folder; name a file in it")
        elif not Path(path).absolute().parent.is_dir():
            reader.wrong(name, f"there is no folder {Path(path).absolute().parent}")


def _price(reader: _Reader, arguments: argparse.Namespace) -> Priced:
    """USD an hour of the whole server: as given, or a list price times its GPUs."""
    if arguments.usd_per_hour is not None:
        if arguments.offer is not None:
            reader.wrong("usd_per_hour", "is a price, and --offer names one too; give one of them")
        return Priced(usd_per_hour=reader.read("usd_per_hour", _one_number, 1.0), source="--usd-per-hour")
    if arguments.offer is None:
        return Priced(usd_per_hour=Missing("usd_per_hour", "give --usd-per-hour or --offer"))
    offers = PriceBook.shipped().offers
    offer = offers.get(arguments.offer)
    if offer is None:
        close = nearest(arguments.offer, offers)
        reader.wrong(
            "offer", f"no offer '{arguments.offer}'" + (f"; did you mean {', '.join(close)}?" if close else "")
        )
        return Priced(usd_per_hour=Missing("usd_per_hour", "no such offer"))
    kind, gpus = CapacityType(arguments.capacity_type), arguments.gpus or offer.gpu_count
    usd = offer.usd_per_gpu_hour.get(kind)
    if usd is None:
        reader.wrong("capacity_type", f"{arguments.offer} has no {kind} list price; give --usd-per-hour")
        return Priced(usd_per_hour=Missing("usd_per_hour", "no list price"))
    source = f"price book: {arguments.offer} {kind}, {gpus} x {offer.gpu} at ${usd:.4f} a GPU-hour, as of {offer.as_of}"
    return Priced(usd_per_hour=usd * gpus, source=source)


def _numbers(text: str) -> Numbers:
    """Comma-separated numbers above zero."""
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = ()
    if not found or not all(isfinite(one) and one > 0 for one in found):
        raise ValueError(f"expected numbers above 0, such as 1,2,4, found '{text}'")
    return found


def _whole_numbers(text: str) -> Numbers:
    found = _numbers(text)
    if any(one != int(one) for one in found):
        raise ValueError(f"expected whole numbers, such as 1,2,4, found '{text}'")
    return found


def _one_number(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = nan
    if not (isfinite(found) and found > 0):
        raise ValueError(f"expected a number above 0, such as 4, found '{text}'")
    return found


def _spread(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found <= 5:
        raise ValueError(f"expected standard deviation / mean of the lengths, from 0 to 5, found '{text}'")
    return found


def _duration(text: str) -> float:
    found = duration_s(text)
    if found <= 0:
        raise ValueError(f"expected more than no time, found '{text}'")
    return found


def _variable(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise ValueError(f"the environment has no variable '{name}', or an empty one")
    return value
