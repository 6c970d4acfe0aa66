"""Numbers in words, for `plan` and for the run's own output."""

from __future__ import annotations

from trainers.config import TrainConfig


def batch_words(config: TrainConfig, workers: int, data_tokens: float, num_samples: float) -> str:
    """The batch arithmetic: workers × sequences × accumulation, and what all steps see."""
    batch = config.batch
    per_step = config.sequences_per_step(workers)
    mean = data_tokens / num_samples
    return (
        f"{_count(workers, 'worker')} × {_count(batch.sequences, 'sequence')} × {batch.accumulation} accumulation "
        f"= {_count(per_step, 'sequence')} = {mean * per_step:,.0f} tokens a step, {_count(config.steps, 'step')} "
        f"= {mean * per_step * config.steps / 1e6:.3g}M tokens, {per_step * config.steps / num_samples:.2g} epochs"
    )


def size(num_bytes: float) -> str:
    """Bytes in decimal units: 98.3 MB."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if num_bytes >= scale:
            return f"{num_bytes / scale:.1f} {unit}"
    return f"{num_bytes:.0f} B"


def duration(seconds: float) -> str:
    """Seconds as 45 s or 3 min 20 s."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
