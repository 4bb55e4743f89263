"""What the fleet file says of its variants: what they are, and what their capacity is bought as."""

from __future__ import annotations

from controller.facts.account_reader import Statics, VariantStatics
from controller.facts.accounts import Pool
from controller.facts.commitments import Bought
from controller.facts.fleet import Fleet, Service, Variant


def statics_of(fleet: Fleet) -> Statics:
    """What the fleet file says of the variants that it still has."""
    return Statics(
        variants={
            (service.name, one.name): _statics(service, one)
            for service in fleet.services.values()
            for one in service.variants.values()
        }
    )


def bought_of(fleet: Fleet, pool: Pool) -> Bought:
    """The offer and the commitment behind a pool's replicas; neither, where the fleet file has no such capacity."""
    service = fleet.services.get(pool.service)
    variant = service.variants.get(pool.variant) if service is not None else None
    found = [one for one in (variant.capacity if variant is not None else ()) if one.type is pool.capacity_type]
    return Bought(offer=found[0].offer or "", commitment=found[0].commitment) if found else Bought()


def _statics(service: Service, one: Variant) -> VariantStatics:
    return VariantStatics(
        gpu=one.gpu.name,
        gpus=one.gpus_per_replica,
        model=service.model.name,
        quantization=one.quantization,
        offers={capacity.type: capacity.offer for capacity in one.capacity if capacity.offer},
    )
