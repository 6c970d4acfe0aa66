"""A line of jobs that wait for a cluster: who is let in, when the whole of what it needs can be placed.

Nothing here knows Ray: `cluster.keeper` keeps a line in an actor, which takes this module along. The rules:

- **Whole or not at all.** A job is let in when all its bundles can be placed at once, beside those of the jobs that
  were let in before, on the nodes as they are. So no two jobs ever hold halves that the other one waits for.
- **Order.** Higher priority first, then who asked first. Nobody is put out.
- **No starving.** A job may pass those before it only if each of them could still be placed beside it and all others
  that passed that one: once the jobs that it found here have ended, it gets in. A crowd of small jobs cannot keep a
  large one waiting for ever.
- What the nodes could not hold even if they were empty (one was lost, say) holds nobody up, and waits.
- Where nodes are started on demand, those that may still come count as nodes: only what asks for room makes it grow.
- Cores that Ray keeps for a driver are held from its first word on, while it waits too. Whoever comes to wait where
  the drivers alone would leave no room for those that were there is sent away.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from cluster.packing import Bundle, Load, fits, load, most_copies, times

LOST_S = 20.0
"""A driver that was silent for so long has lost its place, or what it held."""
_CONSIDERED = 64
"""How many of those that wait are looked at: the first of them always, so that the line moves."""


class Ask(NamedTuple):
    """What a driver asks for, again and again: whoever keeps the line may have been restarted."""

    key: str
    """Of the driver, not of the job: two drivers of one name are two."""
    name: str
    bundles: list[Bundle]
    priority: int = 0
    since: float = 0.0
    """When it asked first, by the clock of whoever keeps the line; 0: it has not been told yet."""
    copies: tuple[int, int] = (1, 1)
    """How often the bundles at least, and at most: trials of a sweep run as many at a time as there is room for."""
    admitted: int = 0
    """How many copies it was let in with; 0: it waits."""
    let_in: float = 0.0
    """When, by the same clock; 0: it waits, or has not been told."""
    driver: Bundle | None = None
    """What Ray keeps for the driver itself, whether it waits or not."""


class Cluster(NamedTuple):
    """What there is to share."""

    nodes: list[Bundle]
    """Of each node that is alive, all that it has."""
    to_come: Sequence[Bundle] = ()
    """Of each node that an autoscaler may still start."""

    @property
    def most(self) -> list[Bundle]:
        """Of each node when all have come."""
        return [*self.nodes, *self.to_come]

    def holds(self, bundles: Sequence[Bundle]) -> bool:
        """Whether all of them can be placed at once."""
        return fits(self.most, load(bundles))


class _Entry:
    def __init__(self, ask: Ask, now: float) -> None:
        self.ask, self.heard = ask, now
        self.admitted, self.let_in = ask.admitted, ask.let_in
        self.copy, self.driver = load(ask.bundles), load([ask.driver] if ask.driver else [])
        self.crowds = False

    @property
    def least(self) -> Load:
        return times(self.copy, self.ask.copies[0])

    @property
    def held(self) -> Load:
        return times(self.copy, self.admitted)

    def order(self) -> tuple[float, float, str]:
        return (-self.ask.priority, self.ask.since, self.ask.key)

    def passed(self, first: _Entry) -> bool:
        """Whether it was let in while `first`, which is before it, waited."""
        # A keeper that was restarted has it from a driver of an earlier release without the time: then it may have.
        return self.order() > first.order() and (not self.let_in or self.let_in >= first.ask.since)


class Line:
    """All that is known of who waits and who was let in; times are seconds of a clock that nobody sets."""

    def __init__(self, closed_until: float = 0.0, lost_s: float = LOST_S) -> None:
        self._entries: dict[str, _Entry] = {}
        self._lost_s, self._closed_until = lost_s, closed_until
        """Nobody is let in before: those who were should have had time to say so."""
        self._heard = 0.0
        """When anybody was heard last."""
        self._settled: Cluster | None = None
        """For which nobody else can be let in; None: somebody came, was let in, or left since."""

    def beat(self, ask: Ask, cluster: Cluster, now: float) -> dict[str, Any]:
        """Hear from a driver, and let in whoever can be.

        Returns:
            `admitted`: copies that it is let in with, 0 while it waits; `let_in`: when; `place` and `of`: in the line,
            from 1; `since`: when it asked first; `before`: names of those that hold or wait before it; `crowds`: it
            must not wait, see the rules.
        """
        entry = self._entries.get(ask.key)
        if entry is None:
            entry = self._entries[ask.key] = _Entry(ask._replace(since=ask.since or now), now)
            self._settled = None
        elif ask.admitted and not entry.admitted:
            entry.admitted, entry.let_in = ask.admitted, ask.let_in
            self._settled = None
        self._hear(entry, now)
        self._drop_lost(now)
        if now >= self._closed_until and self._settled != cluster:
            _Round(cluster, self._entries.values(), now).let_in(self._waiting())
            self._settled = cluster
        waiting = [] if entry.admitted else self._waiting()
        return {
            "admitted": entry.admitted,
            "let_in": entry.let_in,
            "place": waiting.index(entry) + 1 if waiting else 0,
            "of": len(waiting),
            "since": entry.ask.since,
            "before": [one.ask.name for one in self._before(entry, waiting)],
            "crowds": entry.crowds,
        }

    def close(self, until: float) -> None:
        """Let nobody in before that time."""
        self._closed_until = until

    def leave(self, key: str) -> None:
        """Forget a driver, whether it waits or holds."""
        if self._entries.pop(key, None) is not None:
            self._settled = None

    def look(self) -> list[dict[str, Any]]:
        """Everybody: those that were let in, then those that wait, in order."""
        inside = sorted((one for one in self._entries.values() if one.admitted), key=_Entry.order)
        return [
            {"name": one.ask.name, "priority": one.ask.priority, "since": one.ask.since, "admitted": one.admitted}
            for one in (*inside, *self._waiting())
        ]  # fmt: skip

    def _waiting(self) -> list[_Entry]:
        return sorted((one for one in self._entries.values() if not one.admitted), key=_Entry.order)

    def _before(self, entry: _Entry, waiting: list[_Entry]) -> list[_Entry]:
        if entry.admitted:
            return []
        return [one for one in self._entries.values() if one.admitted] + waiting[: waiting.index(entry)]

    def _hear(self, entry: _Entry, now: float) -> None:
        inside = [one for one in self._entries.values() if one.admitted and one is not entry]
        if inside and now - self._heard > self._lost_s / 2:
            # All were silent together: it may be we who could not be reached. They get the time to say that they live.
            for one in self._entries.values():
                one.heard = now
            self.close(now + self._lost_s)
        self._heard = entry.heard = now

    def _drop_lost(self, now: float) -> None:
        for key in [key for key, one in self._entries.items() if now - one.heard > self._lost_s]:
            self.leave(key)


class _Round:
    """One look at who can be let in."""

    def __init__(self, cluster: Cluster, entries: Iterable[_Entry], now: float) -> None:
        self._nodes, self._now = cluster.most, now
        self._inside = [one for one in entries if one.admitted]
        self._drivers = _sum(one.driver for one in entries if not one.admitted)
        """Of those that wait."""
        self._held = _sum(one.held + one.driver for one in self._inside)
        self._before: list[tuple[_Entry, Load]] = []
        """Who stays in the line so far, each with what must fit beside whoever passes it."""

    def let_in(self, waiting: list[_Entry]) -> None:
        for entry in waiting[:_CONSIDERED]:
            least, most = entry.ask.copies
            if copies := most_copies(self._nodes, entry.copy, least, most, self._may_enter(entry)):
                self._enter(entry, copies)
            elif fits(self._nodes, entry.least + entry.driver):
                passed = _sum(one.held + one.driver for one in self._inside if one.passed(entry))
                self._before.append((entry, entry.least + passed))
        self._send_away([one for one in waiting if not one.admitted])

    def _enter(self, entry: _Entry, copies: int) -> None:
        entry.admitted, entry.let_in, entry.crowds = copies, self._now, False
        self._inside.append(entry)
        self._drivers -= entry.driver
        self._held += entry.held + entry.driver
        self._before = [(first, beside + entry.held + entry.driver) for first, beside in self._before]

    def _may_enter(self, entry: _Entry) -> Callable[[int], bool]:
        def may(copies: int) -> bool:
            more = times(entry.copy, copies) + self._drivers
            return fits(self._nodes, self._held + more) and all(
                fits(self._nodes, beside + more) for _, beside in self._before
            )

        return may

    def _send_away(self, waiting: list[_Entry]) -> None:
        """Mark whose driver leaves no room for what was let in, or for somebody that waited before it came."""
        drivers: Load = Counter()
        there = [self._held] if fits(self._nodes, self._held) else []
        for entry in sorted(waiting, key=lambda one: one.ask.since):
            entry.crowds = False
            if not fits(self._nodes, entry.least + entry.driver):
                continue
            after = drivers + entry.driver
            entry.crowds = bool(entry.driver) and not all(
                fits(self._nodes, least + after) for least in (*there, entry.least)
            )
            if not entry.crowds:
                drivers = after
                if entry.least not in there:
                    there.append(entry.least)


def _sum(loads: Iterable[Load]) -> Load:
    found: Load = Counter()
    for one in loads:
        found.update(one)
    return found
