"""Telling people: one file a channel, their wording, and the dispatcher that keeps a slow channel out of the pass."""
