"""What KEDA asks and how: its contract as its own repository writes it, and what may keep an answer away."""

from __future__ import annotations

from datetime import timedelta

PROTO = """\
syntax = "proto3";
package externalscaler;
service ExternalScaler {
    rpc IsActive(ScaledObjectRef) returns (IsActiveResponse) {}
    rpc StreamIsActive(ScaledObjectRef) returns (stream IsActiveResponse) {}
    rpc GetMetricSpec(ScaledObjectRef) returns (GetMetricSpecResponse) {}
    rpc GetMetrics(GetMetricsRequest) returns (GetMetricsResponse) {}
    rpc StreamMetricSpec(ScaledObjectRef) returns (stream GetMetricSpecResponse) {}
}
message ScaledObjectRef { string name = 1; string namespace = 2; map<string, string> scalerMetadata = 3; }
message IsActiveResponse { bool result = 1; }
message GetMetricSpecResponse { repeated MetricSpec metricSpecs = 1; }
message MetricSpec { string metricName = 1; int64 targetSize = 2; double targetSizeFloat = 3; }
message GetMetricsRequest { ScaledObjectRef scaledObjectRef = 1; string metricName = 2; }
message GetMetricsResponse { repeated MetricValue metricValues = 1; }
message MetricValue { string metricName = 1; int64 metricValue = 2; double metricValueFloat = 3; }
"""

METADATA = {"scalerAddress": "pennyweight:9190", "service": "chat", "variant": "h100", "metricType": "AverageValue"}
TIMEOUT_S = 10.0


def no_pass(stage):
    stage.result = None


def too_old(stage):
    stage.now += timedelta(seconds=46)
