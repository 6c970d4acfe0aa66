"""The front of an endpoint: the one process that listens, checks requests and passes them on to replicas."""
