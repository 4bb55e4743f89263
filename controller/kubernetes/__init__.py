"""The cluster as it was last watched, and the calls that change it: the only room that knows a Kubernetes client."""
