"""Parts that are broken on purpose, by changing their text: a matrix that lets one of them pass proves nothing."""

from __future__ import annotations

import importlib
import inspect
import textwrap
from dataclasses import dataclass
from typing import Any

import pytest


@dataclass(frozen=True, slots=True)
class Change:
    """In the source of "module:Class.function", ``old`` becomes ``new``. The module is whose name for it is used."""

    where: str
    old: str
    new: str

    def make(self, patch: pytest.MonkeyPatch) -> None:
        module_name, _, path = self.where.partition(":")
        module = importlib.import_module(module_name)
        *owners, name = path.split(".")
        owner: object = module
        for one in owners:
            owner = getattr(owner, one)
        found = inspect.getattr_static(owner, name)
        plain: Any = found.fget if isinstance(found, property) else found
        source = textwrap.dedent(inspect.getsource(plain))
        if self.old not in source:
            raise LookupError(f"{self.where} has no {self.old!r} any more")
        made: dict[str, object] = {}
        future = "from __future__ import annotations\n"
        exec(compile(future + source.replace(self.old, self.new, 1), self.where, "exec"), plain.__globals__, made)
        patch.setattr(owner, name, made[name])


@dataclass(frozen=True, slots=True)
class Mutation:
    """One. ``cells``: among what of the platform's story it is to be caught, by words of a cell's name; "": already
    where nothing goes wrong."""

    name: str
    changes: tuple[Change, ...]
    platform: str
    story: str
    cells: str = ""

    def make(self, patch: pytest.MonkeyPatch) -> None:
        for one in self.changes:
            one.make(patch)


SHELL, GATE, LOOP = "controller.shell:LiveShell", "controller.act.gate:Gate", "controller.loop"
REPLICAS, MEMORY, KERNEL = "controller.decide.replicas", "controller.decide.memory", "controller.safety.kernel"
CLUSTER, WATCHED = "controller.kubernetes.cluster:Cluster", "controller.kubernetes.watched:Watched"
LIFE, GROUPS = "controller.act.life", "controller.act.aws_asg.actuator"
K8S, COUNT = "controller.act.kubernetes.actuator", "controller.act.kubernetes.count:Standing"

MUTATIONS = (
    Mutation(
        "acts without recording what for",
        (Change(f"{SHELL}.record_intent", "self._ledger.record_intent(record, self._tenure.epoch)", "pass"),),
        "process",
        "grow",
    ),
    Mutation(
        "acts although the ledger took no intent",
        (
            Change(
                f"{SHELL}.record_intent",
                "    self._ledger.record_intent(record, self._tenure.epoch)\n",
                "    try:\n        self._ledger.record_intent(record, self._tenure.epoch)\n    except LedgerError:\n        pass\n",
            ),
        ),
        "process",
        "grow",
        "record the intent:refused",
    ),
    Mutation(
        "does not hear an operator's stop",
        (
            Change(f"{KERNEL}:_held", "if stop is not None:", "if False:"),
            Change(f"{GATE}.held", "if stop is not None else", "if False else"),
        ),
        "process",
        "stopped",
    ),
    Mutation(
        "forgets what is starting, and does not count before it acts",
        (
            Change(
                "controller.decide.situation:VariantSituation.__post_init__",
                "len(self.in_phase(Phase.STARTING, Phase.READY))",
                "len(self.in_phase(Phase.READY))",
            ),
            Change(f"{LIFE}:LivingActuator.apply", "if len(counted) != decision.current:", "if False:"),
        ),
        "process",
        "never up",
    ),
    Mutation(
        "never gives a start up",
        tuple(
            Change(f"controller.decide.{user}:overdue", "now - replica.since > deadline", "False")
            for user in ("memory", "replicas", "plan")
        ),
        "process",
        "never up",
    ),
    Mutation(
        "shrinks right after a restart",
        (Change(f"{REPLICAS}:_blind_to_shrink", "if live_s < window_s:", "if False:"),),
        "process",
        "shrink",
        "killed",
    ),
    Mutation(
        "does not wait for its window",
        (
            Change(
                f"{REPLICAS}:_shrinking",
                "stable = stabilized(judged.limited, current, memory.recommendations, rule.scale_up, rule.scale_down, judged.now)",
                "stable = judged.limited",
            ),
        ),
        "process",
        "shrink",
    ),
    Mutation(
        "shrinks to what cannot carry the load",
        (Change(f"{REPLICAS}:_shrinking", "if safe == current:", "safe = stable\n    if safe == current:"),),
        "process",
        "tight",
    ),
    Mutation(
        "stops engines that still work",
        (
            Change(
                f"{LIFE}_steps:_answers",
                "ask_all(draining, lambda record: idle(record.url))",
                "dict.fromkeys(runs, True)",
            ),
        ),
        "process",
        "shrink",
    ),
    Mutation(
        "goes over max_replicas",
        (
            Change(f"{REPLICAS}:_limited", ", policy.replicas.max_replicas)", ", 100)"),
            Change(
                f"{REPLICAS}:_judged_verdict",
                "min(judged.limited + late + doubtful, rule.max_replicas)",
                "judged.limited",
            ),
        ),
        "process",
        "too much",
    ),
    Mutation(
        "grows whatever the budget says",
        (Change(f"{SHELL}.guards", "return self._guards()", "return {}"),),
        "process",
        "no money, no price",
    ),
    Mutation(
        "leaves what a dead daemon began unsettled",
        (Change(f"{SHELL}.restore", "self._ledger.settle(unknown, self._tenure.epoch)", "pass"),),
        "process",
        "grow",
        "killed",
    ),
    Mutation(
        "forgets outcomes that the ledger did not take",
        (Change(f"{SHELL}.record_outcomes", "self._owed = everything.outcomes[-MOST_OWED:]", "pass"),),
        "process",
        "grow",
        "record the outcomes:refused",
    ),
    Mutation(
        "lets one broken look end the pass",
        (Change(f"{SHELL}._replicas", "except Exception as error:", "except ZeroDivisionError as error:"),),
        "process",
        "shrink",
        "remove state:refused",
    ),
    Mutation(
        "waits for a clock that went back",
        (Change("controller.loop:_on_this_clock", "if memory is running.memory:", "if True:"),),
        "process",
        "grow",
        "clock an hour back",
    ),
    Mutation(
        "ends what drains when the clock is set ahead",
        (Change("controller.clock:ClockWatch.carried", "if at <= due:", "if False:"),),
        "process",
        "shrink",
        "clock an hour ahead",
    ),
    Mutation(
        "forgets an operator's hold when the clock is set ahead",
        (Change("controller.loop:carried_over", "if set_ahead:", "if False:"),),
        "kubernetes",
        "second writer",
        "clock an hour ahead",
    ),
    Mutation(
        "puts its own count over an operator's",
        (
            Change(f"{K8S}:_ours_to_scale", "if why or standing.counted != decision.current:", "if False:"),
            Change(f"{MEMORY}:_foreign", "foreign = foreign or not", "foreign = foreign and not"),
        ),
        "kubernetes",
        "second writer",
    ),
    Mutation(
        "scales what another controller owns",
        (Change(f"{COUNT}.scaler", "if not one.paused", "if False"),),
        "kubernetes",
        "owned",
    ),
    Mutation(
        "raises a count before the lower one was carried out",
        (Change(f"{K8S}:KubernetesActuator._grow", "if ending:", "if False:"),),
        "kubernetes",
        "noticed",
        "away",
    ),
    Mutation(
        "removes pods that still work",
        (Change("controller.act.kubernetes.keep:Keeper._finished", "if answers[one.url]", "if True"),),
        "kubernetes",
        "shrink",
    ),
    Mutation(
        "asks no disruption budget",
        (Change(f"{CLUSTER}.pdbs_over", "if one.selector.matches(pod.labels)", "if False"),),
        "kubernetes watched",
        "kept",
    ),
    Mutation(
        "believes a disruption budget that it no longer hears of",
        (Change(f"{CLUSTER}.pdbs_over", "if trouble := watched.trouble:", "if trouble := '':"),),
        "kubernetes watched",
        "kept",
        "deaf to poddisruptionbudgets",
    ),
    Mutation(
        "does not list anew what was forgotten",
        (Change(f"{WATCHED}._failed", 'self._version = ""', "pass"),),
        "kubernetes watched",
        "there and back",
        "gone",
    ),
    Mutation(
        "goes on in the midst of an action when another daemon leads",
        (Change(f"{GATE}.held", "if self._lead() is None:", "if False:"),),
        "process",
        "grow",
        "deposed",
    ),
    Mutation(
        "does not see that somebody lowered a group's capacity",
        (Change(f"{GROUPS}:roll_of", "unwanted = () if group.rebalances else", "unwanted = () and"),),
        "aws_asg",
        "second writer",
    ),
    Mutation(
        "counts the seconds before a pass twice",
        (Change("controller.loop:replica_uses", "return tuple(uses)", "return tuple(uses) * 2"),),
        "process",
        "grow",
    ),
    Mutation(
        "settles an hour and loses one of its lines",
        (Change("controller.ledger.accounts.lines:insert_lines", "rows.tolist()", "rows.tolist()[1:]"),),
        "process",
        "grow",
    ),
)
