"""What the daemon shows over HTTP: /metrics, health and a read-only JSON API. Nothing here changes anything."""
