"""How good and how fast the demand forecasts are, on recorded traffic."""
