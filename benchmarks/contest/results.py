"""What is kept of every run: one line of JSON, so that an interrupted contest goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from benchmarks.contest.cases import Ground
from benchmarks.contest.frontier import Point
from controller.backtest.run import OURS, Entrant
from controller.facts.missing import Missing
from controller.simulate.score import Number, RunScore

CONTROLLER = Path(__file__).parent.parent.parent / "controller"
SHARED = (
    *("simulate", "catalog", "backtest/run.py", "backtest/ground.py", "backtest/engines.py", "backtest/fits.csv"),
    *("backtest/speculation.py", "../benchmarks/contest/cases.py"),
)
"""Files and folders on which every run hangs."""

ONLY_OURS = (
    *("facts", "errors.py", "estimate", "decide", "safety", "screening.py", "outside.py", "passlog.py", "loop.py"),
    "backtest/ours.py",
)
"""... and those of our own."""

SCORED = (
    *("hours", "usd", "replica_hours", "requests", "finished", "dropped", "within_slo", "within_ttft", "within_tpot"),
    *("worst_five_minutes_ratio", "ttft_p99_s", "tpot_p99_s", "preemptions", "reversals", "idle_ratio"),
    *("forecast_error_ratio", "pass_s", "wall_s"),
)
"""What of a score is kept as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One run to be made.

    share    of the knob's range; None as documented or shipped
    stress   what goes wrong, a name of stress.STRESSES; "" = nothing
    """

    ground: Ground
    entrant: Entrant
    seed: int
    share: float | None = None
    stress: str = ""

    @property
    def key(self) -> str:
        """Equal for runs that must come out equal."""
        entrant = {
            "name": self.entrant.name,
            "documented": self.entrant.documented,
            "settings": {name: float(f"{value:.9g}") for name, value in self.entrant.settings.items()},
        }
        parts = {"ground": asdict(self.ground), "entrant": entrant, "seed": self.seed, "stress": self.stress}
        return json.dumps(parts, sort_keys=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A run that was made: its task, its score's scalars (None: not known), the code that made it."""

    task: Task
    values: dict[str, float | None]
    code: str

    def __getitem__(self, name: str) -> float:
        value = self.values[name]
        if value is None:
            raise KeyError(f"{name} of {self.task.entrant.name} is not known")
        return value

    def number(self, name: str) -> Number:
        value = self.values.get(name)
        return Missing(name, "this run does not know it") if value is None else value

    @property
    def attainment(self) -> float:
        """A run without requests has kept nothing."""
        return self["within_slo"] / self["requests"] if self["requests"] else 0.0

    @property
    def point(self) -> Point:
        return Point(attainment=self.attainment, usd=self["usd"])

    @property
    def line(self) -> str:
        return json.dumps({**asdict(self.task), "values": self.values, "code": self.code}, sort_keys=True)


def result_of(task: Task, score: RunScore, code: str) -> Result:
    """The scalars of ``score``; its series and its moves are not kept, only how many there were."""
    kept = {name: getattr(score, name) for name in SCORED} | {"moves": len(score.moves)}
    values = {name: None if isinstance(value, Missing) else float(value) for name, value in kept.items()}
    return Result(task=task, values=values, code=code)


def read_line(line: str) -> Result:
    read = json.loads(line)
    task = Task(
        ground=Ground(**read["ground"]),
        entrant=Entrant(**read["entrant"]),
        **{name: read[name] for name in ("seed", "share", "stress")},
    )
    return Result(task=task, values=read["values"], code=read["code"])


class Store:
    """The runs of a file by their tasks. ``any_code``: those that other code made count too."""

    def __init__(self, path: Path, *, any_code: bool = False) -> None:
        self.path = path
        self._results: dict[str, Result] = {}
        self.stale = 0
        for result in _complete_lines(path):
            if any_code or result.code == code_of(result.task.entrant.name):
                self._results[result.task.key] = result
            else:
                self.stale += 1

    def find(self, task: Task) -> Result | None:
        return self._results.get(task.key)

    def add(self, result: Result) -> None:
        """Kept at once, so that nothing is lost when the contest is stopped."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        torn = self.path.exists() and not self.path.read_bytes().endswith(b"\n") and self.path.stat().st_size > 0
        with self.path.open("a", encoding="utf-8") as file:
            file.write(("\n" if torn else "") + result.line + "\n")
        self._results[result.task.key] = result

    @property
    def results(self) -> tuple[Result, ...]:
        return tuple(self._results.values())


def _complete_lines(path: Path) -> Iterable[Result]:
    """All but a line that was cut off when the contest was stopped while writing it."""
    if not path.exists():
        return
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            yield read_line(line)
        except (json.JSONDecodeError, KeyError, TypeError):
            print(f"{path}:{number}: not a complete result; it is run again")


_CODES: dict[bool, str] = {}


def code_of(name: str) -> str:
    """A fingerprint of the code that decides how a run of this controller comes out. Opponents do not change with
    our estimates and decisions."""
    ours = name == OURS
    if ours not in _CODES:
        _CODES[ours] = _fingerprint((*SHARED, *ONLY_OURS) if ours else SHARED)
    return _CODES[ours]


def _fingerprint(places: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for place in places:
        for file in _files(CONTROLLER / place):
            digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def _files(place: Path) -> list[Path]:
    """Code and tables in a folder; a file itself."""
    return sorted(one for one in place.rglob("*") if one.suffix in (".py", ".csv")) if place.is_dir() else [place]


assert set(SCORED) <= {field.name for field in fields(RunScore)}
