"""Installed packages, by their metadata: nothing is imported."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Sequence
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name


def installed(path: Sequence[str]) -> dict[str, list[str]]:
    """Name → its versions; more than one where leftovers of another installation lie about."""
    found: dict[str, set[str]] = {}
    places: set[str] = set()
    # setuptools puts the copies that it brings along on the path of whoever imports it: they are nobody's installation.
    folders = [folder for folder in dict.fromkeys(path) if Path(folder).name != "_vendor"]
    for one in importlib.metadata.distributions(path=folders):
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
