"""The contest: our policy and the autoscalers that people run, in the same simulated fleet, at equal attainment."""
