"""An endpoint that is up, and how it becomes what a configuration says: all of it, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
from serving.deploy import Endpoint, require_engine_fits


class Found(NamedTuple):
    """A part, and the artifacts that it names."""

    part: Part
    model: Manifest
    adapters: dict[str, Manifest]


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
        self._versions: dict[str, tuple[str, dict[str, str]]] = {}

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
        after: dict[str, tuple[str, dict[str, str]]] = {}
        weights: dict[str, float] = {}
        added: list[str] = []
        try:
            for found in find_parts(self._store, config):
                identity = found.part.identity(found.model.id)
                adapters = {name: one.id for name, one in found.adapters.items()}
                if identity in before:
                    version, had = before[identity]
                else:
                    version, had = self._add(found), adapters
                    added.append(version)
                if had != adapters:
                    loaded = served_model(self._store, found.model, found.adapters).adapters
                    self.endpoint.change_adapters(version, loaded)
                    before = {**before, identity: (version, adapters)}
                after[identity] = (version, adapters)
                weights[version] = weights.get(version, 0.0) + found.part.weight
        except BaseException:
            for version in added:
                self.endpoint.remove(version)
            self._versions = before
            raise
        self.endpoint.route(weights, config.limits)
        self._versions = after
        for version in {name for name, _ in before.values()} - {name for name, _ in after.values()}:
            self.endpoint.remove(version)
        self._remember(config)

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
            history = history[:-1] if history and history[-1] == new else (*history, old)
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
        require_engine_fits(part.serve, served_model(store, model, adapters))
        found.append(Found(part, model, adapters))
    return found


@contextmanager
def serving(root: Path, config: EndpointConfig, told: Callable[[str], None] = lambda _: None) -> Iterator[Served]:
    """An endpoint for the length of a `with` block, on a Ray that the caller connected to.

    Raises:
        RaysmithError: it does not come up.
    """
    folder = EndpointFolder(root, config.name)
    folder.path.mkdir(parents=True, exist_ok=True)
    earlier = folder.last()
    api_key = folder.admit()
    endpoint = Endpoint.open(folder.path, folder.keys_file, config.name, config)
    try:
        state = this_process(config.name, endpoint.url)
        if earlier is not None:
            state = state.model_copy(update={"history": earlier.history, "config": {}})
            last = earlier.config
            if last and last != config.resolved():
                state = state.model_copy(update={"history": (*earlier.history, last)})
        served = Served(root, folder, endpoint, api_key, state)
        served.tell()
        told(endpoint.url)
        served.become(config)
        for version in endpoint.table.versions:
            fact(f"version {version.name}", f"{version.origin.artifact} in {version.engine}, {version.weight:.0%}")
            fact("proof", version.proof)
        yield served
    finally:
        folder.withdraw()
        endpoint.close(config.drain_s)
