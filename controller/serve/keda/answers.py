"""What KEDA is answered. No gRPC in here: an answer is a value, and a refusal an error with a code and its words."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from controller.documents import near, nearest
from controller.facts.actuators import ExternalOptions, Through
from controller.facts.fleet import Variant
from controller.facts.missing import Missing
from controller.serve.keda.messages import ScaledObjectRef
from controller.serve.wanted import METRIC, Wanted, refusal

TARGET = 1
"""Of each replica: as KEDA's metric type is AverageValue unless told otherwise, the HPA works out value / 1."""

PREFIX_DIGITS = "s"
"""KEDA calls the metric of its trigger N `sN-NAME` at the HPA, and should cut that off before it asks us."""


class Code(StrEnum):
    """gRPC's names of what can go wrong here."""

    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    NOT_FOUND = "NOT_FOUND"
    FAILED_PRECONDITION = "FAILED_PRECONDITION"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    UNAVAILABLE = "UNAVAILABLE"
    INTERNAL = "INTERNAL"


class RefusedError(Exception):
    """A question that is not answered."""

    def __init__(self, code: Code, why: str) -> None:
        super().__init__(why)
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """Answers over the last pass. ``token``: what a caller must show; "": nothing."""

    wanted: Wanted
    token: str = ""

    def let_in(self, ref: ScaledObjectRef, header: str) -> None:
        """A caller shows its token in the header ``authorization: Bearer TOKEN``, or, as KEDA sends no header of its
        own, as ``token`` or ``tokenFromEnv`` in the trigger's metadata. Raises RefusedError."""
        if not self.token:
            return
        shown = header[7:] if header[:7].lower() == "bearer " else ref.metadata.get("token", "")
        shown = shown or ref.metadata.get("tokenFromEnv", "")
        if not hmac.compare_digest(shown.encode(), self.token.encode()):
            what = "another token" if shown else "no token"
            how = "`authorization: Bearer TOKEN`, or tokenFromEnv in the trigger's metadata"
            raise RefusedError(Code.UNAUTHENTICATED, f"{what} was shown; expected {how}")

    def variant(self, ref: ScaledObjectRef) -> Variant:
        """The variant that a trigger names. Raises RefusedError, with the names that there are."""
        service, name = self._named(ref, "service"), self._named(ref, "variant")
        found = self.wanted.find(service, name)
        if found is None:
            raise RefusedError(Code.NOT_FOUND, self._unknown(service, name))
        why = refusal(found, Through.KEDA)
        if why:
            raise RefusedError(Code.FAILED_PRECONDITION, why)
        options = found.actuator_options
        namespace = options.namespace if isinstance(options, ExternalOptions) else ""
        if namespace and ref.namespace and namespace != ref.namespace:
            where = f"{service}/{name} is in the namespace {namespace}"
            raise RefusedError(Code.FAILED_PRECONDITION, f"{where}, and this ScaledObject in {ref.namespace}")
        return found

    def replicas(self, ref: ScaledObjectRef) -> int:
        """How many there shall be. Raises RefusedError: UNAVAILABLE while that is not known."""
        variant = self.variant(ref)
        told = self.wanted.told(variant.service, variant.name)
        if isinstance(told, Missing):
            raise RefusedError(Code.UNAVAILABLE, f"{variant.service}/{variant.name}: {told.why}")
        return told.replicas

    def value(self, ref: ScaledObjectRef, metric: str) -> int:
        """The value of ``metric``. Raises RefusedError."""
        if metric and _plain(metric) != METRIC:
            raise RefusedError(Code.NOT_FOUND, f"there is no metric '{metric}'; the only one is {METRIC}")
        return self.replicas(ref)

    def _named(self, ref: ScaledObjectRef, key: str) -> str:
        value = ref.metadata.get(key) or ref.metadata.get(f"{key}FromEnv", "")
        if value:
            return value
        close = near(key, ref.metadata)
        example = f"expected service and variant, such as {self._choices()}"
        raise RefusedError(Code.INVALID_ARGUMENT, f"the trigger's metadata has no `{key}`{close}; {example}")

    def _unknown(self, service: str, name: str) -> str:
        known = {f"{one.service}/{one.name}" for one in self.wanted.variants()}
        return f"there is no variant {service}/{name}{nearest(f'{service}/{name}', known)}; there is {self._choices()}"

    def _choices(self) -> str:
        return listed(f"{one.service}/{one.name}" for one in self.wanted.asked(Through.KEDA))


def listed(names: Iterable[str], most: int = 20) -> str:
    """Names for people: the first ``most``, and how many more."""
    known = sorted(names)
    more = f" and {len(known) - most} more" if len(known) > most else ""
    return ", ".join(known[:most]) + more if known else "none (no variant has `actuator: {external: {}}`)"


def _plain(metric: str) -> str:
    """``metric`` without KEDA's prefix."""
    prefix, _, rest = metric.partition("-")
    cut = prefix[:1] == PREFIX_DIGITS and prefix[1:].isdigit()
    return rest if cut else metric
