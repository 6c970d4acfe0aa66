"""Numbers in words, for `plan` and for the run's own output."""

from __future__ import annotations

from typing import Any

from cluster.connect import ClusterConfig
from cluster.words import counted
from trainers.config import TrainConfig


def batch_words(config: TrainConfig, cluster: ClusterConfig, tokens: float, samples: float | None) -> str:
    """The batch arithmetic: how the workers share a step's sequences, and what all steps see.

    Args:
        tokens: of one sequence, the mean.
        samples: sequences of the data; None when they are not known.
    """
    sequences, steps = config.batch.sequences, config.steps
    tokens += getattr(config.objective, "more_tokens", 0)
    samples = None if samples is None else samples * getattr(config.objective, "sequences_a_sample", 1)
    per_step, seen = tokens * sequences, _large(tokens * sequences * steps)
    epochs = "" if samples is None else f", {sequences * steps / samples:.2g} epochs"
    return (
        f"{counted(sequences, 'sequence')} a step, shared by {_sharing(config, cluster)} "
        f"= {per_step:,.0f} tokens a step, {counted(steps, 'step')} = {seen} tokens{epochs}"
    )


def _sharing(config: TrainConfig, cluster: ClusterConfig) -> str:
    """So many workers, each with so many micro-batches of so many sequences at most."""
    least, most = cluster.min_workers, cluster.max_workers
    if least < most:
        return f"{least} to {most} workers in micro-batches of up to {config.batch.micro}"
    accumulation = config.accumulation(most)
    micro = -(-config.batch.sequences // (accumulation * most))
    return f"{counted(most, 'worker')} × {accumulation} accumulation × {counted(micro, 'sequence')}"


def loss_words(report: dict[str, Any]) -> str:
    """A held-out loss with what the objective measures beside it."""
    beside = [f"perplexity {report['perplexity']:.1f}"] if report.get("perplexity") is not None else []
    beside += [f"accuracy {report['accuracy']:.1%}"] if report.get("accuracy") is not None else []
    return f"{report['heldout_loss']:.3f} nats" + (f" ({', '.join(beside)})" if beside else "")


def size(num_bytes: float) -> str:
    """Bytes in decimal units: 98.3 MB."""
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if num_bytes >= scale:
            return f"{num_bytes / scale:.1f} {unit}"
    return f"{num_bytes:.0f} B"


def duration(seconds: float) -> str:
    """Seconds as 45 s, 3 min 20 s, 5 h 10 min or 2 d 4 h."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 24:
        return f"{hours // 24} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def trained_words(trained: float, parameters: float) -> str:
    """Which share of a model is trained."""
    share = f"{trained / parameters:.2%}" if trained < parameters else "all"
    return f"{share} of {parameters / 1e6:,.1f}M parameters"


def _large(number: float) -> str:
    return f"{number / 1e9:.3g}B" if number >= 1e9 else f"{number / 1e6:.3g}M"
