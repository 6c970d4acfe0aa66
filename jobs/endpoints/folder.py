"""An endpoint's folder, by which commands find it and tell it what they want.

ROOT/endpoints/NAME/keys.json     hashes of API keys (`serving.keys`)
ROOT/endpoints/NAME/table.json    what the front serves (`serving.table`)
ROOT/endpoints/NAME/state.json    who serves it, what was asked for last, and how that ended
ROOT/endpoints/NAME/wanted.json   what another command wants it to become
ROOT/endpoints/NAME/private.json  the key of this user's own commands; there only while the endpoint is up
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from pydantic import Field

from cluster.config import Config
from cluster.errors import EndpointError
from cluster.storage import read_json, write_json
from serving import keys

if TYPE_CHECKING:
    from openai import OpenAI

OPERATOR = "operator"
"""Name of the key that this user's own commands use."""


class State(Config):
    """What is known of an endpoint."""

    name: str
    pid: int
    """Of the process that serves it."""
    started: float
    """When that process started, Unix time: process ids are used again."""
    url: str
    host: str = Field(default_factory=socket.gethostname)
    """Of that process."""
    status: str = "starting"
    """`starting`, `serving`, `changing`."""
    message: str = ""
    """What it waits for."""
    done: str = ""
    """Id of the last wish that was fulfilled, or failed."""
    error: str = ""
    """Why it failed."""
    config: dict[str, Any] = Field(default_factory=dict)
    """What it serves."""
    history: tuple[dict[str, Any], ...] = ()
    """What it served before, oldest first."""


class EndpointFolder:
    """The folder of one endpoint."""

    def __init__(self, root: Path, name: str) -> None:
        self.name = name
        self.path = root / "endpoints" / name
        self.keys_file = self.path / keys.FILE_NAME
        self._state_file = self.path / "state.json"
        self._private_file = self.path / "private.json"
        self.wanted_file = self.path / "wanted.json"

    def announce(self, state: State) -> None:
        """Tell other commands what is going on."""
        write_json(self._state_file, state.model_dump(mode="json"))

    def admit(self) -> str:
        """Make a new key for this user's own commands, and keep it where this user alone can read it."""
        self.wanted_file.unlink(missing_ok=True)  # of a process that was killed
        key = keys.replace_key(self.keys_file, OPERATOR)
        write_json(self._private_file, {"api_key": key}, mode=0o600)
        return key

    def withdraw(self) -> None:
        """The endpoint is down: its operator's key opens nothing any more."""
        self._private_file.unlink(missing_ok=True)
        self.wanted_file.unlink(missing_ok=True)

    def state(self) -> State | None:
        """What the endpoint's process told last; None if there is no such process."""
        state = self.last()
        if state is None:
            return None
        if state.host != socket.gethostname():
            return state if self._private_file.exists() else None  # it is removed when the endpoint ends
        try:
            started = psutil.Process(state.pid).create_time()
        except psutil.Error:
            return None
        return state if abs(started - state.started) < 1.0 else None

    def last(self) -> State | None:
        """What was told last, whether or not that process is still there."""
        told = read_json(self._state_file)
        return None if told is None else State.model_validate(told)

    def require_here(self) -> None:
        """See that no other machine serves it.

        Raises:
            EndpointError: one does, or did and was cut off.
        """
        state = self.state()
        if state is not None and state.host != socket.gethostname():
            raise EndpointError(
                "Another machine serves an endpoint of that name.", field="ENDPOINT",
                got=f"{self.name} on {state.host}", fix=f"stop it there; if it was lost, remove {self._private_file}",
            )  # fmt: skip

    def require_known(self) -> EndpointFolder:
        """This, if there is or was such an endpoint: keys can be made before it is up again.

        Raises:
            EndpointError: there never was.
        """
        if not self.path.is_dir():
            known = ", ".join(sorted(one.name for one in self.path.parent.glob("*"))) or "none yet"
            raise EndpointError("No endpoint of that name.", field="ENDPOINT", got=self.name, expected=known)
        return self

    def require_up(self) -> State:
        """What the endpoint's process told last.

        Raises:
            EndpointError: it is not up.
        """
        state = self.state()
        if state is None or state.status == "starting":
            up = [
                one.name
                for one in self.path.parent.glob("*")
                if EndpointFolder(self.path.parent.parent, one.name).state()
            ]
            raise EndpointError(
                "No endpoint of that name is up." if state is None else "The endpoint is still starting.",
                field="ENDPOINT", got=self.name, expected=", ".join(sorted(up)) or "one that is served: none is",
                fix="start one with `raysmith serve CONFIG`, or `raysmith run CONFIG --keep-serving`",
            )  # fmt: skip
        return state

    def operator_key(self) -> str:
        """The key of this user's own commands.

        Raises:
            EndpointError: the endpoint is not up, or another user's.
        """
        self.require_up()
        try:
            key: str = read_json(self._private_file)["api_key"]
        except (TypeError, PermissionError):
            raise EndpointError(
                "The endpoint was started by somebody else.", field="ENDPOINT", got=self.name,
                fix="ask for a key of your own: `raysmith keys create`",
            ) from None  # fmt: skip
        return key


def this_process(name: str, url: str) -> State:
    """The state of an endpoint that this process starts."""
    return State(name=name, pid=os.getpid(), started=psutil.Process().create_time(), url=url)


def client_of(url: str, api_key: str) -> OpenAI:
    """The official client, without the environment's proxies: an endpoint's key must not go to one."""
    import openai

    http_client = openai.DefaultHttpxClient(trust_env=False)
    return openai.OpenAI(base_url=url, api_key=api_key, max_retries=0, http_client=http_client)
