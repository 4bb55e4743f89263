"""What fleet.yaml says of other autoscalers, as rooms take it, and what no shape can know of it."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from controller.documents import Document, Place
from controller.errors import Problem
from controller.facts.actuators import ExternalOptions, Through
from controller.facts.doors import Door, Tls
from controller.settings.plain import Around, Block, Told, mapping, variant_blocks
from controller.settings.scaler_shapes import ExternalMetricsShape, ExternalShape, KedaShape, TlsShape

DOORS = {Through.KEDA: "keda", Through.HPA: "external_metrics"}
"""By who asks: the block under `serve` that lets them. Prometheus reads /metrics, which is always there."""


def external_of(shape: ExternalShape) -> ExternalOptions:
    """The options of the external actuator."""
    return ExternalOptions(through=shape.through, namespace=shape.namespace, followed_within_s=shape.followed_within)


def keda_door(shape: KedaShape | None, environ: Mapping[str, str], folder: Path) -> Door | None:
    """Where KEDA asks; None: nowhere."""
    if shape is None:
        return None
    token = environ.get(shape.token_env, "") if shape.token_env else ""
    return Door(host=shape.host, port=shape.port, tls=_tls(shape.tls, folder), token=token)


def metrics_door(shape: ExternalMetricsShape | None, folder: Path) -> Door | None:
    """Where HPAs ask; None: nowhere."""
    if shape is None:
        return None
    return Door(host=shape.host, port=shape.port, tls=_tls(shape.tls, folder), allowed_names=shape.allowed_names)


def _tls(shape: TlsShape | None, folder: Path) -> Tls | None:
    if shape is None:
        return None
    client_ca = str(folder / shape.client_ca) if shape.client_ca else ""
    return Tls(certificate=str(folder / shape.certificate), key=str(folder / shape.key), client_ca=client_ca)


# --- what no shape can know ------------------------------------------------------------------------------------------


def scaler_mistakes_in(document: Document, around: Around) -> list[Problem]:
    """All of them."""
    serve = mapping(document.data.get("serve"))
    blocks = list(variant_blocks(document.data))
    told = (*_of_keda(serve, around), *_of_metrics(serve, around), *_of_both(serve, blocks))
    return [document.problem(place, message) for place, message in told]


def _of_keda(serve: Mapping[str, Any], around: Around) -> Iterator[Told]:
    keda, place = serve.get("keda"), ("serve", "keda")
    if not isinstance(keda, Mapping):
        return
    yield from _files(keda, around, place)
    name = keda.get("token_env")
    if around.works and isinstance(name, str) and name and not around.environ.get(name):
        yield Told((*place, "token_env"), f"the environment variable {name} is not set; it holds the callers' token")
    host = _open(keda)
    if host and not (keda.get("tls") or name or keda.get("plain")):
        message = f"anybody who reaches {host} may ask: set serve.keda.tls or serve.keda.token_env"
        yield Told((*place, "host"), f"{message}; or plain: true where the network keeps others out")


def _of_metrics(serve: Mapping[str, Any], around: Around) -> Iterator[Told]:
    block, place = serve.get("external_metrics"), ("serve", "external_metrics")
    if not isinstance(block, Mapping):
        return
    yield from _files(block, around, place)
    host, signed = _open(block), mapping(block.get("tls")).get("client_ca")
    if host and not (signed or block.get("plain")):
        message = f"anybody who reaches {host} may ask: set serve.external_metrics.tls.client_ca, the front-proxy CA"
        yield Told((*place, "host"), f"{message}; or plain: true where the network keeps others out")
    if block.get("allowed_names") and not signed:
        yield Told((*place, "allowed_names"), "names of certificates are known only with tls.client_ca")


def _of_both(serve: Mapping[str, Any], blocks: list[Block]) -> Iterator[Told]:
    """Whoever is to ask needs a door, and a door somebody who may ask: a target has one writer."""
    asked: set[Through] = set()
    for block in blocks:
        actuator = mapping(block.data.get("actuator"))
        through = _through(actuator)
        wrong = "external" in actuator and not through  # told elsewhere, once
        asked |= set(Through) if wrong else {through} if through else set()
        door = DOORS.get(through) if through else None
        if door and not isinstance(serve.get(door), Mapping):
            message = f"{through} cannot ask for it: `serve` has no `{door}`; add serve: {{{door}: {{}}}}"
            yield Told((*block.place, "actuator", "external"), message)
    for through, door in DOORS.items():
        if isinstance(serve.get(door), Mapping) and through not in asked and blocks:
            message = f"nobody may be asked for: {_scaled(blocks[0])}"
            cure = (
                f"a target has one writer, where it is {through} write actuator: {{external: {{through: {through}}}}}"
            )
            yield Told(("serve", door), f"{message}; {cure}")


def _scaled(block: Block) -> str:
    """By whom, in words."""
    actuator, where = mapping(block.data.get("actuator")), f"{block.service}/{block.name}"
    through = _through(actuator)
    return (
        f"{where} is scaled through {through}"
        if through
        else f"{where} has the actuator {next(iter(actuator), 'dry_run')}"
    )


def _through(actuator: Mapping[str, Any]) -> Through | None:
    """Who asks; None where somebody else scales it, or the shape tells what is wrong."""
    external = actuator.get("external")
    if not isinstance(external, Mapping) or len(actuator) != 1:
        return None
    through = external.get("through", Through.KEDA)
    return Through(through) if through in set(Through) else None


def _open(block: Mapping[str, Any]) -> str:
    """The address where others than this host may ask; "" when there is none."""
    host = block.get("host", "127.0.0.1")
    return host if isinstance(host, str) and not _is_loopback(host) else ""


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _files(block: Mapping[str, Any], around: Around, place: Place) -> Iterator[Told]:
    """Only who serves needs the certificate."""
    for key, name in mapping(block.get("tls") if around.works else None).items():
        if key in TlsShape.model_fields and isinstance(name, str) and not (around.folder / name).is_file():
            yield Told((*place, "tls", key), f"there is no file '{name}'")
