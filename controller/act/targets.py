"""The Prometheus file_sd file of a variant's replicas: read by our own scraper, by Prometheus and by routers.

Format: https://prometheus.io/docs/prometheus/latest/configuration/configuration/#file_sd_config
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from controller.act.records import PHASES, SCRAPED, Record, write_atomically


def publish(path: Path, records: Iterable[Record]) -> None:
    """List ready and draining replicas. Draining ones stay, labelled, so that routers stop sending while we still read
    their last tokens. The file is touched only when it changes."""
    text = json.dumps([_group(record) for record in records if record.stage in SCRAPED], indent=1) + "\n"
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_atomically(path, text)


def _group(record: Record) -> dict[str, object]:
    url = urlsplit(record.url)
    labels = {
        "service": record.service,
        "variant": record.variant,
        "replica": record.replica,
        "phase": str(PHASES[record.stage]),
    }
    if url.scheme != "http":
        labels["__scheme__"] = url.scheme
    return {"targets": [url.netloc], "labels": labels}
