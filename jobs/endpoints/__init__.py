"""Endpoints that are served by name: what they should serve, what they do serve, and who may ask."""
