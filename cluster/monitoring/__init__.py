"""Watching endpoints: the metrics they publish, and alert rules, dashboards and scrape settings made from them."""
