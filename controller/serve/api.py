"""The read-only JSON API, health and /metrics. Every quantity is a number, or {"missing": what, "why": why}."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import Enum
from math import isfinite
from typing import Any

from fastapi import FastAPI, HTTPException, Response
from fastapi.responses import JSONResponse

from controller.facts.learned import Learned
from controller.facts.missing import Missing
from controller.facts.passes import PassResult
from controller.facts.readings import Target
from controller.serve.exporter import Exporter
from controller.serve.health import health_told
from controller.serve.view import View

TEXT_FORMAT = "text/plain; version=0.0.4; charset=utf-8"


def create_app(view: View, exporter: Exporter) -> FastAPI:
    """All endpoints. Nothing here changes anything, so everything is GET."""
    app = FastAPI(title="Pennyweight", docs_url=None, redoc_url=None, description="Read-only view of the last pass.")

    @app.get("/livez", summary="The same as /healthz")
    @app.get("/healthz", summary="Is the process alive?")
    def healthz() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/readyz", summary="Does it do its work? 503 says why not.")
    def readyz() -> JSONResponse:
        standing = view.standing()
        told = health_told(standing, view.latest())
        return JSONResponse(told, status_code=503 if standing.reasons else 200)

    @app.get("/metrics", summary="Prometheus text format", response_class=Response)
    def metrics() -> Response:
        return Response(exporter.render(), media_type=TEXT_FORMAT)

    _add_pass(app, view)
    return app


def _add_pass(app: FastAPI, view: View) -> None:
    """What the last pass saw and decided."""

    @app.get("/api/v1/fleet", summary="The whole fleet in the last pass")
    def fleet() -> Any:
        latest = _latest(view)
        return {"at": plain(latest.at), "mode": latest.mode, "fleet": plain(latest.estimates.fleet)}

    @app.get("/api/v1/services", summary="Every service in the last pass")
    def services() -> Any:
        latest = _latest(view)
        return {"at": plain(latest.at), "services": plain(dict(latest.estimates.services))}

    @app.get("/api/v1/services/{service}", summary="One service at all levels")
    def service(service: str) -> Any:
        latest = _latest_of(view, service)
        return {"at": plain(latest.at), **_levels(latest, service)}

    @app.get("/api/v1/services/{service}/forecast", summary="What is asked and expected, and what one replica carries")
    def forecast(service: str) -> Any:
        latest = _latest_of(view, service)
        return {"at": plain(latest.at), **_expected(latest.learned or Learned(), service)}

    @app.get("/api/v1/decisions", summary="What the last pass decided, and what became of it")
    def decisions() -> Any:
        latest = _latest(view)
        told = [plain(one) | {"sentence": str(one)} for one in latest.decisions]
        return {"at": plain(latest.at), "decisions": told, "outcomes": plain(latest.outcomes)}

    @app.get("/api/v1/safety", summary="What the safety kernel holds back: stops, storms, flapping, moves of the hour")
    def safety() -> Any:
        latest = _latest(view)
        return {"at": plain(latest.at), "safety": plain(latest.safety)}

    @app.get("/api/v1/findings", summary="What is worth doing, with its numbers")
    def findings() -> Any:
        latest = _latest(view)
        return {"at": plain(latest.at), "findings": plain(latest.estimates.findings)}

    @app.get("/api/v1/alerts", summary="Where every alert is")
    def alerts() -> Any:
        latest = _latest(view)
        return {"at": plain(latest.at), "alerts": plain(latest.alerts)}


def _latest(view: View) -> PassResult:
    latest = view.latest()
    if latest is None:
        raise HTTPException(503, "no pass has finished yet; try again after one interval")
    return latest


def _latest_of(view: View, service: str) -> PassResult:
    latest = _latest(view)
    if service not in latest.estimates.services:
        known = ", ".join(sorted(latest.estimates.services))
        raise HTTPException(404, f"no service '{service}'; there are {known}")
    return latest


def _expected(learned: Learned, service: str) -> dict[str, Any]:
    """What was worked out last; what was not yet, says so."""
    nothing = Missing("demand", "nothing has been worked out for this service yet; it takes some minutes of readings")
    return {
        "demand": plain(learned.demand.get(service, nothing)),
        "forecasts": plain(learned.forecasts.get(service, ())),
        "accuracy": [plain(one) for one in learned.accuracy if one.service == service],
        "capacity": {name: plain(one) for (owner, name), one in learned.capacity.items() if owner == service},
    }


def _levels(latest: PassResult, service: str) -> dict[str, Any]:
    estimates = latest.estimates
    return {
        "service": plain(estimates.services[service]),
        "variants": {name: plain(one) for (owner, name), one in estimates.variants.items() if owner == service},
        "replicas": [plain(estimates.replicas[key]) for key in estimates.replicas if key[0] == service],
        "costs": [plain(one) for one in estimates.costs if one.service == service],
        "decisions": [str(one) for one in latest.decisions if one.service == service],
        "paused": plain(latest.pauses.get(service)),
        "read": [_read(target, latest) for target in latest.observation.targets if target.service == service],
    }


def _read(target: Target, latest: PassResult) -> dict[str, Any]:
    """How one target was read: which metric name served each signal, and why the others are missing."""
    reading = latest.observation.engines.get(target.url, Missing("reading", "not asked for"))
    told: dict[str, Any] = {"replica": target.replica, "variant": target.variant, "url": target.url}
    if isinstance(reading, Missing):
        return told | {"missing": str(reading)}
    return told | {
        "source": reading.source,
        "names": {signal.value: name for signal, name in reading.names.items()},
        "absent": {signal.value: one.why for signal, one in reading.missing.items()},
        "rejected_lines": reading.rejected_lines,
    }


def plain(value: Any) -> Any:
    """``value`` as JSON can say it."""
    if isinstance(value, Missing):
        return {"missing": value.what, "why": value.why}
    if isinstance(value, float) and not isfinite(value):
        return {"missing": "number", "why": f"it is {value}"}  # JSON has no word for it
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.isoformat()
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, tuple | list):
        return [plain(one) for one in value]
    return value
