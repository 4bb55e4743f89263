"""What a fleet file's plain data tell, however wrong its shape is elsewhere: what it names, and what no shape can know.

Whatever has the wrong shape is passed over here, for the shape tells it.
"""

from __future__ import annotations

import glob
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from controller.documents import Document, Place, nearest, otherwise
from controller.errors import Problem
from controller.facts.fleet import CapacityType, Mode
from controller.facts.performance import StepModel
from controller.facts.profile import Profile, StepFit
from controller.quantities import duration_s
from controller.settings.safety_shapes import strange_services
from controller.settings.shapes import FleetShape, ProcessShape, ScrapeShape, SlackShape
from controller.settings.values import ledger_url

MODE_VARIABLE = "PENNYWEIGHT_MODE"
LEDGER_VARIABLE = "PENNYWEIGHT_LEDGER"

WRITING = ("process", "systemd", "aws_asg")
"""Actuators that write a targets file, so that metrics are found without `scrape`."""


TELLING = (*WRITING, "kubernetes")
"""Actuators that tell where their engines are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """What a fleet file is judged by beside itself.

    folder     where its relative paths begin
    offers     names of the price book; None: not known
    measured   its engines will be scraped; a rehearsal scrapes none
    works      the process does the fleet's work and needs its secrets; who only asks, or stops it, needs none
    """

    folder: Path
    environ: Mapping[str, str]
    offers: Collection[str] | None = None
    measured: bool = True
    works: bool = True


class Told(NamedTuple):
    """A mistake and where it stands."""

    place: Place
    message: str


class Block(NamedTuple):
    """One variant's block."""

    service: str
    name: str
    place: Place
    data: Mapping[str, Any]


# --- what it names ---------------------------------------------------------------------------------------------------


def services_in(document: Document) -> dict[str, tuple[str, ...]]:
    """The names of its services, and of the variants of each."""
    services = mapping(document.data.get("services"))
    return {name: tuple(mapping(mapping(one).get("variants"))) for name, one in services.items()}


def asked_providers(data: Mapping[str, Any]) -> set[str]:
    """The providers that are asked for prices: "aws" for aws_spot. They may sell what the price book does not know."""
    sources = mapping(mapping(data.get("account")).get("prices")).get("sources")
    return {name.partition("_")[0] for name in _texts(sources)}


def is_sold(offer: str, offers: Collection[str], asked: Collection[str]) -> bool:
    """Whether somebody may know its price: provider/region/instance_type."""
    return offer in offers or (offer.partition("/")[0] in asked and offer.count("/") == 2)


def policy_files(document: Document, folder: Path) -> tuple[Path, ...]:
    """The files that its globs find, tests left out."""
    patterns = _texts(document.data.get("policies", _usual(FleetShape, "policies")))
    found = {Path(path) for text in patterns for path in glob.glob(from_folder(folder, text), recursive=True)}
    return tuple(sorted(path for path in found if path.is_file() and not path.name.endswith(".test.yaml")))


def from_folder(folder: Path, pattern: str) -> str:
    """A glob that starts at ``folder``, whatever characters are in its own name."""
    return str(Path(glob.escape(str(folder))) / pattern)


def targets_file(directory: str, service: str, variant: str) -> str:
    """What an actuator writes of one variant."""
    return f"{directory}/{'-'.join(quote(part, safe='') for part in (service, variant))}.targets.json"


def step_of(folder: Path, name: str) -> StepModel:
    """The step model of the profile in the file ``name``. Raises ValueError."""
    try:
        fit = Profile.from_json((folder / name).read_text(encoding="utf-8")).fit
    except FileNotFoundError as error:
        raise ValueError(f"there is no file '{name}'; `pennyweight profile URL --out {name}` writes one") from error
    except (OSError, ValueError) as error:
        raise ValueError(f"'{name}' cannot be read as a profile: {error}") from error
    if isinstance(fit, StepFit):
        return fit.step
    raise ValueError(f"'{name}' has no step model ({fit.why}); profile with more loads, or leave it out")


# --- what no shape can know ------------------------------------------------------------------------------------------


def mistakes_in(document: Document, around: Around) -> list[Problem]:
    """All of them."""
    blocks, asked = list(variant_blocks(document.data)), asked_providers(document.data)
    told = [*_of_file(document.data, around), *(one for block in blocks for one in _of_variant(block, around, asked))]
    return [document.problem(place, message) for place, message in (*told, *_same_targets(blocks, around.folder))]


def _of_file(data: Mapping[str, Any], around: Around) -> Iterator[Told]:
    yield from _environment(around.environ)
    interval, window = (_duration(data.get(key, _usual(FleetShape, key))) for key in ("interval", "rate_window"))
    if interval and window and window < 2 * interval:
        least = f"at least two intervals, {2 * interval:g} s"
        yield Told(("rate_window",), f"must hold two readings: expected {least}, found {window:g} s")
    for index, pattern in enumerate(_texts(data.get("policies"))):
        if not glob.has_magic(pattern) and not (around.folder / pattern).exists():
            yield Told(("policies", index), f"there is no file '{pattern}'")
    yield from (Told(place, message) for place, message in strange_services(data))
    slack = mapping(data.get("notify")).get("slack")
    if isinstance(slack, Mapping):
        name = slack.get("webhook_url_env", _usual(SlackShape, "webhook_url_env"))
        if around.works and isinstance(name, str) and not around.environ.get(name):
            yield Told(
                ("notify", "slack"), f"the environment variable {name} is not set; it holds the webhook's address"
            )


def _environment(environ: Mapping[str, str]) -> Iterator[Told]:
    mode, url = environ.get(MODE_VARIABLE), environ.get(LEDGER_VARIABLE)
    if mode and mode not in set(Mode):
        yield Told(("mode",), f"{MODE_VARIABLE} is '{mode}', expected one of {', '.join(Mode)}")
    if url:
        try:
            ledger_url(url)
        except ValueError as error:
            yield Told(("ledger",), f"{LEDGER_VARIABLE} is wrong: {error}")


def _of_variant(block: Block, around: Around, asked: Collection[str]) -> Iterator[Told]:
    yield from _capacity(block, around.offers, asked)
    profile = block.data.get("profile")
    if isinstance(profile, str):
        try:
            step_of(around.folder, profile)
        except ValueError as error:
            yield Told((*block.place, "profile"), str(error))
    yield from _actuator(block)
    if around.measured and not _readable(block.data):
        message = "no target to read in `scrape`; expected static, file_sd, http_sd, prometheus, kubernetes or aws_asg"
        yield Told((*block.place, *(("scrape",) if "scrape" in block.data else ())), message)


def _capacity(block: Block, offers: Collection[str] | None, asked: Collection[str]) -> Iterator[Told]:
    first: set[str] = set()
    listed = block.data.get("capacity")
    for index, entry in enumerate(listed if isinstance(listed, list) else ()):
        one, place = mapping(entry), (*block.place, "capacity", index)
        kind, offer = one.get("type"), one.get("offer")
        if isinstance(kind, str) and kind in first:
            yield Told((*place, "type"), f"{kind} stands twice; one entry a capacity type")
        first |= {kind} if isinstance(kind, str) else set()
        if kind == CapacityType.RESERVED and one.get("replicas") is None:
            yield Told(place, "reserved capacity needs `replicas`: how many are paid for")
        own = "usd_per_gpu_hour" in one or "commitment" in one
        if isinstance(offer, str) and offers is not None and not own and not is_sold(offer, offers, asked):
            message = f"the price book has no offer '{offer}'{nearest(offer, offers)}"
            yield Told((*place, "offer"), otherwise(message, "give your own usd_per_gpu_hour"))
        node, gpus = one.get("node_gpus"), block.data.get("gpus_per_replica")
        if isinstance(node, int) and isinstance(gpus, int) and 0 < node < gpus:
            yield Told((*place, "node_gpus"), f"a node holds a replica: expected at least {gpus} GPUs, found {node}")


def _actuator(block: Block) -> Iterator[Told]:
    chosen = block.data.get("actuator")
    if not isinstance(chosen, Mapping):
        return
    place = (*block.place, "actuator")
    if len(chosen) != 1:
        yield Told(place, f"expected exactly one actuator, found {len(chosen)}: {', '.join(chosen) or 'none'}")
    for name in [name for name, options in chosen.items() if options is None][:1]:
        yield Told(place, f"'{name}' stands without options; where it needs none, write {name}: {{}}")


def _readable(data: Mapping[str, Any]) -> bool:
    """Whether metrics can be found; also where the shape tells what is wrong with the way to them."""
    actuator, scrape = data.get("actuator", {}), data.get("scrape")
    if not isinstance(actuator, Mapping) or any(name in actuator for name in TELLING):
        return True
    if scrape is None:
        return False
    return not isinstance(scrape, Mapping) or any(scrape.get(way) for way in ScrapeShape.model_fields)


def _same_targets(blocks: Collection[Block], folder: Path) -> Iterator[Told]:
    first: dict[str, Block] = {}
    for block in blocks:
        for kind, options in mapping(block.data.get("actuator")).items():
            directory = mapping(options).get("directory", _usual(ProcessShape, "directory"))
            if kind in WRITING and isinstance(directory, str):
                file = targets_file(str(folder / directory), block.service, block.name)
                other = first.setdefault(file, block)
                if other is not block:
                    same = f"writes the same targets file as {other.service}/{other.name}"
                    yield Told((*block.place, "actuator", kind), f"{same}; give it a `directory` of its own")


# --- plain data ------------------------------------------------------------------------------------------------------


def variant_blocks(data: Mapping[str, Any]) -> Iterator[Block]:
    """Every variant's."""
    for service, one in mapping(data.get("services")).items():
        for name, block in mapping(mapping(one).get("variants")).items():
            if isinstance(block, Mapping):
                yield Block(service, name, ("services", service, "variants", name), block)


def mapping(value: object) -> Mapping[str, Any]:
    """``value``, or nothing where it is no block."""
    return value if isinstance(value, Mapping) else {}


def _texts(value: object) -> list[str]:
    """The texts of a list up to the first thing that is none, which the shape tells."""
    many = value if isinstance(value, list | tuple) else ()
    return list(takewhile(lambda one: isinstance(one, str), many))


def _duration(value: object) -> float | None:
    """Seconds; the usual ones are seconds already."""
    if isinstance(value, float):
        return value
    try:
        return duration_s(value)
    except ValueError:
        return None


def _usual(shape: type[FleetShape | SlackShape | ProcessShape], key: str) -> Any:
    return shape.model_fields[key].default
