"""Sweeps: many trials of one job with other values, by Ray Tune; each trial is an ordinary run."""
