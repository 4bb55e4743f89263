"""Which service and variant a record belongs to."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from controller.attribute.batch import Place
from controller.usage.told import SHOWN

LISTED = 12
"""Names that a message lists at most."""

Asked = tuple[str | None, str | None, str | None, str | None]
"""service, model, variant and api_base as they came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """The fleet, as senders may name it.

    services   names of the variants by name of service
    models     service by the model's name in requests; a name that two services share belongs in here for neither
    bases      service and variant by the address of a replica or of a variant's own endpoint, as plain_base() writes it
    """

    services: Mapping[str, Collection[str]]
    models: Mapping[str, str] = field(default_factory=dict)
    bases: Mapping[str, Place] = field(default_factory=dict)

    def place(self, asked: Asked) -> Place | str:
        """Service and variant; or why there is none. The most exact name wins: service, then address, then model.

        A variant that is not in the fleet (any more) is as good as none: the work is the service's all the same.
        """
        service, model, variant, api_base = asked
        base = self._base(api_base)
        name = service or (base[0] if base else self.service_of(model or ""))
        if name not in self.services:
            return self._unknown(service, model)
        told = variant or (base[1] if base and base[0] == name else "")
        return name, told if told in self.services[name] else ""

    def service_of(self, model: str) -> str:
        """The service that serves ``model``, with or without a provider before it ("hosted_vllm/llama"); "" if none."""
        for name in (model, model.partition("/")[2]):
            found = name if name in self.services else self.models.get(name, "")
            if name and found:
                return found
        return ""

    def _base(self, api_base: str | None) -> Place | None:
        return self.bases.get(plain_base(api_base)) if api_base else None

    def _unknown(self, service: str | None, model: str | None) -> str:
        if service:
            return f'service: "{service[:SHOWN]}" is not in the fleet{_listed(self.services)}'
        if model:
            known = {*self.models, *self.services}
            return f'model: no service of the fleet serves "{model[:SHOWN]}"{_listed(known)}'
        return "service: expected the name of a service (or `model`), found nothing"


def _listed(names: Collection[str]) -> str:
    """The names when they are few. No guess at the nearest one: a call may bring 50,000 different wrong ones."""
    return f"; expected one of {', '.join(sorted(names))}" if 0 < len(names) <= LISTED else ""


def plain_base(url: str) -> str:
    """The address in ``url``: without the scheme, the API's path and the slash at the end."""
    address = url.strip().lower().removeprefix("http://").removeprefix("https://")
    return address.rstrip("/").removesuffix("/v1").rstrip("/")
