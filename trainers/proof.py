"""The hand-off proofs of training, run in one worker process: adapter ≠ base, and merged = base + adapter."""

from __future__ import annotations

from pathlib import Path

from cluster.handoff import Agreement, Bar, compare, require_different, require_same
from cluster.progress import ProgressFile
from trainers.config import HandoffConfig
from trainers.data.store import TokenData
from trainers.models import Held, load_model

TOP_K = 128
TOKEN_IDS = ("input_ids", "chosen_ids", "rejected_ids")
"""Columns of a token store that a model reads, whatever the kind of data."""


def scored_sequences(heldout: Path, count: int) -> list[list[int]]:
    """Token ids of the first `count` held-out examples; of a preference pair the chosen ones, then the rejected."""
    data = TokenData(heldout)
    rows = [data[index] for index in range(min(count, len(data)))]
    return [row[name].tolist() for row in rows for name in TOKEN_IDS if name in row]


def prove_merge(
    progress: ProgressFile, base: Path, adapter: Path, merged: Path, heldout: Path, config: HandoffConfig, held: Held
) -> dict[str, Agreement]:
    """Score the same tokens, or pairs, with base, base + adapter and merged, all computed in float32, and compare.

    An adapter that was trained on a quantized base is merged into the full one: how far that moves the model is
    measured too, as `trained_to_merged`, and has no bar: the full base is the better one as a rule.

    Raises:
        HandoffError: the adapter changes nothing, or merging changed the model.
    """
    import torch

    from trainers.adapters import load_adapted
    from trainers.models import head_of
    from trainers.scoring import PairHolder, TransformersHolder

    holder, agreement = TransformersHolder, config.min_merge_agreement
    if head_of(base) == "reward":
        holder, agreement = PairHolder, 0.0  # of a few pairs, one that is nearly even may turn by rounding
    sequences = scored_sequences(heldout, config.sequences)
    rounds = 3 if held == "full" else 4
    progress.write(0, rounds, "base")
    of_base = holder(load_adapted(base, {})).score(sequences, TOP_K)
    progress.write(1, rounds, "adapter")
    of_adapter = holder(load_adapted(base, {"tuned": adapter})).score(sequences, TOP_K)
    progress.write(2, rounds, "merged")
    of_merged = holder(load_model(merged, torch.float32)).score(sequences, TOP_K)
    different, same = compare(of_base, of_adapter), compare(of_adapter, of_merged)
    moved: dict[str, Agreement] = {}
    if held != "full":
        progress.write(3, rounds, "quantized base")
        as_trained = holder(load_adapted(base, {"tuned": adapter}, held)).score(sequences, TOP_K)
        moved["trained_to_merged"] = compare(as_trained, of_merged)
    require_different("base_to_adapter", different, config.min_adapter_change)
    require_same("adapter_to_merged", same, Bar(config.max_merge_kl, agreement))
    return {"base_to_adapter": different, "adapter_to_merged": same, **moved}
