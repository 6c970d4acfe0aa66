"""Proof at a replica's start: its engine gives a fixed text the log-probabilities of the artifact's weights.

The reference is computed once for an artifact, by transformers in float32, and kept in a file: token ids and scores.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from cluster.handoff import Bar, TokenScores, compare, describe, require_different, require_same
from serving.protocol import Engine

TOP_K = 20
MIN_CHANGE = 1e-3
"""Mean |Δ log p| by which an adapter must change the probe, nats; one that is not there changes nothing at all."""
UNPROVEN = "not proved: no reference"
TEXTS = (
    "The ship left the harbour at dawn, and by noon the coast was gone.",
    "def area(width, height):\n    return width * height\n",
    "Question: What is 12 + 30? Answer: 42. Thank you!",
)


class Probe(NamedTuple):
    """Token ids, and what the artifact's weights give them."""

    sequences: list[list[int]]
    scores: TokenScores

    def write(self, file: Path) -> None:
        """Keep it; the file is whole or absent."""
        partial = file.with_name(f".{file.name}.npz")
        lengths = np.array([len(one) for one in self.sequences])
        ids = np.array([token for one in self.sequences for token in one], np.int64)
        np.savez(partial, ids=ids, lengths=lengths, **self.scores._asdict())
        partial.replace(file)

    @classmethod
    def read(cls, file: Path) -> Probe:
        """What `write` kept."""
        with np.load(file, allow_pickle=False) as arrays:
            ends = np.cumsum(arrays["lengths"])
            sequences = [part.tolist() for part in np.split(arrays["ids"], ends[:-1])]
            return cls(sequences, TokenScores(**{name: arrays[name] for name in TokenScores._fields}))


async def prove(engine: Engine, probe: Probe | None, max_kl: float) -> str:
    """Compare an engine with the artifact; gives the figures in a line.

    Raises:
        HandoffError: it serves something else.
    """
    if probe is None:
        return UNPROVEN
    agreement = compare(probe.scores, await engine.probe(probe.sequences, TOP_K))
    # Near ties make the most probable token change by rounding alone; KL does not care.
    require_same("artifact_to_replica", agreement, Bar(max_kl=max_kl, min_top1_agreement=0.0))
    return describe(agreement)


async def prove_adapter(engine: Engine, probe: Probe | None, name: str) -> None:
    """See that an adapter changes what the engine gives.

    Raises:
        HandoffError: it does not: the base model would be served under its name.
    """
    if probe is None:
        return
    base = await engine.probe(probe.sequences, TOP_K)
    require_different(f"base_to_{name}", compare(base, await engine.probe(probe.sequences, TOP_K, name)), MIN_CHANGE)
