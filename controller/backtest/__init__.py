"""Replaying traces through the decision code and telling how it went: reading traces, running controllers side by side,
reports. Does I/O around `simulate`; decides nothing itself."""
