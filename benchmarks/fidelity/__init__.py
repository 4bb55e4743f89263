"""How true the simulator is: one trace against a real vLLM process, and in a simulation that `profile` calibrated."""
