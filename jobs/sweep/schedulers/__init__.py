"""Schedulers, one file each: `Config` (its YAML keys) and `build`.

A file name in this folder is a value of a sweep's `scheduler`; a new scheduler is a new file, and nothing else.

    def build(config, sweep, steps) -> ray.tune.schedulers.TrialScheduler

makes the Tune scheduler for trials of so many steps. It reads `STEP` and `SCORE` of each result; lower scores are
better, whatever the sweep's direction. `refuse(config, sweep)` may refuse a sweep when its file is read, and a
scheduler that moves weights between trials says `MOVES_WEIGHTS = True`; one that knows a trial by its id alone, so that
what an earlier attempt measured of it can be told it again, says `KNOWS_TRIALS_BY_ID = True`.
"""

STEP, SCORE = "step", "score"
OVER = "over"
"""Whether the trial has come to its own end; Tune says `done` of those that it stops, too."""
