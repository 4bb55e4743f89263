"""The Prometheus file_sd file of a variant's replicas: read by our own scraper, by Prometheus and by routers.

Format: https://prometheus.io/docs/prometheus/latest/configuration/configuration/#file_sd_config
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from controller.act.records import PHASES, SCRAPED, Record, write_atomically


def publish(path: Path, records: Iterable[Record]) -> None:
    """List ready and draining replicas. Draining ones stay, labelled, so that routers stop sending while we still read
    their last tokens. The file is touched only when it changes."""
    publish_groups(path, [_group(record) for record in records if record.stage in SCRAPED])


def publish_groups(path: Path, groups: Sequence[Mapping[str, object]]) -> None:
    """The same of groups that are written already, see ``group_of``."""
    text = json.dumps(groups, indent=1) + "\n"
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_atomically(path, text)


def _group(record: Record) -> dict[str, object]:
    return group_of(
        record.url,
        {
            "service": record.service,
            "variant": record.variant,
            "replica": record.replica,
            "phase": str(PHASES[record.stage]),
        },
    )


def group_of(address: str, labels: Mapping[str, str]) -> dict[str, object]:
    """One replica as a target group of its own."""
    url, labels = urlsplit(address), dict(labels)
    if url.scheme != "http":
        labels["__scheme__"] = url.scheme
    if url.path.strip("/"):
        labels["__metrics_path__"] = f"{url.path.rstrip('/')}/metrics"
    return {"targets": [url.netloc], "labels": labels}
