"""The API that an HPA asks for external metrics, as the API server's aggregation layer forwards it.

https://kubernetes.io/docs/tasks/extend-kubernetes/configure-aggregation-layer/. The API server has already
checked that the caller may ask; it shows a certificate of its front-proxy CA, which is what is checked here. On doubt
the answer is 404 or 503, so that the HPA stays where it is.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from controller.errors import PennyweightError
from controller.facts.actuators import ExternalOptions, Through
from controller.facts.doors import Door, Tls
from controller.facts.fleet import Variant
from controller.facts.missing import Missing
from controller.kubernetes.selectors import parse_selector
from controller.serve.background import Listener
from controller.serve.certificates import Renewed
from controller.serve.wanted import METRIC, Asked, Told, Wanted

GROUP = "external.metrics.k8s.io"
VERSION = f"{GROUP}/v1beta1"
LABELS = ("service", "variant")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ExternalMetrics(Listener):
    """Answers over the last pass. Listens from ``__enter__`` to ``__exit__``."""

    def __init__(self, wanted: Wanted, door: Door, asked: Asked) -> None:
        super().__init__("external-metrics")
        self._wanted, self._door, self._asked = wanted, door, asked
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def _begin(self) -> None:
        self._runner = web.AppRunner(self._app(), access_log=None, shutdown_timeout=2.0)
        await self._runner.setup()
        host, port = self._door.host, self._door.port
        try:
            context = None if self._door.tls is None else _context(self._door.tls)
            await web.TCPSite(self._runner, host, port, ssl_context=context).start()
        except OSError as error:  # ssl's errors are such as well
            await self._runner.cleanup()
            raise PennyweightError(
                f"cannot listen on {host}:{port} for external metrics: {error}; "
                "see `serve: {external_metrics: …}` in fleet.yaml"
            ) from error
        self.port = self._runner.addresses[0][1]

    async def _end(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    def _app(self) -> web.Application:
        app = web.Application(middlewares=[self._counted])
        app.router.add_get("/healthz", _text("ok"))
        app.router.add_get("/livez", _text("ok"))
        app.router.add_get("/readyz", _text("ok"))
        app.router.add_get("/apis", _json(_groups()))
        app.router.add_get(f"/apis/{GROUP}", _json(_group() | {"kind": "APIGroup", "apiVersion": "v1"}))
        app.router.add_get(f"/apis/{VERSION}", _json(_resources()))
        app.router.add_get(f"/apis/{VERSION}/namespaces/{{namespace}}/{{metric}}", self._metric)
        return app

    @web.middleware
    async def _counted(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Counts the question, after who asks was looked at."""
        resource = request.match_info.route.resource
        method = "other" if resource is None else resource.canonical.rsplit("/", 1)[-1].strip("{}")
        try:
            response = self._let_in(request) or await handler(request)
            code = response.status
        except web.HTTPException as error:
            response, code = _status(error.status, f"{request.method} {request.path}: {error.reason}"), error.status
        self._asked.count(Through.HPA, method, str(code))
        return response

    def _let_in(self, request: web.Request) -> web.Response | None:
        """That the certificate is the CA's the handshake has seen to; its name is looked at here."""
        allowed = self._door.allowed_names
        if not allowed:
            return None
        name = _common_name(request.transport.get_extra_info("peercert") if request.transport else None)
        if name in allowed:
            return None
        return _status(403, f"the certificate's name is '{name}'; expected {' or '.join(allowed)}")

    async def _metric(self, request: web.Request) -> web.Response:
        if request.match_info["metric"] != METRIC:
            return _status(404, f"there is no metric '{request.match_info['metric']}'; the only one is {METRIC}")
        try:
            matches = parse_selector(request.query.get("labelSelector", "")).matches
        except ValueError as error:
            return _status(400, str(error))
        asked = [one for one in self._wanted.asked(Through.HPA) if _selected(one, matches, request.match_info)]
        if not asked:
            return _status(404, self._nothing(request.match_info["namespace"]))
        told = {(one.service, one.name): self._wanted.told(one.service, one.name) for one in asked}
        unknown = [f"{service}/{name}: {one.why}" for (service, name), one in told.items() if isinstance(one, Missing)]
        if unknown:
            refusal = _status(503, "; ".join(unknown))
            refusal.force_close()  # another daemon may know: the next question finds its own way
            return refusal
        return web.json_response(_values({key: one for key, one in told.items() if not isinstance(one, Missing)}))

    def _nothing(self, namespace: str) -> str:
        known = ", ".join(f"service={one.service},variant={one.name}" for one in self._wanted.asked(Through.HPA)[:20])
        return f"no variant in {namespace} has these labels; there is {known or 'none that an HPA may ask for'}"


def _selected(variant: Variant, matches: Callable[[Mapping[str, str]], bool], where: Mapping[str, str]) -> bool:
    options = variant.actuator_options
    namespace = options.namespace if isinstance(options, ExternalOptions) else ""
    return (not namespace or namespace == where["namespace"]) and matches(_labels((variant.service, variant.name)))


def _labels(key: tuple[str, str]) -> dict[str, str]:
    return dict(zip(LABELS, key, strict=True))


def _values(told: Mapping[tuple[str, str], Told]) -> dict[str, Any]:
    """One item a variant: an HPA adds up all that it gets."""
    items = [
        {
            "metricName": METRIC,
            "metricLabels": _labels(key),
            "timestamp": f"{one.at:%Y-%m-%dT%H:%M:%SZ}",
            "value": str(one.replicas),
        }
        for key, one in told.items()
    ]
    return {"kind": "ExternalMetricValueList", "apiVersion": VERSION, "metadata": {}, "items": items}


def _groups() -> dict[str, Any]:
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group()]}


def _group() -> dict[str, Any]:
    version = {"groupVersion": VERSION, "version": "v1beta1"}
    return {"name": GROUP, "versions": [version], "preferredVersion": version}


def _resources() -> dict[str, Any]:
    resource = {
        "name": METRIC,
        "singularName": "",
        "namespaced": True,
        "kind": "ExternalMetricValueList",
        "verbs": ["get"],
    }
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": VERSION, "resources": [resource]}


REASONS = {400: "BadRequest", 403: "Forbidden", 404: "NotFound", 405: "MethodNotAllowed", 503: "ServiceUnavailable"}


def _status(code: int, why: str) -> web.Response:
    """Kubernetes' way of saying no, which ends up in the HPA's events."""
    body = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": why, "code": code}
    return web.json_response(body | {"reason": REASONS.get(code, "Unknown")}, status=code)


def _json(body: dict[str, Any]) -> Handler:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response(body)

    return answer


def _text(body: str) -> Handler:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(text=body)

    return answer


def _common_name(certificate: Any) -> str:
    subject = certificate.get("subject", ()) if isinstance(certificate, Mapping) else ()
    return next((value for pairs in subject for key, value in pairs if key == "commonName"), "")


def _context(tls: Tls) -> ssl.SSLContext:
    """Every handshake looks whether the files changed, and goes on with the new ones."""
    renewed = Renewed(tls, _made)

    def look(connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, first: ssl.SSLContext) -> None:
        del name, first
        renewed.changed()
        connection.context = renewed.now

    first = _made(tls)
    first.sni_callback = look
    return first


def _made(tls: Tls) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tls.certificate, tls.key)
    if tls.client_ca:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(tls.client_ca)
    return context
