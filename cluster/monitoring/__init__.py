"""Watching runs, endpoints and nodes: their metrics, and alert rules, dashboards and scrape settings made from them."""
