"""Installed packages, by their metadata: nothing is imported."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Sequence

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name


def installed(path: Sequence[str]) -> dict[str, list[str]]:
    """Name → its versions; more than one where leftovers of another installation lie about."""
    found: dict[str, set[str]] = {}
    places: set[str] = set()
    for one in importlib.metadata.distributions(path=list(dict.fromkeys(path))):
        place = str(getattr(one, "_path", ""))
        if one.metadata["Name"] and place not in places:
            places.add(place)
            found.setdefault(canonicalize_name(one.metadata["Name"]), set()).add(one.version)
    return {name: sorted(versions) for name, versions in found.items()}


def requirements(name: str, path: Sequence[str]) -> Iterator[Requirement]:
    """What a package's metadata wants here, without extras."""
    for one in importlib.metadata.distributions(name=name, path=list(path)):
        for text in one.requires or []:
            try:
                requirement = Requirement(text)
            except InvalidRequirement:
                continue
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                yield requirement
