"""The demo's shells: emulated or real engines, a day of load, the real daemon over them, and a live summary."""
