"""How senders may name what is in the fleet file."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping
from typing import TypeVar

from controller.attribute.batch import Place
from controller.facts.fleet import Fleet, StaticTargets
from controller.usage.directory import Directory, plain_base

T = TypeVar("T", bound=Hashable)


def directory_of(fleet: Fleet, models: Mapping[str, str]) -> Directory:
    """``models``: service by the model's name in requests, as the user wrote it down; it comes before the fleet's own.

    A model that two services serve names neither; an address that two variants have neither.
    """
    return Directory(
        services={name: tuple(service.variants) for name, service in fleet.services.items()},
        models={**_unshared((one.model.name, one.name) for one in fleet.services.values()), **models},
        bases=_unshared(_bases(fleet)),
    )


def only(directory: Directory, services: Collection[str]) -> Directory:
    """Of ``services`` alone: of others the source is not believed, another one tells of them."""
    return Directory(
        services={name: variants for name, variants in directory.services.items() if name in services},
        models={model: name for model, name in directory.models.items() if name in services},
        bases={base: place for base, place in directory.bases.items() if place[0] in services},
    )


def _bases(fleet: Fleet) -> Iterator[tuple[str, Place]]:
    """Addresses that stand in the file. Those of discovered replicas come and go."""
    for variant in fleet.variants():
        for found in variant.discovery:
            if isinstance(found, StaticTargets):
                for url in found.urls:
                    yield plain_base(url.removesuffix("/metrics")), (variant.service, variant.name)


def _unshared(pairs: Iterable[tuple[str, T]]) -> dict[str, T]:
    """Without the names that stand for two things."""
    found: dict[str, set[T]] = {}
    for name, one in pairs:
        found.setdefault(name, set()).add(one)
    return {name: next(iter(ones)) for name, ones in found.items() if len(ones) == 1}
