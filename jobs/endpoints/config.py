"""The configuration of an endpoint: `raysmith serve CONFIG`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, NamedTuple, Self

from pydantic import Field, model_validator

from cluster.config import Config, FromFolder, digest
from cluster.config_file import load_config
from cluster.connect import ClusterConfig
from cluster.errors import ConfigValueError
from cluster.storage import StorageConfig
from serving.config import ReplicaConfig, ServeConfig
from serving.protocol import EngineConfig

AdapterName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]


class CanaryConfig(Config):
    """A second model behind the same name, which gets a part of the requests."""

    model: str
    """A published model, by name or id."""
    weight: float = Field(gt=0, lt=1)
    """Its share of the requests."""
    adapters: dict[AdapterName, str] = Field(default_factory=dict)
    """As of the endpoint."""
    engine: Annotated[EngineConfig, FromFolder("serving.engines")] | None = None
    """Unset: the endpoint's."""
    replicas: ReplicaConfig | None = None
    """Unset: the endpoint's."""


class EndpointConfig(ServeConfig):
    """An endpoint: a published model, an engine, and how it is served."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,49}$")
    """What clients ask for, and other commands name."""
    cluster: ClusterConfig = ClusterConfig()
    """Where it runs."""
    storage: StorageConfig = StorageConfig()
    """Where published models are kept."""
    model: str
    """A published model, by name or id: `raysmith ls`."""
    adapters: dict[AdapterName, str] = Field(default_factory=dict)
    """Name that clients put after the endpoint's, `endpoint:name` → published LoRA adapter of the model."""
    canary: CanaryConfig | None = None
    """A second model, for a part of the requests."""

    @model_validator(mode="after")
    def _front_is_here(self) -> Self:
        if self.cluster.address.startswith("ray://"):
            raise ConfigValueError(
                "An endpoint is served by a machine of the cluster: this one would be none.",
                got=f"cluster.address: {self.cluster.address}", expected="local, auto or HOST:PORT",
                fix="run the command on the head node",
            )  # fmt: skip
        return self

    @model_validator(mode="after")
    def _adapters_can_be_added(self) -> Self:
        for key, part in zip(("adapters", "canary.adapters"), self.parts(), strict=False):
            if part.adapters and not part.serve.engine.ADDS_ADAPTERS:
                raise ConfigValueError(
                    "The engine adds no adapters.", got=f"{key} with engine: {part.serve.engine.kind}",
                    expected="engine: vllm or transformers", fix=f"remove {key}, or serve the merged model",
                )  # fmt: skip
            room = getattr(part.serve.engine, "max_adapters", None)
            if room is not None and len(part.adapters) > room:
                raise ConfigValueError(
                    "The engine has no room for that many adapters.", got=f"{len(part.adapters)} {key}",
                    expected=f"at most engine.max_adapters: {room}", fix=f"engine.max_adapters={len(part.adapters)}",
                )  # fmt: skip
        return self

    def parts(self) -> list[Part]:
        """What is served: the model, and the canary if there is one."""
        serve = ServeConfig(**{name: getattr(self, name) for name in ServeConfig.model_fields})
        if self.canary is None:
            return [Part(self.model, serve, self.adapters, 1.0)]
        canary, rest = self.canary, 1.0 - self.canary.weight
        changed = {"engine": canary.engine or serve.engine, "replicas": canary.replicas or serve.replicas}
        second = Part(canary.model, serve.model_copy(update=changed), canary.adapters, canary.weight)
        return [Part(self.model, serve, self.adapters, rest), second]

    def resolved(self) -> dict[str, Any]:
        """The whole configuration with all defaults, as plain data that loads again."""
        return self.model_dump(mode="json")


class Part(NamedTuple):
    """One model of an endpoint."""

    model: str
    serve: ServeConfig
    adapters: dict[str, str]
    weight: float

    def identity(self, artifact: str) -> str:
        """The same for two parts of which one can go on as the other: what replicas were started with."""
        serve = self.serve
        return digest(
            [artifact, serve.engine.model_dump(mode="json"), serve.replicas.model_dump(mode="json"), serve.prove]
        )


def load_endpoint(path: Path, overrides: list[str]) -> EndpointConfig:
    """Read an endpoint's file with overrides; see `cluster.config_file.load_config`."""
    return load_config(EndpointConfig, path, overrides)
