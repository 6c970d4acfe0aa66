"""Faults on real clusters of several nodes: what the user sees, what is lost, how long it takes."""
