"""Grafana dashboards: each file holds one in `DASHBOARD`. A new dashboard is a new file."""
