"""Every metric that the daemon exports, as data: the exporter and docs/metrics.md are held against this table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from controller.facts.estimates import Estimate
from controller.facts.missing import Missing

Number = float | Missing


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimateMetric:
    """A gauge of an estimate, for each service and each variant (``variant=""``: the whole service)."""

    name: str
    help: str
    read: Callable[[Estimate], Number]


def _field(name: str, field: str, text: str) -> EstimateMetric:
    def read(estimate: Estimate) -> Number:
        value: Number = getattr(estimate, field)
        return value

    return EstimateMetric(name=f"pennyweight_{name}", help=text, read=read)


ESTIMATES = (
    _field("replicas_current", "replicas_current", "Replicas that exist and are not draining."),
    _field("replicas_ready", "replicas_ready", "Replicas that serve."),
    _field("replicas_read", "replicas_read", "Ready replicas whose metrics could be read."),
    _field("gpus", "gpus", "GPUs of the replicas."),
    _field("cost_usd_per_hour", "usd_per_hour", "What the replicas cost, with unused commitments."),
    _field(
        "cost_usd_per_million_output_tokens",
        "usd_per_million_output_tokens",
        "Cost of a million output tokens at the current rate.",
    ),
    _field(
        "cost_usd_per_million_tokens",
        "usd_per_million_tokens",
        "Cost of a million prompt and output tokens at the current rate.",
    ),
    _field("tokens_per_usd", "tokens_per_usd", "Prompt and output tokens for a dollar at the current rate."),
    _field("prompt_tokens_per_second", "prompt_tokens_per_s", "Prompt tokens, cached ones included."),
    _field("computed_prompt_tokens_per_second", "computed_prompt_tokens_per_s", "Prompt tokens that were computed."),
    _field("cached_prompt_tokens_per_second", "cached_prompt_tokens_per_s", "Prompt tokens from the prefix cache."),
    _field("output_tokens_per_second", "output_tokens_per_s", "Output tokens."),
    _field("requests_per_second", "requests_per_s", "Requests finished."),
    _field("rejections_per_second", "rejections_per_s", "Requests refused at the door."),
    _field("preemptions_per_second", "preemptions_per_s", "Requests thrown out of a full KV cache."),
    _field("requests_running", "running", "Requests in the engines' batches."),
    _field("queue_depth_requests", "queue_depth", "Requests waiting."),
    _field("kv_cache_ratio", "kv_cache_ratio", "Share of the KV cache in use."),
    _field("prefix_hit_ratio", "prefix_hit_ratio", "Prompt tokens found in the prefix cache."),
    _field("acceptance_ratio", "acceptance_ratio", "Speculative tokens accepted."),
    _field("ttft_p50_seconds", "ttft_p50_s", "Time to first token, median."),
    _field("ttft_p95_seconds", "ttft_p95_s", "Time to first token, 95th percentile."),
    _field("ttft_p99_seconds", "ttft_p99_s", "Time to first token, 99th percentile."),
    _field("tpot_p50_seconds", "tpot_p50_s", "Time per output token, median."),
    _field("tpot_p95_seconds", "tpot_p95_s", "Time per output token, 95th percentile."),
    _field("tpot_p99_seconds", "tpot_p99_s", "Time per output token, 99th percentile."),
    _field("e2e_p95_seconds", "e2e_p95_s", "Whole request, 95th percentile."),
    _field("queue_time_p95_seconds", "queue_time_p95_s", "Time in the queue, 95th percentile."),
    _field("mfu_ratio", "mfu_ratio", "Model FLOP utilization."),
    _field("mbu_ratio", "mbu_ratio", "Model bandwidth utilization."),
    _field("gpu_utilization_ratio", "gpu_utilization_ratio", "Share of time in which any kernel ran."),
    _field("tensor_active_ratio", "tensor_active_ratio", "Share of time in which the tensor pipes worked."),
    _field("dram_active_ratio", "dram_active_ratio", "Share of time in which the GPU memory worked."),
    _field("power_watts", "power_w", "Power of the boards."),
    _field("energy_joules_per_output_token", "joules_per_token", "Energy of an output token."),
)

QUANTILES = (0.5, 0.9, 0.95, 0.99)
"""The quantiles of a forecast that are exported: of each service as many series as quantiles times horizons."""

OTHERS = {
    "pennyweight_build_info": "The version that runs.",
    "pennyweight_ready": "1 when /readyz says yes.",
    "pennyweight_mode_info": "What the daemon may do.",
    "pennyweight_last_pass_timestamp_seconds": "When the last pass began.",
    "pennyweight_pass_duration_seconds": "How long passes took.",
    "pennyweight_leading": "1 while this daemon decides and acts, 0 while it stands by for another one.",
    "pennyweight_leader_epoch": "The number of the term that this daemon leads in; no sample while it stands by.",
    "pennyweight_leader_terms_total": "Terms that this daemon began to lead since its start.",
    "pennyweight_passes_overrun_total": "Passes skipped because the one before took longer than the interval.",
    "pennyweight_passes_failed_total": "Passes that ended in an error.",
    "pennyweight_config_last_reload_successful": "0 while a refused reload leaves the old files in force.",
    "pennyweight_interruption_source_age_seconds": "Since a source of interruption notices was last heard, by source.",
    "pennyweight_replicas_noticed": "Replicas by what was announced about their machines.",
    "pennyweight_aws_calls_total": "Calls of AWS, refused ones included, retries not counted. By operation.",
    "pennyweight_targets": "Targets by whether they could be read.",
    "pennyweight_rejected_lines": "Lines of the last scrape that were no metrics.",
    "pennyweight_missing_signals": "Replicas of which a signal could not be had.",
    "pennyweight_replicas_desired": "Replicas that the last pass decided on.",
    "pennyweight_decisions_total": "Decisions by reason.",
    "pennyweight_actions_total": "Actions by outcome.",
    "pennyweight_findings": "Findings of the last pass.",
    "pennyweight_alerts_firing": "Alerts that fire.",
    "pennyweight_notifications_total": "Alert messages by channel and what became of them.",
    "pennyweight_service_paused": "1 while an operator paused the service.",
    "pennyweight_stopped": '1 while an operator stopped the service; service "": everything.',
    "pennyweight_storm": '1 for each failure domain in which spot is being taken; domain "": spot everywhere.',
    "pennyweight_flap_ratio": "How often a service turned round as a whole lately. By service.",
    "pennyweight_flapping": "1 while a service does not shrink because it went back and forth.",
    "pennyweight_moved_replicas": "Replicas that were added or removed within the hour. By direction.",
    "pennyweight_demand_requests_per_second": "Requests that arrive, refused ones included. By service.",
    "pennyweight_forecast_requests_per_second": "Requests expected to arrive so many seconds ahead. "
    "By service, horizon_seconds and probability: the share of cases in which no more than this arrive.",
    "pennyweight_forecast_error_ratio": "Mean distance of the median forecast from what came, as a share of it. "
    "By service and horizon_seconds.",
    "pennyweight_replica_capacity_requests_per_second": "The most that one replica carries inside the SLO. "
    "By service and variant.",
}
"""Everything else."""
