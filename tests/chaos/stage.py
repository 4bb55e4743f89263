"""One service, played pass by pass through the real loop, shell, gate, kernel, ledger and actuator, on a clock of our own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from controller.act.gate import StopFile
from controller.aws.interruptions_messages import Told
from controller.clock import ClockWatch
from controller.errors import LedgerError
from controller.facts.budgets import Guard
from controller.facts.decisions import Decision
from controller.facts.fleet import Mode
from controller.facts.missing import Missing
from controller.leader.leadership import Tenure
from controller.loop import Plan, Running, one_pass
from controller.notify.dispatch import Dispatcher
from controller.observe.interruptions import Interruptions
from controller.prices.overrides import Overrides
from controller.prices.pricing import Pricing
from controller.shell import LiveShell
from tests.chaos import story as told
from tests.chaos.accounts import unbalanced
from tests.chaos.books import Books, rows
from tests.chaos.history import Census, Conditions, Done, History, PassSeen
from tests.chaos.leading import Leading
from tests.chaos.numbered import Actuating, Again, NumberedLedger, NumberedShell
from tests.chaos.platforms.base import DRAIN_TIMEOUT_S, USD_PER_HOUR, Platform, Provider
from tests.chaos.service import fleet_of, policy
from tests.chaos.story import Event, Story
from tests.chaos.tape import Died, Tape
from tests.chaos.watching import Watching

LONGEST_RECOVERY = 60
"""Passes. Longer than any deadline of a story takes, one after the other."""

FINISH_PASSES = 2
"""So long requests go on where nothing new is sent to."""

WARM_PASSES = 3
"""Before the story: every signal has been live for the whole window."""

QUIET_PASSES = 3
"""So many passes in which nothing moves, and it is as it should be: it will stay so."""

UNSETTLED = "SELECT decision_id FROM action WHERE decision_id NOT IN (SELECT decision_id FROM outcome)"

BY_OTHERS = frozenset({Event.NOTICE, Event.HINT, Event.OPERATOR, Event.OWNED, Event.FREE, Event.KEPT, Event.UNKEPT})


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """What is wrong for a while, from a pass on.

    jump_s   the daemon's clock is set by so much, for good
    deaf_to  of this kind of things nothing is heard
    """

    name: str
    since: int
    passes: int = 0
    jump_s: float = 0.0
    deaf_to: str = ""


class Stage:
    """One cell. ``books``: where its ledger comes from."""

    def __init__(
        self, made: Story, platform: Platform, tape: Tape, folder: Path, books: Books, weather: Weather | None = None
    ) -> None:
        self.story, self.platform, self.tape, self.folder, self.weather = made, platform, tape, folder, weather
        self.books, self.url = books, books.fresh(folder)
        self.history = History()
        self.conditions = Conditions(load=made.load(0))
        self.life, self.number, self.skew_s = 0, 0, 0.0
        self.acting: Decision | None = None
        self.quiet = 0
        self._drained: dict[str, int] = {}
        self._overdue: tuple[int, set[str]] = 0, set()
        """Who drained when the clock was set ahead, and in which life: later ones know only that by it the time for that
        was over."""
        self.stop_file = folder / "stop"
        self.interruptions = Interruptions()
        variant = platform.begin(made.starts)
        self.variant = variant
        self._fleets = {priced: fleet_of(variant, USD_PER_HOUR if priced else None) for priced in (True, False)}
        self.plan = Plan(
            fleet=self._fleets[True],
            policies={"chat": policy()},
            mode=Mode.ACT,
            interval_s=told.INTERVAL_S,
            rate_window_s=60.0,
        )
        self.shell: NumberedShell | None = None
        self.running = Running()

    # --- a daemon ------------------------------------------------------------------------------------------------------

    @property
    def now(self) -> datetime:
        """As the daemon's clock has it."""
        return self.platform.now + timedelta(seconds=self.skew_s)

    def _start(self) -> None:
        """A daemon that knows what the ledger and the platform say. Raises LedgerError."""
        books = self.books
        ledger = NumberedLedger(self.url, self.tape, lambda connection: books.sicken(connection, self.conditions.ill))
        try:
            ledger.claim()
            leading = Leading(ledger.enter_next(f"life-{self.life}", self.now).epoch)
            self._dispatcher = Dispatcher({})
            live = LiveShell(
                self.plan.fleet,
                observer=Watching(self.platform.targets, lambda: self.conditions),  # type: ignore[arg-type]
                pricing=Pricing(sources=(Overrides(),)),
                actuators={self.variant.actuator: self._actuating()},  # type: ignore[dict-item]
                ledger=ledger,
                dispatcher=self._dispatcher,
                tenure=Tenure(leading.epoch, leading),
                guards=self._guards,
            )
            live.watching(ClockWatch(lambda: self.platform.now.timestamp()))
            live.stopped_by(StopFile(path=self.stop_file))
            live.heeding(self.interruptions)
            running = live.restore(self.now, lambda *_: ())
        except BaseException:
            ledger.close()
            raise
        self.life += 1
        self.tape.depose = leading.lose
        self.ledger, self.shell, self.running = ledger, NumberedShell(live, self.tape), running

    def _actuating(self) -> Actuating:
        def acting(decision: Decision | None) -> None:
            self.acting = decision

        return Actuating(self.platform.actuator(), self.tape, acting)

    def _throw_away(self) -> None:
        """As the kernel does after a kill: connections and locks are gone, nothing else happens. Whoever is started next
        leads, also after one that was killed when it had lost the lead."""
        self.tape.deposed = None
        if self.shell is None:
            return
        self.shell.live._observer.close()
        self._dispatcher.close(0.0)
        self.ledger.close()
        self.shell = None

    def _guards(self) -> Mapping[str, tuple[Guard, ...]]:
        if not self.conditions.refused:
            return {}
        return {"chat": (Guard(service="chat", budget="month", why="the month is spent", refuse_growth=True),)}

    # --- its time ------------------------------------------------------------------------------------------------------

    def play(self) -> History:
        """The story with its faults, and what comes after until all is quiet."""
        for _ in range(WARM_PASSES):
            self._pass()
        self.tape.rolling = True
        for made in range(self.story.passes):
            self.tape.made = made
            self._befall(made)
            self._pass()
            self._rests(nothing_comes=self._is_over(made))
            if self.quiet == QUIET_PASSES:
                break
        self.tape.rolling = False
        self._over()
        for _ in range(LONGEST_RECOVERY):
            if self.quiet == QUIET_PASSES:
                break
            self._pass()
            self._rests(nothing_comes=True)
        self._throw_away()  # who settles shares its engines
        self._audit()
        return self.history

    def _rests(self, *, nothing_comes: bool) -> None:
        """Count the passes in which nothing moves, and it is as it should be."""
        last = self.history.passes[-1]
        moved = any(not one.holds for one in last.decisions) or last.before != last.after or self.shell is None
        leaving = any(one.leaving for one in last.after.members.values())
        rests = nothing_comes and not moved and not leaving and last.after.serving in self.story.ends
        self.quiet = self.quiet + 1 if rests else 0

    def _is_over(self, made: int) -> bool:
        """Whether all that was to go wrong did, and nothing of the story is left. A recording is played to its end."""
        weather = self.weather
        said = self.conditions
        if self.tape.since is None or made < self.story.settles or said.ill or said.away or said.deaf_to:
            return False
        return self.tape.is_done and (weather is None or made >= weather.since + weather.passes)

    def _befall(self, made: int) -> None:
        self.conditions = replace(self.conditions, load=self.story.load(made), foreign=None, jump_s=0.0)
        for one in self.story.at(made):
            self._happen(one)
        weather = self.weather
        if weather is None:
            return
        if made == weather.since:
            self.tape.disturb()
        on = weather.since <= made < weather.since + weather.passes
        if weather.name == "away" and on is not self.conditions.away:
            self.conditions = replace(self.conditions, away=on)
            self.platform.away(on)
        deaf_to = weather.deaf_to if on else ""
        if deaf_to != self.conditions.deaf_to:
            self.conditions = replace(self.conditions, deaf_to=deaf_to)
            self.platform.deaf(deaf_to)
        if weather.name in self.books.ills:
            self.conditions = replace(self.conditions, ill=weather.name if on else "")
        if weather.jump_s and made == weather.since:
            self.conditions = replace(self.conditions, jump_s=weather.jump_s)
            self.skew_s += weather.jump_s

    def _over(self) -> None:
        """Faults end with the story; so does all that befell it."""
        self.conditions = replace(
            self.conditions, load=self.story.load(self.story.passes), foreign=None, ill="", jump_s=0.0
        )
        if self.conditions.away:
            self.conditions = replace(self.conditions, away=False)
            self.platform.away(False)
        if self.conditions.deaf_to:
            self.conditions = replace(self.conditions, deaf_to="")
            self.platform.deaf("")

    def _happen(self, one: Event) -> None:
        change: dict[str, Any] = {}
        if one is Event.LOSE:
            self.history.lost.append((self.number, self.platform.lose()))
            self.history.ended_in_order = self.platform.ends_in_order
        elif one in BY_OTHERS:
            assert isinstance(self.platform, Provider), self.platform.name
            change |= self._by_others(one, self.platform)
        elif one in (Event.UP, Event.DOWN):
            self.platform.comes_up = one is Event.UP
        elif one in (Event.STOP, Event.GO):
            self._stop(one is Event.STOP)
            change["stopped"] = one is Event.STOP
        elif one in (Event.BLIND, Event.SIGHT):
            change["readable"] = one is Event.SIGHT
        elif one in (Event.BUDGET, Event.FUNDED):
            change["refused"] = one is Event.BUDGET
        else:
            change["priced"] = one is Event.PRICED
        self.conditions = replace(self.conditions, **change)

    def _by_others(self, one: Event, platform: Provider) -> dict[str, Any]:
        if one is Event.OPERATOR:
            platform.set_by_operator(told.OPERATORS)
            return {"foreign": told.OPERATORS}
        if one in (Event.OWNED, Event.FREE):
            platform.own_by_other(one is Event.OWNED)
            return {"owned": one is Event.OWNED}
        if one in (Event.KEPT, Event.UNKEPT):
            kept = told.KEPT if one is Event.KEPT else 0
            platform.keep(kept)
            return {"kept": kept}
        for notice in platform.announce(120.0, hint=one is Event.HINT):
            self.announce(notice)
        return {}

    def announce(self, notice: Any) -> None:
        self.interruptions.heard("test")(Told(notices=(notice,)), self.now)

    def _stop(self, on: bool) -> None:
        if on:
            self.stop_file.write_text("the chaos tests said so\n", encoding="utf-8")
        else:
            self.stop_file.unlink()

    def _pass(self) -> None:
        """One interval: the world goes on, then a pass of whoever lives; who was killed is started anew for it."""
        noticed = {name for name, one in self.platform.census().members.items() if one.noticed}
        self.platform.step(told.INTERVAL_S)
        before = self.platform.census()
        said = self.conditions
        if (said.away or said.ill or said.deaf_to) and noticed - set(before.members):
            self.history.replaced.append(self.number)
        seen: dict[str, Any] = {}
        died, again, failed = False, None, ""
        try:
            if self.shell is None:
                self._start()
            assert self.shell is not None
            seen = self.shell.seen = {}
            running = self.running
            _, self.running = one_pass(self._priced(self.shell), self.plan, running, self.now)
            again = self._again(seen, running) if self._is_new else None
            if self.tape.deposed is not None:  # who leads now is the next life; what is left of this one is looked at
                died = True
                self._throw_away()
        except Died:
            died = True
            self._throw_away()
        except LedgerError as error:  # at its start: it ends, and whoever watches over it starts it again
            failed = "" if self.shell is None else str(error)
        except Exception as error:  # the daemon logs it and goes on with the next one
            failed = f"{type(error).__name__}: {error}"
        after = self.platform.census()
        self._collect(before, after)
        self._record(seen, before=before, after=after, again=again, died=died, failed=failed)
        self.platform.busy = self._work(after)
        self.number += 1

    def _priced(self, shell: NumberedShell) -> Any:
        """Without prices where the story has none."""
        shell.live._fleet = fleet = self._fleets[self.conditions.priced]
        if self.plan.fleet is not fleet:
            self.plan = replace(self.plan, fleet=fleet)
        return shell

    @property
    def _is_new(self) -> bool:
        """Not what the recording was up to here."""
        return self.tape.since is not None or (self.tape.strike is None and self.weather is None)

    def _again(self, seen: Mapping[str, Any], running: Running) -> tuple[Decision, ...] | None:
        if "observe" not in seen or "stops" not in seen:
            return None
        return one_pass(Again(seen), self.plan, running, self.now)[0].decisions  # type: ignore[arg-type]

    def _collect(self, before: Census, after: Census) -> None:
        """Who ended by our hand, and whether anybody was served there."""
        if self.conditions.jump_s > DRAIN_TIMEOUT_S:
            self._overdue = self.life, {name for name, one in before.members.items() if one.leaving}
        life, overdue = self._overdue
        lost = {name for _, name in self.history.lost} | (overdue if self.life > life else set())
        for name, one in before.members.items():
            if one.busy and name not in after.members and name not in lost and not one.noticed:
                self.history.ended_busy.append((self.number, name))

    def mark(self, what: str, by: int) -> None:
        """A change of the platform, told by it when it is done."""
        decision = self.acting
        intended = decision is not None and self._intended(decision.id)
        self.history.done.append(Done(made=self.number, what=what, by=by, decision=decision, intended=intended))

    def _intended(self, decision: str) -> bool:
        return bool(rows(self.url, "SELECT 1 FROM action WHERE decision_id = :id", id=decision))

    def _record(self, seen: Mapping[str, Any], **told: Any) -> None:
        result, observation, decisions = seen.get("result"), seen.get("observe"), seen.get("decisions", ())
        read = observation is not None and not any(isinstance(one, Missing) for one in observation.engines.values())
        moves = [one for one in decisions if not one.holds]
        self.history.passes.append(
            PassSeen(
                number=self.number,
                at=self.platform.now,
                life=self.life,
                conditions=self.conditions,
                decisions=decisions,
                outcomes=result.outcomes if result is not None else (),
                problems=result.problems if result is not None else (),
                all_read=read,
                recorded=bool(moves) and self._intended(moves[0].id),
                **told,
            )
        )

    def _work(self, after: Census) -> set[str]:
        """Requests run wherever routers send them; who drains has finished them some passes later."""
        urls = self.platform.targets()
        drained = {name: self._drained.get(name, 0) + 1 for name, one in after.members.items() if one.leaving}
        self._drained = drained
        work = {name for name, one in after.members.items() if one.ready and drained.get(name, 0) <= FINISH_PASSES}
        return {urls[name] for name in work if name in urls}

    # --- at the end ----------------------------------------------------------------------------------------------------

    def _audit(self) -> None:
        self.history.final = self.platform.census()
        self.history.after_lead = tuple(
            f"{one.label} of pass {one.made}" for one in self.tape.after if self.platform.acts(one.label)
        )
        self.history.strays = self.platform.strays()
        self.history.unsettled = tuple(one.decision_id for one in rows(self.url, UNSETTLED))
        self.history.unbalanced = unbalanced(self.url)

    def close(self) -> None:
        self._throw_away()
        self.platform.close()
