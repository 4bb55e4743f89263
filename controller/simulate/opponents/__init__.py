"""Autoscalers that people run today, one file each, written anew from their documentation so that our own can be judged
beside them: each sees what its documentation has it see, and nothing of the simulator. Pure: its only clock is the
sights that it is shown."""
