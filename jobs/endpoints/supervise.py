"""`raysmith serve`: the process that holds an endpoint, and the commands that tell it what to become."""

from __future__ import annotations

import itertools
import secrets
import threading
import time

from cluster.artifacts import ArtifactStore
from cluster.connect import connected
from cluster.errors import ConfigError, EndpointError
from cluster.queue import Need
from cluster.storage import read_json, write_json
from jobs.admission import Wanted, place_for, serving_bundles
from jobs.console import console, fact, title
from jobs.endpoints.config import EndpointConfig
from jobs.endpoints.folder import EndpointFolder
from jobs.endpoints.served import Served, find_parts, serving
from serving.preflight import free_port

_POLL_S = 0.3
_LOOK_EVERY = 20


def serve(config: EndpointConfig) -> None:
    """Serve until Ctrl-C; or, where the endpoint is up already, let it become what the configuration says.

    Raises:
        RaysmithError: it does not come up, or cannot become that; what was served before goes on.
    """
    root = config.storage.path()
    folder = EndpointFolder(root, config.name)
    find_parts(ArtifactStore(root), config)
    if folder.state() is not None:
        change(folder, config)
        return
    if config.cluster.address == "local":
        free_port(config)
    title(f"Endpoint {config.name}")
    need = Need(serving_bundles([part.serve for part in config.parts()]))
    wanted = Wanted(config.name, config.cluster, need, root, {})
    with (
        connected(config.cluster, keep_logs=folder.path / "logs") as capacity,
        place_for(wanted, capacity),
        serving(root, config) as served,
    ):
        fact("listens on", served.endpoint.url)
        console.print("\n  In another terminal:", markup=False)
        for line in (f"raysmith chat {config.name}", f"raysmith bench {config.name}", curl_line(config.name, served)):
            console.print(f"    {line}", markup=False)
        follow(served)


def follow(served: Served, ended: threading.Event | None = None) -> None:
    """Keep the endpoint up, and become what other commands want, until Ctrl-C (or SIGTERM, which is turned into it)."""
    ended = ended or threading.Event()
    console.print(f"\n  Serving on {served.endpoint.url}. Ctrl-C stops it.", markup=False)
    try:
        for turn in itertools.count(1):
            if ended.wait(_POLL_S):
                break
            if turn % _LOOK_EVERY == 0:
                served.endpoint.require_front()
            if (wish := read_json(served.folder.wanted_file)) is not None:
                served.folder.wanted_file.unlink()
                _fulfil(served, wish["id"], wish["config"])
    except KeyboardInterrupt:
        console.print("  Stopping: running requests may finish first.", markup=False)


def _fulfil(served: Served, wish: str, wanted: dict[str, object]) -> None:
    served.tell(status="changing", message="", error="")
    try:
        served.become(EndpointConfig.model_validate(wanted))
    except Exception as error:  # whatever it is, what is served goes on
        served.tell(status="serving", message="", done=wish, error=str(error) or type(error).__name__)
        console.print(f"  Not changed: {str(error).splitlines()[0] if str(error) else error!r}", markup=False)
        return
    served.tell(done=wish, error="")
    weights = ", ".join(f"{one.name} {one.weight:.0%}" for one in served.endpoint.table.versions)
    console.print(f"  Changed: {weights}", markup=False)


def change(folder: EndpointFolder, config: EndpointConfig) -> None:
    """Let an endpoint that is up become something else, and wait until it is.

    Raises:
        EndpointError: it could not, and serves what it served before; or it ended.
    """
    state = folder.require_up()
    if folder.wanted_file.exists():
        raise EndpointError(
            "Another command is changing the endpoint.", field="ENDPOINT", got=folder.name, fix="wait until it is done"
        )
    title(f"Endpoint {folder.name}: change")
    wish, told = secrets.token_hex(8), ""
    write_json(folder.wanted_file, {"id": wish, "config": config.resolved()}, mode=0o600)
    while (now := folder.state()) is not None:
        if now.done == wish:
            if now.error:
                raise EndpointError(f"It stays as it was.\n{now.error}")
            fact("serving", f"{now.config['model']} on {now.url}")
            return
        if now.message and now.message != told:
            fact("waiting", now.message.splitlines()[-1][:200])
            told = now.message
        time.sleep(_POLL_S)
    raise EndpointError("The endpoint ended meanwhile.", field="ENDPOINT", got=state.name)


def rollback(folder: EndpointFolder) -> None:
    """Let an endpoint become what it was before its last change.

    Raises:
        ConfigError: it was never changed.
        EndpointError: as for `change`.
    """
    state = folder.require_up()
    if not state.history:
        raise ConfigError(
            "The endpoint was not changed yet.", field="ENDPOINT", got=folder.name,
            expected="an endpoint that served something else before",
        )  # fmt: skip
    earlier = {**state.history[-1], **{key: state.config[key] for key in ("host", "port")}}
    change(folder, EndpointConfig.model_validate(earlier))


def curl_line(name: str, served: Served) -> str:
    """A shell line that asks the endpoint; the key stays out: terminals, logs and process lists are read by others."""
    body = f'{{"model": "{name}", "messages": [{{"role": "user", "content": "Hello"}}]}}'
    return (
        f"raysmith key {name} --header | curl {served.endpoint.url}/chat/completions -H @- "
        f"-H 'Content-Type: application/json' -d '{body}'"
    )
