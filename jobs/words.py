"""Numbers in words, for `plan` and for the run's own output."""

from __future__ import annotations

from trainers.config import TrainConfig


def batch_words(config: TrainConfig, workers: int, data_tokens: float | None, num_samples: int | None) -> str:
    """The batch arithmetic: workers × sequences × accumulation, and what all steps see."""
    batch = config.batch
    per_step = config.sequences_per_step(workers)
    words = (
        f"{_count(workers, 'worker')} × {_count(batch.sequences, 'sequence')} × {batch.accumulation} accumulation "
        f"= {_count(per_step, 'sequence')} a step, {_count(config.steps, 'step')} = {per_step * config.steps:,} sequences"
    )
    if data_tokens and num_samples:
        mean = data_tokens / num_samples
        words += (
            f" of {mean:.0f} tokens on average = {mean * per_step:,.0f} tokens a step and "
            f"{mean * per_step * config.steps / 1e6:.3g}M in all, {per_step * config.steps / num_samples:.2g} epochs"
        )
    return words


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
