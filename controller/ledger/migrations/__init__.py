"""One file a version of the schema: plain SQL for both engines, never edited after a release."""
