"""What stands between any decision and any actuator: limits, stops, storms and flaps. Pure."""
