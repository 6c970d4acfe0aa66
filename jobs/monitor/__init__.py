"""Watching runs and endpoints with Prometheus and Grafana."""
