"""What all workers agree on when one has heard that its machine will be taken away (`cluster.preemption`)."""

from __future__ import annotations

from typing import Any

from cluster.preemption import Watcher


def settle(watcher: Watcher) -> str:
    """Tell all workers what each has heard, so that none acts on it again; gives it in words. All call it."""
    import torch.distributed as dist

    gathered: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(gathered, watcher.heard())
    watcher.answered(notice for own in gathered for notice in own)
    said = dict.fromkeys(f"worker {rank}, {notice}" for rank, own in enumerate(gathered) for notice in own)
    return f"notice: {'; '.join(said)}"
