"""What no shape of ``account:`` can know: names that must exist, that stand twice, and secrets that are not set."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from controller.documents import Document, Place, nearest
from controller.errors import Problem
from controller.facts.commitments import CommitmentKind
from controller.settings.plain import Around, Told, asked_providers, is_sold, mapping, services_in, variant_blocks

CHANNELS = ("log", "slack")


def account_mistakes_in(document: Document, around: Around) -> list[Problem]:
    """All of them. Whatever has the wrong shape is passed over, for the shape tells it."""
    account = mapping(document.data.get("account"))
    services = services_in(document)
    channels = CHANNELS if mapping(document.data.get("notify")).get("slack") is not None else CHANNELS[:1]
    told = [
        *_secrets(account, around),
        *_twice(account),
        *_services(account, services),
        *_overlaps(account),
        *_commitments(account, services, around.offers, asked_providers(document.data)),
        *_floors(account),
        *_channels(account, channels),
    ]
    problems = [document.problem(("account", *place), message) for place, message in told]
    return problems + [
        document.problem(place, message) for place, message in _named_commitments(document.data, account)
    ]


def _secrets(account: Mapping[str, Any], around: Around) -> Iterator[Told]:
    """Only who reads the records needs the secrets."""
    for index, token in _listed(mapping(account.get("ingest")).get("tokens")):
        yield from _unset(around, token, "env", "the sender's token", ("ingest", "tokens", index))
    for index, source in _listed(account.get("sources")):
        block = mapping(source.get("litellm"))
        yield from _unset(around, block, "url_env", "the database's address", ("sources", index, "litellm"))


def _unset(around: Around, block: Mapping[str, Any], key: str, what: str, place: Place) -> Iterator[Told]:
    name = block.get(key)
    if around.works and isinstance(name, str) and name and not around.environ.get(name):
        yield Told((*place, key), f"the environment variable {name} is not set; it holds {what}")


def _twice(account: Mapping[str, Any]) -> Iterator[Told]:
    """Records are known by their sender and their ids: tokens and sources share the names."""
    senders = [
        (("ingest", "tokens"), mapping(account.get("ingest")).get("tokens"), "name"),
        (("sources",), account.get("sources"), "name"),
    ]
    yield from _same(senders, "usage records come")
    for key, name in (("budgets", "name"), ("shared", "name"), ("commitments", "id")):
        yield from _same([((key,), account.get(key), name)], f"an entry of {key} stands")


def _same(lists: Sequence[tuple[Place, object, str]], what: str) -> Iterator[Told]:
    first: set[str] = set()
    for place, items, key in lists:
        for index, one in _listed(items):
            name = one.get(key)
            if isinstance(name, str) and name in first:
                yield Told((*place, index, key), f"{what} under the name '{name}' already; give it another")
            first |= {name} if isinstance(name, str) else set()


def _services(account: Mapping[str, Any], services: Mapping[str, Collection[str]]) -> Iterator[Told]:
    """Wherever a service is named."""
    for place, name in _named_services(account):
        if isinstance(name, str) and name not in services:
            yield Told(place, f"the fleet has no service '{name}'{nearest(name, services)}")
    for index, budget in _listed(account.get("budgets")):
        scope, forbid = mapping(budget.get("scope")), mapping(budget.get("forbid"))
        variants = _variants(services, scope.get("service"))
        if isinstance(scope.get("variant"), str) and scope["variant"] not in variants:
            message = f"there is no variant '{scope['variant']}'{nearest(scope['variant'], variants)}"
            yield Told(("budgets", index, "scope", "variant"), message)
        for which, name in enumerate(_texts(forbid.get("variants"))):
            if name not in variants:
                place = ("budgets", index, "forbid", "variants", which)
                yield Told(place, f"there is no variant '{name}'{nearest(name, variants)}")


def _named_services(account: Mapping[str, Any]) -> Iterator[tuple[Place, object]]:
    for name, service in mapping(account.get("models")).items():
        yield ("models", name), service
    for name in mapping(account.get("floors")):
        yield ("floors", name), name
    for key in ("rules", "shared"):
        for index, one in _listed(account.get(key)):
            yield (key, index, "service"), one.get("service")
    for index, one in _listed(account.get("budgets")):
        yield ("budgets", index, "scope", "service"), mapping(one.get("scope")).get("service")
    for key in ("sources", "commitments"):
        for index, one in _listed(account.get(key)):
            for which, name in enumerate(_texts(one.get("services"))):
                yield (key, index, "services", which), name


def _variants(services: Mapping[str, Collection[str]], service: object) -> set[str]:
    return {
        variant for name, variants in services.items() for variant in variants if service is None or name == service
    }


def _overlaps(account: Mapping[str, Any]) -> Iterator[Told]:
    """Two sources of the same requests would count them twice: they know them by ids of their own."""
    sources = list(_listed(account.get("sources")))
    first: dict[str, object] = {}
    for index, source in sources:
        named = _texts(source.get("services"))
        if len(sources) > 1 and not named:
            message = "names no services, and another source stands beside it; requests of both would count twice"
            yield Told(("sources", index), f"{message}: expected `services` in each")
        for which, name in enumerate(named):
            other = first.setdefault(name, source.get("name"))
            if other != source.get("name"):
                message = f"service '{name}' is told by source '{other}' already; its requests would count twice"
                yield Told(("sources", index, "services", which), message)


def _commitments(
    account: Mapping[str, Any],
    services: Mapping[str, Collection[str]],
    offers: Collection[str] | None,
    asked: Collection[str],
) -> Iterator[Told]:
    full = {f"{service}/{variant}" for service, variants in services.items() for variant in variants}
    for index, one in _listed(account.get("commitments")):
        for which, name in enumerate(_texts(one.get("variants"))):
            if name not in full:
                place = ("commitments", index, "variants", which)
                yield Told(place, f"the fleet has no variant '{name}', as service/variant{nearest(name, full)}")
        for which, offer in enumerate(_texts(one.get("offers"))):
            if offers is not None and not is_sold(offer, offers, asked):
                message = f"the price book has no offer '{offer}'{nearest(offer, offers)}"
                yield Told(("commitments", index, "offers", which), message)


def _named_commitments(data: Mapping[str, Any], account: Mapping[str, Any]) -> Iterator[Told]:
    """Capacity that says who pays for it."""
    kinds = {
        one["id"]: one.get("kind") for _, one in _listed(account.get("commitments")) if isinstance(one.get("id"), str)
    }
    for block in variant_blocks(data):
        for index, entry in _listed(block.data.get("capacity")):
            name, place = entry.get("commitment"), (*block.place, "capacity", index, "commitment")
            if isinstance(name, str) and name not in kinds:
                yield Told(place, f"there is no commitment '{name}' under account.commitments{nearest(name, kinds)}")
            elif isinstance(name, str) and kinds[name] == CommitmentKind.SAVINGS_PLAN:
                yield Told(
                    place, f"'{name}' is a savings plan, which pays for usage and for no place; leave it out here"
                )


def _floors(account: Mapping[str, Any]) -> Iterator[Told]:
    floors = mapping(account.get("floors"))
    for index, rule in _listed(account.get("rules")):
        service = rule.get("service")
        for group in ("idle", "overhead", "shared"):
            if rule.get(group) == "by_floor" and (not floors if service is None else service not in floors):
                where = "" if service is None else f" of service '{service}'"
                yield Told(
                    ("rules", index, group), f"by_floor needs the floors{where}: `floors: {{SERVICE: {{TEAM: 2}}}}`"
                )


def _channels(account: Mapping[str, Any], channels: Collection[str]) -> Iterator[Told]:
    named: list[tuple[Place, object]] = [(("to",), account.get("to"))]
    named += [(("budgets", index, "to"), one.get("to")) for index, one in _listed(account.get("budgets"))]
    for place, to in named:
        for which, name in enumerate(_texts(to)):
            if name not in channels:
                yield Told((*place, which), f"no channel '{name}'{nearest(name, channels)}")


def _listed(value: object) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The blocks of a list, with their places."""
    return ((index, mapping(one)) for index, one in enumerate(value if isinstance(value, list) else ()))


def _texts(value: object) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []
