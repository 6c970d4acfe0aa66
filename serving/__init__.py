"""Serving: quantizers, engines and the Ray Serve application. Never imports trainers."""
