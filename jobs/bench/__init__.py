"""`raysmith bench`: load on an OpenAI-compatible endpoint, and what it withstands. Light: no Ray, no torch."""
