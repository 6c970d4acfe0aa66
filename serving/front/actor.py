"""The front as a Ray actor: it listens, hears of replicas, and outlives its own process by starting anew."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

from ray import serve

from serving.front import passing
from serving.front.app import Front
from serving.front.passing import ReplicaLeaves, ReplicaLost
from serving.front.pool import BEAT_S, Beat, Replica
from serving.listen import Listener
from serving.protocol import RequestError
from serving.table import MAIN_DEPLOYMENT

NAMESPACE = "raysmith"
_KEEP_ALIVE_S = 75


def actor_name(endpoint: str) -> str:
    """The name under which replicas find the front."""
    return f"raysmith-front-{endpoint}"


ACTOR_OPTIONS: dict[str, Any] = {
    "num_cpus": 0, "max_restarts": -1, "max_task_retries": -1, "max_concurrency": 10_000, "namespace": NAMESPACE,
}  # fmt: skip


class FrontActor:
    """See `serving.front.app.Front`; the methods are for replicas and for the driver."""

    async def __init__(self, folder: str, keys_file: str, host: str, port: int) -> None:  # type: ignore[misc]
        self._front = Front(Path(folder), Path(keys_file), _wake)
        self._listener = Listener(self._front, host, port, _KEEP_ALIVE_S)
        self._watching = asyncio.ensure_future(self._watch())

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(BEAT_S)
            self._front.refresh()

    async def ready(self) -> bool:
        """Whether it listens."""
        return await self._listener.started()

    async def refresh(self) -> None:
        """See the new table now, not in a moment."""
        self._front.refresh()

    async def beat(self, version: str, told: Beat) -> dict[str, float]:
        """A replica is there; see `Pool.beat`."""
        return self._front.pool(version).beat(told)

    async def leave(self, version: str, replica_id: str) -> None:
        """A replica is about to stop."""
        self._front.pool(version).leave(replica_id)

    async def tell_replicas(self, version: str, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
        """Send something to all replicas of a version, and give what they answer.

        Raises:
            RequestError: what the first that refuses says.
        """
        pool = self._front.pool(version)
        if not pool.replicas:
            await self._front.wake_version(version)
        while not pool.replicas:
            await asyncio.sleep(BEAT_S / 4)
        return await asyncio.gather(*(self._tell(replica, path, body) for replica in pool.replicas))

    async def _tell(self, replica: Replica, path: str, body: dict[str, Any]) -> dict[str, Any]:
        try:
            told = await passing.ask(self._front.http, replica, path, body)
            answer: dict[str, Any] = json.loads(await told.whole())
        except (ReplicaLost, ReplicaLeaves):
            raise RequestError(502, "A replica ended meanwhile.", code="replica_lost") from None
        return answer

    async def state(self) -> dict[str, Any]:
        """Version → replicas, running, waiting, and the replicas' proof."""
        return {
            name: {
                "replicas": len(pool.replicas), "running": pool.num_running, "waiting": pool.num_waiting,
                "proof": next((one.told.proof for one in pool.replicas), ""),
            }
            for name, pool in self._front.pools.items()
        }  # fmt: skip

    async def drain(self, within_s: float) -> None:
        """Take no new connections, and let the requests that run end."""
        self._watching.cancel()
        self._listener.close()
        self._front.draining = True
        deadline = time.monotonic() + within_s
        while self._front.num_running and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        await self._listener.stop()
        await self._front.http.close()


async def _wake(app: str) -> None:
    """Ask Serve for a replica: only a request that waits in a handle makes it start the first one."""
    # It asks Serve's controller, and waits for it.
    handle: Any = await asyncio.to_thread(serve.get_deployment_handle, MAIN_DEPLOYMENT, app)
    await handle.wake.remote()
