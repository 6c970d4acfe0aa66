"""Whether bundles of resources find room on nodes, all at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

Bundle = dict[str, float]
"""Resource → amount that must be free on one node: `{"CPU": 8, "GPU": 1}`."""
Shape = tuple[tuple[str, float], ...]
Load = Counter[Shape]
"""How many bundles of each shape: thousands that are alike cost no more than one."""
_ROUNDING = 1e-6
_ORDERS = (("GPU", "CPU"), ("CPU", "GPU"))


def load(bundles: Sequence[Bundle]) -> Load:
    """Bundles, counted by shape."""
    return Counter(_shape(bundle) for bundle in bundles)


def times(one: Load, copies: int) -> Load:
    """So many of each."""
    return Counter({shape: number * copies for shape, number in one.items() if number * copies})


def fits(nodes: Sequence[Bundle], wanted: Load) -> bool:
    """Whether all can be placed at once; see `place`."""
    return any(_filled(nodes, wanted, order) is not None for order in _ORDERS[: max(1, len(wanted))])


def place(nodes: Sequence[Bundle], bundles: Sequence[Bundle]) -> list[int] | None:
    """On which node each bundle can be, all at once; None when no way was found.

    Largest first, each on the node that it fills best; two notions of large are tried. Bundles that are alike, as
    training workers are, are placed whenever they can be; for mixtures a way may be missed now and then.
    """
    for order in _ORDERS:
        if (filled := _filled(nodes, load(bundles), order)) is not None:
            left = {shape: [node for node, taken in parts for _ in range(taken)] for shape, parts in filled.items()}
            return [left[_shape(bundle)].pop(0) for bundle in bundles]
    return None


def most_copies(nodes: Sequence[Bundle], copy: Load, least: int, most: int, may: Callable[[int], bool]) -> int:
    """The largest number from `least` to `most` that `may` be; 0 when `least` may not."""
    if least > most or not may(least):
        return 0
    there, one = total(nodes), total([dict(shape) for shape in copy.elements()])
    bounds = [int((there.get(name, 0.0) + _ROUNDING) / amount) for name, amount in one.items() if amount]
    most = max(least, min([most, *bounds]))
    while least < most:
        middle = (least + most + 1) // 2
        least, most = (middle, most) if may(middle) else (least, middle - 1)
    return least


def _shape(bundle: Bundle) -> Shape:
    return tuple(sorted((name, amount) for name, amount in bundle.items() if amount))


def _filled(nodes: Sequence[Bundle], wanted: Load, order: tuple[str, str]) -> dict[Shape, list[tuple[int, int]]] | None:
    """How many of each shape go on which nodes."""

    def size(shape: Shape) -> list[float]:
        amounts = dict(shape)
        # What only some nodes have leaves the least choice.
        return [-sum(name not in order for name in amounts), *(-amounts.get(name, 0.0) for name in order)]

    free = [dict(node) for node in nodes]
    filled: dict[Shape, list[tuple[int, int]]] = {}
    for shape in sorted(wanted, key=size):
        number, parts = wanted[shape], filled.setdefault(shape, [])
        # Work without a GPU keeps off the nodes that have some free.
        for node in sorted(range(len(free)), key=lambda one: (free[one].get("GPU", 0.0), free[one].get("CPU", 0.0))):
            room = (int((free[node].get(name, 0.0) + _ROUNDING) / amount) for name, amount in shape)
            if taken := min(number, min(room, default=number)):
                for name, amount in shape:
                    free[node][name] -= amount * taken
                parts.append((node, taken))
                number -= taken
            if not number:
                break
        if number:
            return None
    return filled


def total(bundles: Sequence[Bundle]) -> Bundle:
    """The sum of each resource."""
    names = {name for bundle in bundles for name in bundle}
    return {name: sum(bundle.get(name, 0.0) for bundle in bundles) for name in sorted(names)}


def missing(bundles: Sequence[Bundle], limit: Bundle) -> Bundle:
    """Of which resources there is too little, and how much is needed."""
    needed = total(bundles)
    return {name: amount for name, amount in needed.items() if amount > limit.get(name, 0.0) + _ROUNDING}


def amounts(bundle: Bundle) -> str:
    """In words."""
    return ", ".join(f"{bundle[name]:g} {name}" for name in ("CPU", "GPU") if bundle.get(name)) or "nothing"


def largest_share(nodes: Sequence[Bundle], bundles: Sequence[Bundle]) -> float:
    """The most cores of one node that these bundles hold together, when nothing else is there."""
    placed = place(nodes, bundles)
    if placed is None:
        return max((bundle.get("CPU", 0.0) for bundle in bundles), default=0.0)
    sums: dict[int, float] = {}
    for number, bundle in zip(placed, bundles, strict=True):
        sums[number] = sums.get(number, 0.0) + bundle.get("CPU", 0.0)
    return max(sums.values(), default=0.0)
