"""A line of jobs that wait for a cluster: who is let in, when the whole of what it needs can be placed.

Nothing here knows Ray: `cluster.queue` keeps a line in an actor, which takes this module along. The rules:

- **Whole or not at all.** A job is let in when all its bundles can be placed at once, beside those of the jobs that
  were let in before, on the nodes as they are. So no two jobs ever hold halves that the other one waits for.
- **Order.** Higher priority first, then who asked first. Nobody is put out.
- **No starving.** A job may pass those before it only if each of them could still be placed beside it and all others
  that came in behind that one: once the jobs that it found here have ended, it gets in. A crowd of small jobs cannot
  keep a large one waiting for ever.
- What the nodes could not hold even if they were empty (one was lost, say) holds nobody up, and waits.
- Where nodes are started on demand, what fits the most there can be is let in: only what asks for room makes it grow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

Bundle = dict[str, float]
"""Resource → amount that must be free on one node: `{"CPU": 8, "GPU": 1}`."""
LOST_S = 20.0
"""A driver that was silent for so long has lost its place, or what it held."""
_ROUNDING = 1e-6


class Ask(NamedTuple):
    """What a driver asks for, again and again: whoever keeps the line may have been restarted."""

    key: str
    """Of the driver, not of the job: two drivers of one name are two."""
    name: str
    bundles: list[Bundle]
    priority: int
    since: float
    """When it asked first, by the clock of whoever keeps the line; 0: it has not been told yet."""
    copies: tuple[int, int]
    """How often the bundles at least, and at most: trials of a sweep run as many at a time as there is room for."""
    admitted: int
    """How many copies it was let in with; 0: it waits."""


class Cluster(NamedTuple):
    """What there is to share."""

    nodes: list[Bundle]
    """Of each node that is alive, all that it has."""
    limit: Bundle | None = None
    """The most that an autoscaler may let it grow to; None: it does not grow, or Ray does not say."""

    def holds(self, bundles: Sequence[Bundle]) -> bool:
        """Whether all of them can be placed at once."""
        if place(self.nodes, bundles) is not None:
            return True
        return self.limit is not None and not missing(bundles, self.limit)


class _Entry:
    def __init__(self, ask: Ask, now: float) -> None:
        self.ask, self.heard, self.admitted = ask, now, ask.admitted

    def held(self) -> list[Bundle]:
        return self.ask.bundles * self.admitted

    def order(self) -> tuple[float, float, str]:
        return (-self.ask.priority, self.ask.since, self.ask.key)


class Line:
    """All that is known of who waits and who was let in; times are seconds of any one clock."""

    def __init__(self, closed_until: float = 0.0) -> None:
        self._entries: dict[str, _Entry] = {}
        self._closed_until = closed_until
        """Nobody is let in before: those who were should have had time to say so."""

    def beat(self, ask: Ask, cluster: Cluster, now: float) -> dict[str, Any]:
        """Hear from a driver, and let in whoever can be.

        Returns:
            `admitted`: copies that it is let in with, 0 while it waits; `place` and `of`: in the line, from 1;
            `since`: when it asked first; `before`: names of those that hold or wait before it.
        """
        entry = self._entries.get(ask.key)
        if entry is None:
            entry = self._entries[ask.key] = _Entry(ask._replace(since=ask.since or now), now)
        entry.heard = now
        entry.admitted = entry.admitted or ask.admitted
        self._drop_lost(now)
        if now >= self._closed_until:
            self._let_in(cluster)
        waiting = [one.ask.key for one in self._waiting()]
        return {
            "admitted": entry.admitted,
            "place": waiting.index(ask.key) + 1 if ask.key in waiting else 0,
            "of": len(waiting),
            "since": entry.ask.since,
            "before": [one.ask.name for one in self._before(entry)],
        }

    def leave(self, key: str) -> None:
        """Forget a driver, whether it waits or holds."""
        self._entries.pop(key, None)

    def look(self) -> list[dict[str, Any]]:
        """Everybody: those that were let in, then those that wait, in order."""
        inside = sorted((one for one in self._entries.values() if one.admitted), key=_Entry.order)
        return [
            {"name": one.ask.name, "priority": one.ask.priority, "since": one.ask.since, "admitted": one.admitted}
            for one in (*inside, *self._waiting())
        ]  # fmt: skip

    def _waiting(self) -> list[_Entry]:
        return sorted((one for one in self._entries.values() if not one.admitted), key=_Entry.order)

    def _before(self, entry: _Entry) -> list[_Entry]:
        if entry.admitted:
            return []
        inside = [one for one in self._entries.values() if one.admitted]
        return inside + [one for one in self._waiting() if one.order() < entry.order()]

    def _drop_lost(self, now: float) -> None:
        for key in [key for key, one in self._entries.items() if now - one.heard > LOST_S]:
            del self._entries[key]

    def _let_in(self, cluster: Cluster) -> None:
        before: list[_Entry] = []
        for entry in self._waiting():
            least, most = entry.ask.copies
            for copies in range(most, least - 1, -1):
                if self._may_enter(entry.ask.bundles * copies, before, cluster):
                    entry.admitted = copies
                    break
            else:
                if cluster.holds(entry.ask.bundles * least):
                    before.append(entry)

    def _may_enter(self, bundles: list[Bundle], before: list[_Entry], cluster: Cluster) -> bool:
        inside = [one for one in self._entries.values() if one.admitted]
        if not cluster.holds([*bundles, *(bundle for one in inside for bundle in one.held())]):
            return False
        for first in before:
            behind = [bundle for one in inside if one.order() > first.order() for bundle in one.held()]
            if not cluster.holds([*first.ask.bundles * first.ask.copies[0], *behind, *bundles]):
                return False
        return True


def place(nodes: Sequence[Bundle], bundles: Sequence[Bundle]) -> list[int] | None:
    """On which node each bundle can be, all at once; None when no way was found.

    Largest first, each on the node that it fills best; two notions of large are tried. Bundles that are alike, as
    training workers are, are placed whenever they can be; for mixtures a way may be missed now and then.
    """
    for resources in (("GPU", "CPU"), ("CPU", "GPU")):
        if (found := _place(nodes, bundles, resources)) is not None:
            return found
    return None


def _place(nodes: Sequence[Bundle], bundles: Sequence[Bundle], resources: tuple[str, str]) -> list[int] | None:
    free = [dict(node) for node in nodes]
    placed = [0] * len(bundles)
    for index in sorted(range(len(bundles)), key=lambda one: [-bundles[one].get(name, 0.0) for name in resources]):
        bundle = {name: amount for name, amount in bundles[index].items() if amount}
        fitting = [
            number for number, node in enumerate(free)
            if all(node.get(name, 0.0) + _ROUNDING >= amount for name, amount in bundle.items())
        ]  # fmt: skip
        if not fitting:
            return None
        # Work without a GPU keeps off the nodes that have some free.
        best = min(fitting, key=lambda number: (free[number].get("GPU", 0.0), free[number].get("CPU", 0.0)))
        for name, amount in bundle.items():
            free[best][name] -= amount
        placed[index] = best
    return placed


def total(bundles: Sequence[Bundle]) -> Bundle:
    """The sum of each resource."""
    names = {name for bundle in bundles for name in bundle}
    return {name: sum(bundle.get(name, 0.0) for bundle in bundles) for name in sorted(names)}


def missing(bundles: Sequence[Bundle], limit: Bundle) -> Bundle:
    """Of which resources there is too little, and how much is needed."""
    needed = total(bundles)
    return {name: amount for name, amount in needed.items() if amount > limit.get(name, 0.0) + _ROUNDING}


def largest_share(nodes: Sequence[Bundle], bundles: Sequence[Bundle]) -> float:
    """The most cores of one node that these bundles hold together, when nothing else is there."""
    placed = place(nodes, bundles)
    if placed is None:
        return max((bundle.get("CPU", 0.0) for bundle in bundles), default=0.0)
    sums: dict[int, float] = {}
    for number, bundle in zip(placed, bundles, strict=True):
        sums[number] = sums.get(number, 0.0) + bundle.get("CPU", 0.0)
    return max(sums.values(), default=0.0)
