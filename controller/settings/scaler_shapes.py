"""The blocks of fleet.yaml about other autoscalers: those that carry out our counts, and where they ask for them."""

from __future__ import annotations

from pydantic import Field, StrictBool

from controller.facts.actuators import Through
from controller.settings.base import Shape
from controller.settings.values import Name, Period


class ExternalShape(Shape):
    """Somebody else starts and stops the engines, and asks us how many."""

    through: Through = Field(
        default=Through.KEDA,
        description="who asks: keda (gRPC, `serve.keda`), hpa (`serve.external_metrics`) or prometheus (`/metrics`)",
    )
    namespace: str = Field(default="", description="of the target, where there is one: whoever asks must be there too")
    followed_within: Period = Field(
        default=300.0,
        description="from our answer to as many targets in `scrape`; later what is found is taken as it is",
    )


class TlsShape(Shape):
    """PEM files; read again when they change."""

    certificate: str = Field(description="the server's certificate, with its chain")
    key: str = Field(description="its private key")
    client_ca: str | None = Field(default=None, description="callers must show a certificate that this CA signed")


class KedaShape(Shape):
    """KEDA's external scaler over gRPC. Needs the extra `keda`."""

    host: str = Field(default="127.0.0.1", description="the address to listen on")
    port: int = Field(default=9190, ge=0, le=65535, description="0: any free port")
    tls: TlsShape | None = Field(default=None, description="certificate and key; with client_ca callers need one too")
    token_env: Name | None = Field(
        default=None, description="the environment variable with a token that callers must show"
    )
    plain: StrictBool = Field(
        default=False, description="true: beyond this host also without TLS and token, such as behind a network policy"
    )


class ExternalMetricsShape(Shape):
    """The API that an HPA asks for external metrics, through the API server's aggregation."""

    host: str = Field(default="127.0.0.1", description="the address to listen on")
    port: int = Field(default=9191, ge=0, le=65535, description="0: any free port")
    tls: TlsShape | None = Field(
        default=None, description="client_ca: the cluster's front-proxy CA (requestheader-client-ca-file)"
    )
    allowed_names: tuple[Name, ...] = Field(
        default=(), description="common names that the API server's certificate may have; none: any that the CA signed"
    )
    plain: StrictBool = Field(default=False, description="true: beyond this host also without a front-proxy CA")
