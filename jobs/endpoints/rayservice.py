"""An endpoint inside a RayService: what `import_path` names, and what Serve and KubeRay see of it.

An endpoint is no application of Serve's but a front, versions and a process that holds them (docs/decisions/0012,
0017). Here that process is a replica of one small deployment, on the head: it is up when the endpoint is, unhealthy
when the endpoint is lost, and started anew by Serve. The endpoint's configuration is the deployment's `user_config`:
when it changes, the endpoint becomes what it says without losing a request.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

from ray import serve

from cluster.errors import EndpointError, RaysmithError
from jobs.endpoints.config import EndpointConfig
from jobs.endpoints.folder import EndpointFolder
from jobs.endpoints.served import Served, serving
from jobs.endpoints.supervise import change, follow
from serving.preflight import require_no_endpoint

_LOG = logging.getLogger("ray.serve")
_HEAD = "node:__internal_head__"
"""A resource that Ray gives the head alone."""
_STOP_S = 120.0


class Holder:
    """An endpoint that a thread of its own holds, as `raysmith serve` does in a process."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        self._settled = threading.Event()
        self._failure: BaseException | None = None
        self._folder: EndpointFolder | None = None

    def become(self, config: EndpointConfig) -> None:
        """Bring the endpoint up; or, when it is, let it become something else.

        Raises:
            RaysmithError: it does not come up. A change that fails is told in the log: what is served goes on.
        """
        if self._thread is not None and self._folder is not None:
            self.check()
            try:
                change(self._folder, config)
            except RaysmithError as error:
                self.check()
                _LOG.error("The endpoint stays as it was: %s", error)
            return
        self._folder = EndpointFolder(config.storage.path(), config.name)
        require_no_endpoint(config.name)
        # No front of that name lives in this cluster: a key that is left is of a head that is gone.
        self._folder.withdraw()
        self._thread = threading.Thread(target=self._hold, args=(config,), name="endpoint", daemon=True)
        self._thread.start()
        self._settled.wait()
        if self._failure is not None:
            raise self._failure

    def _hold(self, config: EndpointConfig) -> None:
        try:
            with serving(config.storage.path(), config) as served:
                self._up(served)
        except BaseException as error:  # whatever it is, the replica must tell it
            self._failure = error
        finally:
            self._settled.set()

    def _up(self, served: Served) -> None:
        self._settled.set()
        follow(served, self._ended)
        if not self._ended.is_set():
            raise EndpointError("The endpoint ended by itself.", field="ENDPOINT", got=served.folder.name)

    def check(self) -> None:
        """See that the endpoint is held.

        Raises:
            RaysmithError: why it is not any more.
        """
        if self._failure is not None:
            raise self._failure
        if self._thread is not None and not self._thread.is_alive() and not self._ended.is_set():
            raise EndpointError("The endpoint is not held any more.", field="ENDPOINT")

    def close(self) -> None:
        """Stop the endpoint: running requests may finish first."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(_STOP_S)


@serve.deployment(
    num_replicas=1,
    ray_actor_options={"num_cpus": 0, "resources": {_HEAD: 0.001}},
    health_check_period_s=5,
    health_check_timeout_s=60,
    graceful_shutdown_timeout_s=_STOP_S,
)
class Supervisor:
    """The deployment."""

    def __init__(self) -> None:
        self._holder = Holder()

    async def reconfigure(self, config: dict[str, Any]) -> None:
        """Serve calls it with `user_config`, before the replica counts as up and when it changes."""
        await asyncio.to_thread(self._holder.become, EndpointConfig.model_validate(config))

    def check_health(self) -> None:
        """Serve calls it again and again, and replaces the replica when it raises."""
        self._holder.check()

    def __del__(self) -> None:
        """Serve calls it when the replica is to stop."""
        self._holder.close()


application = Supervisor.bind()  # type: ignore[attr-defined]
