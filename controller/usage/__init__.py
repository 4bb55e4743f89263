"""Usage records, which say who asked for how many tokens: one file a source, all of which end in the same check and the
same columns. Records are weights, never money; neither prompts nor raw API keys are kept or told."""
