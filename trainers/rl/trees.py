"""Rows in which the completions of a prompt share it: the prompt is computed once, however many completions it has.

    prompt  first completion  second completion  …        one tree; a row holds several

A completion sees its prompt and itself, never another completion, by an explicit attention mask; its positions go on
from the prompt's end. What is computed for a token is the same as alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trainers.data.packing import best_fit, rounded

_PROMPT = 0


class Trees(NamedTuple):
    """Rows of trees."""

    input_ids: NDArray[np.int64]
    """[rows, length]"""
    position_ids: NDArray[np.int64]
    """[rows, length]"""
    mask: NDArray[np.bool_]
    """[rows, 1, length, length]: which key (last) each query may see."""
    places: list[NDArray[np.int64]]
    """For each sequence, where in the flattened rows each token of its completion is predicted."""
    num_tokens: int
    """Without padding."""


def pack_trees(prompts: Sequence[NDArray[Any]], completions: Sequence[NDArray[Any]], pad_id: int) -> Trees:
    """Lay sequences into rows; those of the same prompt share it.

    Args:
        prompts, completions: of each sequence, token ids.
    """
    trees: dict[bytes, list[int]] = {}
    for index, prompt in enumerate(prompts):
        trees.setdefault(np.asarray(prompt, np.int64).tobytes(), []).append(index)
    members = list(trees.values())
    lengths = [len(prompts[tree[0]]) + sum(len(completions[index]) for index in tree) for tree in members]
    length = rounded(max(lengths))
    rows = best_fit(lengths, length)
    input_ids = np.full((len(rows), length), pad_id, dtype=np.int64)
    position_ids = np.zeros_like(input_ids)
    tree_of, branch_of = np.full_like(input_ids, -1), np.zeros_like(input_ids)
    places: list[NDArray[np.int64]] = [np.zeros(0, np.int64)] * len(prompts)
    for row, of_row in enumerate(rows):
        at = 0
        for tree in of_row:
            prompt = prompts[members[tree][0]]
            start, at = at, at + len(prompt)
            input_ids[row, start:at], position_ids[row, start:at] = prompt, np.arange(len(prompt))
            tree_of[row, start:at] = tree
            last = row * length + at - 1
            for branch, index in enumerate(members[tree], start=1):
                size = len(completions[index])
                part = slice(at, at + size)
                input_ids[row, part] = completions[index]
                position_ids[row, part] = len(prompt) + np.arange(size)
                tree_of[row, part], branch_of[row, part] = tree, branch
                places[index] = np.concatenate([[last], row * length + np.arange(at, at + size - 1)])
                at += size
    return Trees(input_ids, position_ids, _mask(tree_of, branch_of), places, sum(lengths))


def _mask(tree_of: NDArray[np.int64], branch_of: NDArray[np.int64]) -> NDArray[np.bool_]:
    length = tree_of.shape[1]
    same_tree = (tree_of[:, :, None] == tree_of[:, None, :]) & (tree_of[:, :, None] >= 0)
    keys = branch_of[:, None, :]
    seen = same_tree & ((keys == _PROMPT) | (keys == branch_of[:, :, None]))
    seen &= np.tri(length, dtype=bool)
    seen |= np.eye(length, dtype=bool)  # padding sees itself: a query without keys would give no number
    mask: NDArray[np.bool_] = seen[:, None]
    return mask
