"""An endpoint that is up, and how it becomes what a configuration says: all of it, or nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from cluster.artifacts import ArtifactStore, Manifest
from cluster.errors import ConfigError
from jobs.console import fact
from jobs.endpoints.config import EndpointConfig, Part
from jobs.endpoints.folder import EndpointFolder, State, this_process
from jobs.endpoints.models import find_adapter, find_model, served_model
from jobs.endpoints.probes import probe_file
from serving.deploy import Endpoint
from serving.preflight import require_engine_fits, require_no_endpoint

_KEPT = 20
"""Earlier configurations that can be gone back to."""


class Found(NamedTuple):
    """A part, and the artifacts that it names."""

    part: Part
    model: Manifest
    adapters: dict[str, Manifest]

    def identity(self) -> str:
        """Of what its replicas are started with."""
        return self.part.identity(self.model.id)


class Version(NamedTuple):
    """A version that is up."""

    name: str
    found: Found
    adapters: dict[str, str]
    """Name → artifact id."""


class Served:
    """Made by `serving`."""

    def __init__(self, root: Path, folder: EndpointFolder, endpoint: Endpoint, api_key: str, state: State) -> None:
        self.endpoint = endpoint
        self.api_key = api_key
        """Of this user's own commands."""
        self.state = state
        self.folder = folder
        self._root = root
        self._store = ArtifactStore(root)
        self._versions: dict[str, Version] = {}

    def tell(self, **changes: object) -> None:
        """Change the state that other commands see."""
        self.state = self.state.model_copy(update=changes)
        self.folder.announce(self.state)

    def become(self, config: EndpointConfig) -> None:
        """Serve what a configuration says. New versions start beside the old ones, and the requests move when all are
        proved; if one is not, nothing changes.

        Raises:
            RaysmithError: what stands in the way.
        """
        self._require_same_place(config)
        before = self._versions
        kept: dict[str, Version] = {}
        after: dict[str, Version] = {}
        weights: dict[str, float] = {}
        added: list[str] = []
        try:
            for found in find_parts(self._store, config):
                identity, adapters = found.identity(), {name: one.id for name, one in found.adapters.items()}
                if identity in before and identity not in after:
                    name = before[identity].name
                    kept[identity] = before[identity]
                else:
                    name = self._add(found)
                    added.append(name)
                    identity = identity if identity not in after else f"{identity}-{name}"
                after[identity] = Version(name, found, adapters)
                weights[name] = found.part.weight
            self._change_adapters(kept, after)
        except BaseException:
            for name in added:
                self.endpoint.remove(name)
            raise
        self.endpoint.route(weights, config.limits)
        self._versions = after
        for name in {one.name for one in before.values()} - weights.keys():
            self.endpoint.remove(name)
        self._remember(config)

    def _change_adapters(self, before: dict[str, Version], after: dict[str, Version]) -> None:
        """Let versions that go on have their new adapters; if one cannot, all have what they had."""
        changed: list[str] = []
        try:
            for identity, old in before.items():
                if old.adapters != after[identity].adapters:
                    changed.append(identity)
                    self._load(after[identity])
        except BaseException:
            for identity in changed[:-1]:  # the last one has taken its own back
                self._load(before[identity])
            raise

    def _load(self, version: Version) -> None:
        found = version.found
        self.endpoint.change_adapters(version.name, served_model(self._store, found.model, found.adapters).adapters)

    def _add(self, found: Found) -> str:
        serve = found.part.serve
        model = served_model(self._store, found.model, found.adapters)
        if serve.prove:
            model = model._replace(probe_file=probe_file(self._root, found.model, model.path))
        return self.endpoint.add(model, serve, tell=lambda message: self.tell(message=message))

    def _remember(self, config: EndpointConfig) -> None:
        old, new = self.state.config, config.resolved()
        history = self.state.history
        if old and old != new:
            # Going back takes the newest away, so that going back again goes further.
            history = history[:-1] if history and history[-1] == new else (*history, old)[-_KEPT:]
        self.tell(status="serving", message="", config=new, history=history)

    def _require_same_place(self, config: EndpointConfig) -> None:
        old = self.state.config
        for key in ("host", "port"):
            if old and old[key] != getattr(config, key):
                raise ConfigError(
                    "Where an endpoint listens cannot be changed while it is up.", field=key, got=getattr(config, key),
                    expected=old[key], fix="stop it, and start it again",
                )  # fmt: skip


def find_parts(store: ArtifactStore, config: EndpointConfig) -> list[Found]:
    """The artifacts that a configuration names, looked at before anything is started.

    Raises:
        ArtifactError: one is not there, is something else, or was altered.
        ModelError: the engine does not open it.
    """
    found = []
    for key, part in zip(("", "canary."), config.parts(), strict=False):
        model = find_model(store, part.model, f"{key}model")
        adapters = {
            name: find_adapter(store, model, reference, f"{key}adapters.{name}")
            for name, reference in part.adapters.items()
        }
        require_engine_fits(part.serve, served_model(store, model, {}).path, adapters)
        found.append(Found(part, model, adapters))
    return found


@contextmanager
def serving(root: Path, config: EndpointConfig) -> Iterator[Served]:
    """An endpoint for the length of a `with` block, on a Ray that the caller connected to.

    Raises:
        RaysmithError: it does not come up.
    """
    folder = EndpointFolder(root, config.name)
    folder.path.mkdir(parents=True, exist_ok=True)
    folder.require_here()
    earlier = folder.last()
    require_no_endpoint(config.name)
    api_key = folder.admit()
    endpoint = None
    try:
        endpoint = Endpoint.open(folder.path, folder.keys_file, config.name, config)
        served = Served(root, folder, endpoint, api_key, _state(config, endpoint, earlier))
        served.tell()
        served.become(config)
        for version in endpoint.table.versions:
            fact(f"version {version.name}", f"{version.origin.artifact} in {version.engine}, {version.weight:.0%}")
            fact("proof", version.proof)
        yield served
    finally:
        folder.withdraw()
        if endpoint is not None:
            endpoint.close(config.drain_s)


def _state(config: EndpointConfig, endpoint: Endpoint, earlier: State | None) -> State:
    """What is told first; what was served before the endpoint was stopped can be gone back to."""
    state = this_process(config.name, endpoint.url)
    if earlier is None:
        return state
    last = [earlier.config] if earlier.config and earlier.config != config.resolved() else []
    return state.model_copy(update={"history": (*earlier.history, *last)[-_KEPT:]})
