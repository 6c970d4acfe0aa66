"""Whether a live run trains, in which phase, and how long it may be silent there, by the watchdog's own rule.

A run that waits in the queue or for a machine, prepares its data or goes on after a kill has old signs of life lying
about. So nothing counts that is older than the training's begin in this attempt, or than the registration of its
workers.
"""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import yaml

from jobs.goodput import TIMELINE_FILE
from jobs.monitor.files import changed_at, lines_of, number, read_object
from trainers.config import TrainConfig, WatchdogConfig
from trainers.heartbeat import START, heartbeat_file, registered_at
from trainers.watchdog import LAST_STEPS, allowed_s

_TAIL_BYTES = 64 * 1024
_CLOCKS_S = 2.0
"""The driver's clock and that of the storage may differ by so much."""


class Training(NamedTuple):
    """A training whose workers are there."""

    phase: str
    """As worker 0 says it (`trainers.heartbeat`)."""
    last_sign: float
    """When it last gave a sign of life, Unix time."""
    allowed_s: float
    """Seconds that it may be silent in this phase; infinite where no step is to be expected."""


def training_of(run: Path, steps: list[dict[str, Any]], gone_at: float) -> Training | None:
    """What the training of a live run does; None while there is none, or it has no workers.

    Args:
        steps: the newest lines of metrics.jsonl.
        gone_at: when the workers were last known to be gone, Unix time.
    """
    begun = _begun(run / TIMELINE_FILE)
    if begun is None:
        return None
    name, since = begun
    folder = run / "train" / name
    there = registered_at(folder)
    if there < max(since - _CLOCKS_S, gone_at):
        return None
    file = heartbeat_file(folder)
    beat = changed_at(file)
    # An older one is of the workers before.
    phase = str(read_object(file).get("phase") or START) if beat >= there else START
    own = [one for one in steps if one["training"] == name]
    signs = [since, there, beat, changed_at(run / "progress" / "train.json"), *(float(one["time"]) for one in own[-1:])]
    times = [value for one in own[-LAST_STEPS:] if (value := number(one.get("seconds"))) is not None]
    config, alone_s = _rule(run / "config.yaml", changed_at(run / "config.yaml"))
    return Training(phase, max(signs), allowed_s(config, alone_s, phase, median(times) if times else None))


def _begun(timeline: Path) -> tuple[str, float] | None:
    """The training that the newest attempt has begun and not ended, and when."""
    begun = None
    for line in lines_of(timeline, _TAIL_BYTES):
        begins = line.get("what") == "training" and line.get("edge") == "begin"
        begun = (Path(str(line.get("training"))).name, number(line.get("time")) or 0.0) if begins else None
    return begun


@lru_cache(maxsize=256)
def _rule(file: Path, _changed: float) -> tuple[WatchdogConfig, float]:
    """`train.watchdog`, and what the objective allows a worker alone; the defaults where the file does not tell."""
    try:
        config = TrainConfig.model_validate(yaml.safe_load(file.read_text(encoding="utf-8"))["train"])
    except (OSError, ValueError, TypeError, LookupError, yaml.YAMLError):
        return WatchdogConfig(), 0.0
    return config.watchdog, float(getattr(config.objective, "alone_s", 0.0))


def expects_steps(training: Training | None) -> bool:
    """Whether it is in a phase that must come to its end."""
    return training is not None and math.isfinite(training.allowed_s)
