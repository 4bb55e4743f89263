"""The messages of KEDA's external scaler on the wire (proto3, package ``externalscaler``), as plain values here.

https://keda.sh/docs/latest/concepts/external-scalers/. The classes are made from the table below when this module is
imported, in a pool of their own, so that nothing is generated, and another copy in the same process does no harm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "externalscaler"
SERVICE = f"{PACKAGE}.ExternalScaler"

MESSAGES: Mapping[str, tuple[tuple[str, int, str], ...]] = {
    "ScaledObjectRef": (("name", 1, "string"), ("namespace", 2, "string"), ("scalerMetadata", 3, "map")),
    "IsActiveResponse": (("result", 1, "bool"),),
    "MetricSpec": (("metricName", 1, "string"), ("targetSize", 2, "int64"), ("targetSizeFloat", 3, "double")),
    "GetMetricSpecResponse": (("metricSpecs", 1, "many MetricSpec"),),
    "GetMetricsRequest": (("scaledObjectRef", 1, "one ScaledObjectRef"), ("metricName", 2, "string")),
    "MetricValue": (("metricName", 1, "string"), ("metricValue", 2, "int64"), ("metricValueFloat", 3, "double")),
    "GetMetricsResponse": (("metricValues", 1, "many MetricValue"),),
}
"""By message: (field, number, type). A map is one of text to text."""

_FIELD = descriptor_pb2.FieldDescriptorProto
_TYPES = {
    "string": _FIELD.TYPE_STRING,
    "bool": _FIELD.TYPE_BOOL,
    "int64": _FIELD.TYPE_INT64,
    "double": _FIELD.TYPE_DOUBLE,
}


def _file() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="externalscaler.proto", package=PACKAGE, syntax="proto3")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field_name, number, kind in fields:
            _add(message, field_name, number, kind)
    return file


def _add(message: Any, name: str, number: int, kind: str) -> None:
    added = message.field.add(name=name, number=number, label=_FIELD.LABEL_OPTIONAL)
    if kind in _TYPES:
        added.type = _TYPES[kind]
        return
    how, _, what = kind.partition(" ")
    added.type = _FIELD.TYPE_MESSAGE
    added.label = _FIELD.LABEL_OPTIONAL if how == "one" else _FIELD.LABEL_REPEATED
    if how == "map":  # on the wire a repeated message of key and value, named so by the compiler's rule
        entry = message.nested_type.add(name=f"{name[0].upper()}{name[1:]}Entry")
        entry.options.map_entry = True
        _add(entry, "key", 1, "string")
        _add(entry, "value", 2, "string")
        what = f"{message.name}.{entry.name}"
    added.type_name = f".{PACKAGE}.{what}"


def _classes() -> dict[str, Any]:
    pool = descriptor_pool.DescriptorPool()
    pool.Add(_file())
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}")) for name in MESSAGES}


_CLASS = _classes()


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaledObjectRef:
    """Who asks, and what its trigger's ``metadata`` says."""

    name: str = ""
    namespace: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, wire: bytes) -> ScaledObjectRef:
        """Raises ValueError."""
        return _ref(_parsed("ScaledObjectRef", wire))


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsRequest:
    """The value of one metric, please."""

    ref: ScaledObjectRef
    metric: str

    @classmethod
    def read(cls, wire: bytes) -> MetricsRequest:
        """Raises ValueError."""
        message = _parsed("GetMetricsRequest", wire)
        return cls(ref=_ref(message.scaledObjectRef), metric=message.metricName)


def is_active(result: bool) -> bytes:
    """IsActiveResponse."""
    return _wire(_CLASS["IsActiveResponse"](result=result))


def metric_specs(metric: str, target: int) -> bytes:
    """GetMetricSpecResponse of one metric. Old releases of KEDA read the whole number, newer ones the float."""
    spec = _CLASS["MetricSpec"](metricName=metric, targetSize=target, targetSizeFloat=float(target))
    return _wire(_CLASS["GetMetricSpecResponse"](metricSpecs=[spec]))


def metric_values(metric: str, value: int) -> bytes:
    """GetMetricsResponse of one metric. KEDA takes the float only where it is above zero: both say the same."""
    one = _CLASS["MetricValue"](metricName=metric, metricValue=value, metricValueFloat=float(value))
    return _wire(_CLASS["GetMetricsResponse"](metricValues=[one]))


def _ref(message: Any) -> ScaledObjectRef:
    return ScaledObjectRef(name=message.name, namespace=message.namespace, metadata=dict(message.scalerMetadata))


def _parsed(name: str, wire: bytes) -> Any:
    try:
        return _CLASS[name].FromString(wire)
    except Exception as error:  # each of protobuf's implementations has a DecodeError of its own
        raise ValueError(f"not a message {PACKAGE}.{name}: {error}") from error


def _wire(message: Any) -> bytes:
    wire: bytes = message.SerializeToString()
    return wire
