"""What may be rented, by whom, and at which price."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from controller.backtest.asked import SpotAsked
from controller.backtest.choice import Offer, Wares, bought_by, case_for, case_for_others, plain, wares_of
from controller.backtest.ground import Ground, Priced
from controller.backtest.perils import market_of
from controller.catalog.load import find_gpu, find_model
from controller.decide.rules import Behaviour, ReplicaRule, ServicePolicy, Targets, VariantRule
from controller.errors import ConfigError
from controller.facts.fleet import Capacity, CapacityType, EngineKind, Variant
from controller.facts.prices import Price
from controller.facts.slo import Slo
from controller.simulate.buying import Kind, Lot
from controller.simulate.spot import SpotDraw
from controller.simulate.startup import StartUp
from controller.simulate.stepmodel import LLAMA_70B_FP8_2XH100
from controller.simulate.world import Case, Judge

RESERVED, ON_DEMAND, SPOT = CapacityType.RESERVED, CapacityType.ON_DEMAND, CapacityType.SPOT
NOW = datetime(2026, 1, 1, tzinfo=UTC)
NOT_SAID = Priced()
PRICE = Price(usd_per_gpu_hour=3.0, capacity_type=ON_DEMAND, source="by hand")


def policy(*rules: VariantRule, spot: bool = False) -> ServicePolicy:
    still = Behaviour(stabilization_s=0.0)
    counts = ReplicaRule(min_replicas=1, max_replicas=4, targets=Targets(), scale_up=still, scale_down=still)
    return ServicePolicy(
        service="chat", source="by hand", slo=Slo(), replicas=counts, variants=rules, spot_allowed=spot
    )


def capacity(kind: CapacityType, usd: float | None = 3.0, replicas: int | None = None, offer: str | None = None) -> Any:
    return Capacity(type=kind, usd_per_gpu_hour=usd, replicas=replicas, offer=offer)


def variant(name: str, *bought: Capacity) -> Variant:
    gpu = find_gpu("H100-SXM")
    assert gpu is not None
    return Variant(
        service="chat",
        name=name,
        gpu=gpu,
        gpus_per_replica=2,
        quantization="fp8",
        kv_cache_dtype="fp8",
        engine=EngineKind.VLLM,
        capacity=bought,
    )


def ground(first: Variant, *others: Variant) -> Ground:
    model = find_model("llama-3.1-70b")
    assert model is not None
    return Ground(service="chat", model=model, variant=first, told="by hand", others=others)


def sold(where: Ground, *policies: ServicePolicy, asked: Priced = NOT_SAID) -> dict[str, list[CapacityType]]:
    found = wares_of(where, PRICE, asked, policies, NOW)
    return {one.variant.name: [offer.capacity.type for offer in one.offers] for one in found}


def case() -> Case:
    """One kind in three ways, and another with something reserved."""
    lots = tuple(
        Lot(type=one, usd_per_replica_hour=usd, replicas=some)
        for one, usd, some in ((SPOT, 2.0, None), (RESERVED, 4.0, 2), (ON_DEMAND, 6.0, 3))
    )
    first = Kind(name="h100", spec=LLAMA_70B_FP8_2XH100, start_up=StartUp.fixed(60.0), lots=lots)
    return Case(
        name="by hand",
        spec=LLAMA_70B_FP8_2XH100,
        start_up=first.start_up,
        judge=Judge(ttft_s=2.0, tpot_s=None),
        usd_per_replica_hour=6.0,
        initial_replicas=1,
        kinds=(first, replace(first, name="l4", lots=lots[1:])),
    )


def opened(some: Case) -> dict[str, list[tuple[CapacityType, int | None]]]:
    return {kind.name: [(one.type, one.replicas) for one in kind.lots if one.open] for kind in some.kinds}


@pytest.mark.parametrize(
    ("rules", "spot", "types"),
    [
        ((), False, {RESERVED, ON_DEMAND}),
        ((), True, {RESERVED, ON_DEMAND, SPOT}),
        ((VariantRule(name="h100"),), True, {RESERVED, ON_DEMAND, SPOT}),
        ((VariantRule(name="h100", capacity_types=(SPOT,)),), True, {SPOT}),
        ((VariantRule(name="h100", capacity_types=(SPOT,)),), False, set()),
        ((VariantRule(name="l4"),), True, set()),
    ],
)
def test_a_policy_says_how_a_variant_may_be_bought(
    rules: tuple[VariantRule, ...], spot: bool, types: set[CapacityType]
) -> None:
    assert bought_by(policy(*rules, spot=spot), "h100") == types


def test_a_fleet_is_sold_as_its_file_says_and_its_policies_allow() -> None:
    where = ground(
        variant("h100", capacity(RESERVED, replicas=2), capacity(SPOT), capacity(ON_DEMAND)),
        variant("l4", capacity(ON_DEMAND)),
        variant("a100", capacity(SPOT)),
    )
    assert sold(where, policy()) == {"h100": [RESERVED, ON_DEMAND], "l4": [ON_DEMAND]}
    assert sold(where, policy(spot=True))["a100"] == [SPOT]
    assert sold(where, policy(VariantRule(name="h100"))) == {"h100": [RESERVED, ON_DEMAND]}
    assert sold(where, policy(VariantRule(name="h100", capacity_types=(SPOT,)), spot=True)) == {
        "h100": [RESERVED, SPOT]
    }, "a commitment is paid for whoever may use it"


def test_a_price_in_options_makes_one_variant_bought_on_demand() -> None:
    where = ground(variant("h100", capacity(RESERVED, replicas=2)), variant("l4", capacity(ON_DEMAND)))
    for asked in (Priced(usd_per_gpu_hour=3.0), Priced(offer="aws/us-east-1/p5.48xlarge")):
        assert sold(where, policy(), asked=asked) == {"h100": [ON_DEMAND]}


def test_every_price_that_is_not_known_is_told() -> None:
    where = ground(variant("h100", capacity(SPOT, None)), variant("l4", capacity(ON_DEMAND, None)))
    with pytest.raises(ConfigError) as error:
        wares_of(where, PRICE, Priced(), [policy(spot=True)], NOW)
    assert ["spot price of chat/h100" in str(error.value), "on_demand price of chat/l4" in str(error.value)] == [
        True,
        True,
    ]


def test_a_first_variant_that_nobody_may_buy_is_a_mistake() -> None:
    where = ground(variant("h100", capacity(SPOT)), variant("l4", capacity(ON_DEMAND)))
    with pytest.raises(ConfigError, match="no policy may buy h100 as the fleet file has it"):
        wares_of(where, PRICE, NOT_SAID, [policy()], NOW)


def test_one_variant_without_bound_on_demand_is_plain() -> None:
    def wares(*bought: Capacity) -> list[Wares]:
        return [Wares(variant=variant("h100"), offers=tuple(Offer(capacity=one, price=PRICE) for one in bought))]

    assert plain(wares(capacity(ON_DEMAND)))
    assert not plain(wares(capacity(ON_DEMAND, replicas=3)))
    assert not plain(wares(capacity(RESERVED), capacity(ON_DEMAND)))
    assert not plain([*wares(capacity(ON_DEMAND)), *wares(capacity(ON_DEMAND))])


def test_a_policy_finds_closed_what_it_may_not_buy() -> None:
    found = case_for(case(), policy(VariantRule(name="h100", capacity_types=(ON_DEMAND,))))
    assert opened(found) == {"h100": [(ON_DEMAND, 3)], "l4": []}
    assert [one.committed for kind in found.kinds for one in kind.lots] == [0, 2, 0, 2, 0]


def test_others_rent_the_first_variant_reserved_before_on_demand() -> None:
    found = case_for_others(case())
    assert opened(found) == {"h100": [(RESERVED, 2), (ON_DEMAND, None)], "l4": []}
    assert sum(one.committed for kind in found.kinds for one in kind.lots) == 4
    assert case_for_others(replace(case(), kinds=())).kinds == ()


@pytest.mark.parametrize(
    ("offer", "zones", "notice_s"),
    [
        ("aws/us-west-2/p5.48xlarge", ["us-west-2a", "us-west-2b", "us-west-2c"], 120.0),
        ("gcp/us-central1/a3-highgpu-8g", ["us-east-2a", "us-east-2b"], 30.0),
        (None, ["us-east-2a", "us-east-2b"], 120.0),
    ],
)
def test_a_market_is_drawn_where_the_offer_is(offer: str | None, zones: list[str], notice_s: float) -> None:
    bought = capacity(SPOT, offer=offer)
    wares = (Wares(variant=variant("h100"), offers=(Offer(capacity=bought, price=PRICE),)),)
    found = market_of(SpotAsked(), wares, [policy(spot=True)], span_s=3600.0)
    assert isinstance(found, SpotDraw)
    assert [zone.name for zone in found.zones] == zones
    assert (found.notice_s, found.seed) == (notice_s, None)
    assert market_of(SpotAsked(), wares, [policy()], span_s=3600.0) is None
