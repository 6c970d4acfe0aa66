"""Which documents repeat an earlier one: equal text by its hash, nearly equal text by MinHash.

Fingerprints are made where the text is read; the decision is taken in one place, since any two documents of a corpus
may be the same. It is the same decision whatever the order in which the fingerprints were made.

Legend: n documents, p permutations.
"""

from __future__ import annotations

from hashlib import blake2b
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from trainers.text.config import NearConfig

Words64 = NDArray[np.uint64]
Signatures = NDArray[np.uint32]
DIGEST_BYTES = 16
_SEED = 0x5EED
_WIDTH = 512  # runs of words hashed at once: they and their hashes stay in the cache
_PAIRS = 1 << 16
_LONG_WORD = 24  # mean bytes of a word, four times English's
_WANTED_RECALL = 0.95


def digest(data: bytes) -> bytes:
    """128 bits that stand for a text: two of a billion documents share them by chance once in 10²¹ corpora."""
    return blake2b(data, digest_size=DIGEST_BYTES).digest()


def signature(data: bytes, config: NearConfig) -> Signatures:
    """[p] MinHash of a text: of all its runs of words, the least hash under each of p hash functions.

    Two texts agree in a place of it with the probability that is the Jaccard similarity of their sets of runs (Broder
    1997). Words are what white space separates, or single characters where it separates too little: in Chinese,
    Japanese or Thai, and in minified code. A text with fewer words than a run has is one run.
    """
    words = data.split()
    if len(data) > _LONG_WORD * len(words):
        hashes = np.frombuffer(data.decode().encode("utf-32-le"), dtype=np.uint32).astype(np.uint64)
    else:
        hashes = np.fromiter(map(crc32, words), dtype=np.uint64, count=len(words))
    width = min(config.words, len(hashes))
    factors, terms = _hash_functions(width + config.permutations)
    runs = np.zeros(len(hashes) - width + 1, dtype=np.uint64)
    for place in range(width):
        runs += hashes[place : place + len(runs)] * factors[place]
    runs = mix(runs)
    least = np.full(config.permutations, np.iinfo(np.uint64).max, dtype=np.uint64)
    for start in range(0, len(runs), _WIDTH):
        hashed = runs[start : start + _WIDTH, None] * factors[width:] + terms[width:]  # [runs, p]
        np.minimum(least, hashed.min(axis=0), out=least)
    return (least >> np.uint64(32)).astype(np.uint32)


def _hash_functions(count: int) -> tuple[Words64, Words64]:
    # Multiply-shift (Dietzfelbinger et al. 1997): x → the high bits of a·x + b modulo 2^64, with a odd.
    factors, terms = np.random.default_rng(_SEED).integers(1 << 64, size=(2, count), dtype=np.uint64)
    return factors | np.uint64(1), terms


def mix(values: Words64) -> Words64:
    """The finalizer of splitmix64: every input bit moves every output bit."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def repeats(digests: Words64) -> NDArray[np.bool_]:
    """[n] whether an earlier document has the same digest.

    Args:
        digests: [n, 2] the halves of each.
    """
    order = np.lexsort((digests[:, 0], digests[:, 1]))  # stable: the earlier of two equal ones comes first
    repeated = np.zeros(len(digests), dtype=np.bool_)
    repeated[order[1:]] = (digests[order[1:]] == digests[order[:-1]]).all(axis=1)
    return repeated


def near_repeats(signatures: Signatures, config: NearConfig) -> NDArray[np.bool_]:
    """[n] whether a document is nearly equal to an earlier one that stays.

    The signatures are cut into bands; documents that agree in a whole band are compared (Leskovec et al., Mining of
    Massive Datasets, 3.4). In each band the first document of those that agree leads: what is as similar to it as
    `threshold` is dropped, and of the rest the first leads again. So no two documents stay that agree in a band and are
    that similar, and no comparison is made twice in a band.

    Args:
        signatures: [n, p].
    """
    rows = _band_rows(config)
    dropped = np.zeros(len(signatures), dtype=np.bool_)
    for start in range(0, config.permutations - rows + 1, rows):
        members = np.flatnonzero(~dropped)
        keys = np.zeros(len(members), dtype=np.uint64)
        for column in range(start, start + rows):
            keys = mix(keys ^ signatures[members, column])
        order = np.argsort(keys, kind="stable")
        members, keys = members[order], keys[order]
        while len(members):
            begins = np.concatenate([[True], keys[1:] != keys[:-1]])
            leaders = members[np.flatnonzero(begins)[np.cumsum(begins) - 1]]
            members, leaders, keys = members[~begins], leaders[~begins], keys[~begins]
            alike = _similarity(signatures, leaders, members) >= config.threshold
            dropped[members[alike]] = True
            members, keys = members[~alike], keys[~alike]
    return dropped


def _similarity(signatures: Signatures, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.float64]:
    """[pairs] estimated Jaccard similarity of each pair."""
    cuts = range(_PAIRS, len(left), _PAIRS)
    parts = zip(np.split(left, cuts), np.split(right, cuts), strict=True)
    return np.concatenate([(signatures[a] == signatures[b]).mean(axis=1) for a, b in parts])


def _band_rows(config: NearConfig) -> int:
    """The longest band with which a pair at the threshold is compared with 95% probability: 1 − (1 − s^rows)^bands."""
    for rows in range(config.permutations, 1, -1):
        missed = (1 - config.threshold**rows) ** (config.permutations // rows)
        if 1 - missed >= _WANTED_RECALL:
            return rows
    return 1
