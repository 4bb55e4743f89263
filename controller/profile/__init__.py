"""Measures an OpenAI-compatible server under load and fits the step model to it; the only room that sends requests."""
