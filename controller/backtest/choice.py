"""Which variants may be rented in a rehearsal, and in which ways; and what may go wrong with what was rented."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from controller.backtest.engines import Engine, believed
from controller.backtest.ground import Ground, Priced
from controller.decide.rules import ServicePolicy
from controller.documents import sentence
from controller.errors import ConfigError, Problem
from controller.facts.fleet import Capacity, CapacityType, Fleet, Service, Variant
from controller.facts.missing import Missing
from controller.facts.prices import Price
from controller.prices.resolve import resolve
from controller.simulate.buying import Kind, Lot
from controller.simulate.startup import StartUp
from controller.simulate.world import Case
from controller.wiring import PRICES

ORDINARY = (CapacityType.RESERVED, CapacityType.ON_DEMAND)
"""What others than our policy buy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One way of buying a variant, with its price."""

    capacity: Capacity
    price: Price

    @property
    def plain(self) -> bool:
        return self.capacity.type is CapacityType.ON_DEMAND and self.capacity.replicas is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wares:
    """One variant of the fleet and the ways of buying it, the first filled first."""

    variant: Variant
    offers: tuple[Offer, ...]

    @property
    def told(self) -> str:
        """The price of a replica and hour, by way of buying."""
        gpus = self.variant.gpus_per_replica
        return ", ".join(f"{_ways(one)} ${one.price.usd_per_gpu_hour * gpus:.2f}" for one in self.offers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rig:
    """One variant as it is simulated."""

    wares: Wares
    engine: Engine
    start_up: StartUp

    @property
    def kind(self) -> Kind:
        variant = self.wares.variant
        lots = tuple(
            Lot(
                type=one.capacity.type,
                usd_per_replica_hour=one.price.usd_per_gpu_hour * variant.gpus_per_replica,
                replicas=one.capacity.replicas,
            )
            for one in self.wares.offers
        )
        return Kind(
            name=variant.name,
            spec=self.engine.spec,
            start_up=self.start_up,
            lots=lots,
            gpus_per_replica=variant.gpus_per_replica,
        )

    @property
    def variant(self) -> Variant:
        """As the policy's fleet file would have it, with its engine's settings and a first belief of its speed."""
        spec = self.engine.spec
        return replace(
            self.wares.variant,
            capacity=tuple(
                replace(one.capacity, usd_per_gpu_hour=one.price.usd_per_gpu_hour) for one in self.wares.offers
            ),
            start_up_s=self.wares.variant.start_up_s or self.start_up.median_s,
            step=believed(spec.step),
            token_budget=spec.token_budget,
            max_sequences=spec.max_sequences,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rented:
    """What may be rented. ``price``: of a GPU of the first rig, for whoever buys on demand."""

    ground: Ground
    price: Price
    rigs: tuple[Rig, ...]

    @property
    def first(self) -> Rig:
        return self.rigs[0]

    @property
    def usd_per_replica_hour(self) -> float:
        return self.price.usd_per_gpu_hour * self.ground.variant.gpus_per_replica

    @property
    def plain(self) -> bool:
        """One variant, bought on demand, as many as anybody wants."""
        return plain([rig.wares for rig in self.rigs])

    @property
    def price_told(self) -> str:
        if not self.plain:
            wares = "; ".join(f"{rig.variant.name} {rig.wares.told}" for rig in self.rigs)
            return f"a replica and hour of {wares}; billed by the second"
        gpus, usd = self.ground.variant.gpus_per_replica, self.price.usd_per_gpu_hour
        of = f" ({gpus} GPUs at ${usd:.2f})" if gpus > 1 else ""
        return f"${usd * gpus:.2f} per replica and hour{of}, billed by the second; {self.price.source}"

    @property
    def replica_told(self) -> str:
        return " or ".join(self._told(rig) for rig in self.rigs)

    @property
    def engine_told(self) -> str:
        if len(self.rigs) == 1:
            return f"{self.first.engine.told}; {self.first.engine.settings}"
        return "; ".join(f"{rig.variant.name}: {rig.engine.told}, {rig.engine.settings}" for rig in self.rigs)

    def _told(self, rig: Rig) -> str:
        variant = rig.variant
        kv = "" if variant.kv_cache_dtype == "auto" else f", KV cache in {variant.kv_cache_dtype}"
        gpus = f"{variant.gpus_per_replica} x {variant.gpu.name}"
        return f"{self.ground.model.name} in {variant.quantization}{kv} on {gpus}"


def plain(wares: Sequence[Wares]) -> bool:
    """One variant, bought on demand, as many as anybody wants."""
    return len(wares) == 1 and all(one.plain for one in wares[0].offers)


def fleet_of(ground: Ground, rigs: Sequence[Rig]) -> Fleet:
    """Nothing else exists in a rehearsal."""
    variants = {rig.variant.name: rig.variant for rig in rigs}
    service = Service(name=ground.service, model=ground.model, variants=variants)
    return Fleet(services={ground.service: service})


# --- what is for sale ------------------------------------------------------------------------------------------------


def wares_of(
    ground: Ground, price: Price, asked: Priced, policies: Sequence[ServicePolicy], now: datetime
) -> tuple[Wares, ...]:
    """The first variant first. A price that was given in options is that of the only way of buying it, on demand; else
    all that the fleet file has for the service and that a policy may buy, or that is paid for anyway. Raises
    ConfigError with every price that is not known."""
    if asked.usd_per_gpu_hour is not None or asked.offer is not None or not ground.variant.capacity:
        only = Offer(capacity=Capacity(type=CapacityType.ON_DEMAND), price=price)
        return (Wares(variant=ground.variant, offers=(only,)),)
    problems: list[Problem] = []
    wanted = (ground.variant, *wanted_others(ground, policies))
    found = [_wares(variant, ground, policies, now, problems) for variant in wanted]
    if not found[0].offers and not problems:
        ways = " or ".join(str(one.type) for one in ground.variant.capacity)
        message = (
            f"no policy may buy {ground.variant.name} as the fleet file has it ({ways}); take another with --variant"
        )
        problems.append(Problem(ground.variant.name, 0, 0, "", message))
    if problems:
        raise ConfigError(problems)
    return tuple(one for one in found if one.offers)


def _wares(
    variant: Variant, ground: Ground, policies: Sequence[ServicePolicy], now: datetime, problems: list[Problem]
) -> Wares:
    bought = tuple(one for one in variant.capacity if _wanted(variant, one, policies))
    priced = replace(variant, capacity=bought)
    service = Service(name=ground.service, model=ground.model, variants={variant.name: priced})
    prices = resolve(Fleet(services={ground.service: service}), [make() for make in PRICES.values()], now)
    offers = []
    for capacity in bought:
        price = prices[variant.service, variant.name, capacity.type]
        if isinstance(price, Missing):
            how = f"Give usd_per_gpu_hour in the fleet file, or leave others out with --variant {ground.variant.name}"
            problems.append(Problem("price", 0, 0, "", f"{sentence(str(price))} {how}"))
        else:
            offers.append(Offer(capacity=capacity, price=price))
    return Wares(variant=variant, offers=tuple(offers))


def _wanted(variant: Variant, capacity: Capacity, policies: Iterable[ServicePolicy]) -> bool:
    committed = capacity.type is CapacityType.RESERVED and capacity.replicas
    return bool(committed) or any(capacity.type in bought_by(policy, variant.name) for policy in policies)


def wanted_others(ground: Ground, policies: Sequence[ServicePolicy]) -> tuple[Variant, ...]:
    """Beside the first variant: those that a policy names, or all where one names none."""
    return tuple(one for one in ground.others if any(_names(policy, one) for policy in policies))


def _names(policy: ServicePolicy, variant: Variant) -> bool:
    return not policy.variants or any(rule.name == variant.name for rule in policy.variants)


def _ways(one: Offer) -> str:
    kind = str(one.capacity.type).replace("_", " ")
    if one.capacity.replicas is None:
        return kind
    paid = " paid for, used or not" if one.capacity.type is CapacityType.RESERVED else " at most"
    return f"{kind} ({one.capacity.replicas}{paid})"


# --- who may buy what ------------------------------------------------------------------------------------------------


def bought_by(policy: ServicePolicy, variant: str) -> frozenset[CapacityType]:
    """How the policy lets a variant be bought; empty: not at all."""
    rule = next((rule for rule in policy.variants if rule.name == variant), None)
    if policy.variants and rule is None:
        return frozenset()
    types = frozenset(CapacityType if rule is None or rule.capacity_types is None else rule.capacity_types)
    return types if policy.spot_allowed else types - {CapacityType.SPOT}


def case_for(case: Case, policy: ServicePolicy) -> Case:
    """What the policy does not allow is closed."""
    return replace(case, kinds=tuple(kind.only(bought_by(policy, kind.name)) for kind in case.kinds))


def case_for_others(case: Case) -> Case:
    """One variant, as other autoscalers know it: the first one's reserved capacity, then on demand without bound.
    What else is reserved is paid for by everybody."""
    if not case.kinds:
        return case
    first, *others = case.kinds
    on_demand = Lot(type=CapacityType.ON_DEMAND, usd_per_replica_hour=case.usd_per_replica_hour)
    lots = (*(one for one in first.lots if one.type is CapacityType.RESERVED), on_demand)
    return replace(case, kinds=(replace(first, lots=lots), *(kind.only(()) for kind in others)))
