"""Bring an endpoint up on a Ray that the caller connected to: the front, and versions of a model behind it.

endpoint = Endpoint.open(folder, keys_file, name, config)     # listens, serves nothing yet
version = endpoint.add(model, config)                         # a version whose replicas are proved
endpoint.route({version: 1.0})                                # and now it gets the requests
endpoint.close()
"""

from __future__ import annotations

import contextlib
import io
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from cluster.errors import EndpointError, RaysmithError, ResourceError
from cluster.storage import write_json
from serving.config import LimitConfig, ServeConfig
from serving.preflight import (
    client_host,
    error_in,
    free_port,
    no_adapters,
    port_in_use,
    require_engine_fits,
    require_no_endpoint,
)  # fmt: skip
from serving.table import FILE_NAME as TABLE
from serving.table import MAIN_DEPLOYMENT, Origin, Table, Version, read_table

POLL_S = 0.1
_LAST_WORDS_S = 0.5
_LOST_S = 30.0
_ADAPTER_S = 600.0


def _app_name(endpoint: str, version: str) -> str:
    return f"raysmith-{endpoint}.{version}"


class Adapter(NamedTuple):
    """A published LoRA adapter."""

    folder: Path
    origin: Origin


class Model(NamedTuple):
    """A published model, as it is served."""

    path: Path
    """Its file or folder, readable here on every node that may run a replica."""
    origin: Origin
    probe_file: Path | None = None
    """See `serving.probe`."""
    adapters: dict[str, Adapter] = {}  # noqa: RUF012 a NamedTuple's default is never changed
    """By the name that clients put after the colon."""


class Endpoint:
    """An endpoint that is up. Made by `open`."""

    def __init__(self, folder: Path, url: str, front: Any, table: Table) -> None:
        self.folder = folder
        self.url = url
        """Base URL for an OpenAI client, ending in `/v1`."""
        self.table = table
        self._front = front
        self._specs: dict[str, tuple[Model, ServeConfig]] = {}

    @classmethod
    def open(cls, folder: Path, keys_file: Path, name: str, config: ServeConfig) -> Endpoint:
        """Start Serve and the front.

        Args:
            folder: where the endpoint's table is kept, seen by every node.
            keys_file: see `serving.keys`.
            name: what clients ask for.

        Raises:
            ResourceError: the port is in use, or an endpoint of that name runs in this cluster already.
            EndpointError: the front does not come up.
        """
        port = free_port(config)
        import ray
        from ray import serve
        from ray.serve.schema import LoggingConfig
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        from serving.front.actor import ACTOR_OPTIONS, FrontActor, actor_name

        require_no_endpoint(name)
        logging.getLogger("ray.serve").setLevel(logging.WARNING)
        # Replicas may be left of an endpoint whose driver was killed: new versions have names of their own.
        before = read_table(folder).num_versions if (folder / TABLE).is_file() else 0
        table = Table(name=name, created=int(time.time()), limits=config.limits, num_versions=before)
        table.write(folder)
        quiet = LoggingConfig(log_level="WARNING", enable_access_log=False)
        serve.start(proxy_location="Disabled", logging_config=quiet)
        for left in [app for app in serve.status().applications if app.startswith(_app_name(name, ""))]:
            serve.delete(left, _blocking=False)
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        factory: Any = ray.remote(FrontActor)
        actor = factory.options(name=actor_name(name), scheduling_strategy=here, **ACTOR_OPTIONS)
        front = actor.remote(str(folder), str(keys_file), config.host, port)
        endpoint = cls(folder, f"http://{client_host(config.host)}:{port}/v1", front, table)
        try:
            up = ray.get(front.ready.remote(), timeout=config.startup_timeout_s)
        except BaseException as error:
            endpoint.close(0.0)
            if not isinstance(error, Exception):
                raise
            raise EndpointError("The endpoint's front does not come up.", got=str(error)[-2000:]) from None
        if not up:
            endpoint.close(0.0)
            raise port_in_use(config, port, "Address already in use")
        return endpoint

    def add(self, model: Model, config: ServeConfig, *, tell: Callable[[str], None] = lambda _: None) -> str:
        """Serve a model, and wait until its replicas are proved; no request goes to it before `route`.

        Args:
            tell: given what is waited for, when that changes.

        Returns:
            The version's name.

        Raises:
            ResourceError: the cluster has no room for it beside what runs.
            EndpointError: it does not come up; the message has the replica's own error.
            HandoffError: its log-probabilities are not the artifact's, or an adapter changes nothing.
        """
        require_engine_fits(config, model.path, model.adapters)
        self._require_room(config)
        deadline = time.monotonic() + config.startup_timeout_s
        number = self.table.num_versions + 1
        self._write(num_versions=number)
        name = f"v{number}"
        version = Version(
            name=name, app=_app_name(self.table.name, name), weight=0.0, engine=config.engine.kind,
            origin=model.origin, adapters={key: one.origin for key, one in model.adapters.items()},
        )  # fmt: skip
        try:
            self._run(version, model, config)
            proof = self._wait_until_proved(version, deadline, tell)
        except BaseException:  # Ctrl-C as well: never leave half a version behind
            self._delete(version)
            raise
        self._specs[name] = (model, config)
        self._write(versions=(*self.table.versions, version.model_copy(update={"proof": proof})))
        return name

    def route(self, weights: Mapping[str, float], limits: LimitConfig | None = None) -> None:
        """Give versions their shares of the requests, and the endpoint its limits, all in one moment.

        Versions that are not named get none; see `remove`.
        """
        import ray

        changed = [one.model_copy(update={"weight": weights.get(one.name, 0.0)}) for one in self.table.versions]
        self._write(versions=tuple(changed), **({"limits": limits} if limits is not None else {}))
        ray.get(self._front.refresh.remote(), timeout=_LOST_S)

    def change_adapters(self, version: str, adapters: dict[str, Adapter]) -> None:
        """Add and remove adapters of a version while it serves.

        Raises:
            HandoffError: one changes nothing.
            ModelError: one does not fit the model. In both cases everything stays as it was.
        """
        import ray

        model, config = self._specs[version]
        if not config.engine.ADDS_ADAPTERS:
            raise no_adapters(config, adapters)
        new = {name: one for name, one in adapters.items() if model.adapters.get(name) != one}
        done: list[str] = []
        try:
            for name, one in new.items():
                done.append(name)
                self._tell(version, {"name": name, "folder": str(one.folder)})
        except RaysmithError:
            for name in done:
                old = model.adapters.get(name)
                self._tell(version, {"name": name, "folder": str(old.folder) if old is not None else None})
            raise
        self._specs[version] = (model._replace(adapters=adapters), config)
        # Clients must not be sent to an adapter that goes: first the table, then the file that all replicas follow,
        # those that start later too.
        origins = {name: one.origin for name, one in adapters.items()}
        changed = [
            one.model_copy(update={"adapters": origins}) if one.name == version else one
            for one in self.table.versions
        ]  # fmt: skip
        self._write(versions=tuple(changed))
        ray.get(self._front.refresh.remote(), timeout=_LOST_S)
        self._write_adapters(version, self._specs[version][0])

    def remove(self, version: str) -> None:
        """End a version; its requests end first, and nobody waits for that."""
        gone = next(one for one in self.table.versions if one.name == version)
        self._write(versions=tuple(one for one in self.table.versions if one.name != version))
        self._delete(gone)
        self._specs.pop(version, None)

    def state(self) -> dict[str, dict[str, Any]]:
        """Version → replicas, running, waiting, proof."""
        import ray

        found: dict[str, dict[str, Any]] = ray.get(self._front.state.remote(), timeout=_LOST_S)
        return found

    def require_front(self) -> None:
        """See that the front lives; Ray starts it anew when its process dies.

        Raises:
            EndpointError: it does not come back.
        """
        import ray

        try:
            ray.get(self._front.ready.remote(), timeout=_LOST_S)
        except ray.exceptions.RayActorError as error:
            raise EndpointError("The endpoint's front died and does not come back.", got=str(error)[-2000:]) from None
        except ray.exceptions.GetTimeoutError:  # busy, or on its way: it is looked at again
            return

    def close(self, drain_s: float = 20.0) -> None:
        """Stop the endpoint: no new connections, then the running requests end, then everything else."""
        import ray
        from ray import serve

        from serving.front.actor import NAMESPACE, actor_name

        # Serve's controller ends by killing itself, which Ray reports on the driver's standard output as a failed task.
        with contextlib.redirect_stdout(io.StringIO()):
            with contextlib.suppress(ray.exceptions.RayError):
                ray.get(self._front.drain.remote(drain_s), timeout=drain_s + _LOST_S)
            ray.kill(self._front)
            for version in self.table.versions:
                self._delete(version)
            self._wait_until_gone()
            named = ray.util.list_named_actors(all_namespaces=True)
            fronts = [one["name"] for one in named if one["namespace"] == NAMESPACE]
            others = [one for one in fronts if one.startswith(actor_name("")) and one != actor_name(self.table.name)]
            if not others and not serve.status().applications:  # Serve may serve others, too
                serve.shutdown()
                time.sleep(_LAST_WORDS_S)

    def _wait_until_gone(self) -> None:
        from ray import serve

        deadline = time.monotonic() + _LOST_S
        mine = _app_name(self.table.name, "")
        while any(app.startswith(mine) for app in serve.status().applications) and time.monotonic() < deadline:
            time.sleep(POLL_S)

    def _write(self, **changes: Any) -> None:
        self.table = self.table.model_copy(update=changes)
        self.table.write(self.folder)

    def _tell(self, version: str, body: dict[str, Any]) -> None:
        import ray

        from serving.protocol import RequestError

        try:
            ray.get(self._front.tell_replicas.remote(version, "/adapters", body), timeout=_ADAPTER_S)
        except RequestError as error:
            raise error_in(f"{error.code}: {error.message}", "adapters", body["name"]) from None
        except ray.exceptions.RayTaskError as error:
            raise error_in(str(error.cause), "adapters", body["name"]) from None

    def _run(self, version: Version, model: Model, config: ServeConfig) -> None:
        from ray import serve
        from ray.serve.schema import LoggingConfig

        from serving.replica import Replica, Spec
        from serving.scaling import autoscaling

        replicas = config.replicas
        deployment: Any = serve.deployment(
            name=MAIN_DEPLOYMENT,
            autoscaling_config=autoscaling(replicas),
            graceful_shutdown_timeout_s=replicas.shutdown_s,
            graceful_shutdown_wait_loop_s=0.1,
            health_check_period_s=2,
            health_check_timeout_s=30,
            max_constructor_retry_count=2,
            logging_config=LoggingConfig(log_level="WARNING", enable_access_log=False),
            **config.engine.resources(replicas.num_cpus, replicas.num_gpus),
        )
        probe = str(model.probe_file) if model.probe_file is not None else None
        adapters = self._write_adapters(version.name, model)
        spec = Spec(self.table.name, version.name, str(model.path), config, str(adapters), probe)
        serve.run_many(
            [serve.RunTarget(deployment(Replica).bind(spec), name=version.app, route_prefix=None)],
            wait_for_ingress_deployment_creation=False, wait_for_applications_running=False,
        )  # fmt: skip

    def _write_adapters(self, version: str, model: Model) -> Path:
        file = self.folder / f"adapters-{version}.json"
        write_json(file, {name: str(one.folder) for name, one in model.adapters.items()})
        return file

    def _wait_until_proved(self, version: Version, deadline: float, tell: Callable[[str], None]) -> str:
        from ray import serve

        told = ""
        while True:
            app = serve.status().applications.get(version.app)
            messages = [app.message, *(one.message for one in app.deployments.values())] if app else []
            text = "\n".join(filter(None, messages))
            there = self.state().get(version.name)
            if app and app.status == "RUNNING" and there and there["replicas"]:
                return str(there["proof"])
            if app and app.status in {"DEPLOY_FAILED", "UNHEALTHY"}:
                raise error_in(text, "model", version.origin.artifact)
            if time.monotonic() > deadline:
                raise EndpointError(
                    "The endpoint did not come up in time.", field="startup_timeout_s",
                    got=text or "no replica yet",
                    fix="see that the cluster has replicas.num_cpus cores free, or give it more time",
                )  # fmt: skip
            if text != told:
                tell(text)
                told = text
            time.sleep(POLL_S)

    def _delete(self, version: Version) -> None:
        """End a version's application; its requests end first."""
        from ray import serve

        if version.app in serve.status().applications:
            serve.delete(version.app, _blocking=False)

    def _require_room(self, config: ServeConfig) -> None:
        """Replicas of the new version start beside the old one's."""
        import ray

        wanted = {"CPU": float(config.replicas.num_cpus), "GPU": float(config.replicas.num_gpus)}
        free = ray.available_resources()
        # Cores that a run's tasks gave back a moment ago may not be counted yet.
        deadline = time.monotonic() + 5.0
        while any(free.get(name, 0.0) < count for name, count in wanted.items() if count):
            if time.monotonic() > deadline:
                there = ray.cluster_resources()
                raise ResourceError(
                    "There is no room for a replica beside what runs.", field="replicas.num_cpus",
                    got=", ".join(f"{count:g} {name}" for name, count in wanted.items() if count),
                    expected=", ".join(f"at most {free.get(name, 0.0):g} free {name} of {there.get(name, 0.0):g}"
                                       for name, count in wanted.items() if count),
                    fix="lower replicas.max of what runs, free cores, or add nodes: a new version starts before the "
                    "old one ends",
                )  # fmt: skip
            time.sleep(POLL_S)
            free = ray.available_resources()
