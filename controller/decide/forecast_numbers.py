"""What a decision by forecast calls its numbers: it writes them, and explaining reads them."""

from __future__ import annotations

SIGNAL = "forecast"

AHEAD_S = "forecast_ahead_s"
CARRIED, GROWS_OVER_CARRIED = "forecast_carried_per_s", "forecast_need_then_per_s"
REST_CARRIES, SHRINKS_WITHIN_REST = "forecast_carried_without_one_per_s", "forecast_need_until_then_per_s"
SHRINKS_AFTER_S = "forecast_shrinks_after_s"
"""Names of a decision's numbers: it grows when the need then is more than is carried, and gives one replica up when the
need until then has been no more than the rest carries for so long."""
