"""Google's cloud: Ray's cluster launcher starts Compute Engine machines, and its autoscaler adds and removes them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from cluster.description import HeadConfig, NodeGroup
from cluster.errors import ConfigError
from cluster.providers._launcher import Launcher, LauncherConfig
from cluster.providers._machines import GCP, Machine, machine_for
from cluster.providers._node_types import HEAD, resources_of, worker_types

_HYPERDISK = ("a3-ultragpu", "a4-", "a4x-", "c4", "n4")
_IMAGE = r"^projects/[a-z0-9-]+/global/images/(family/)?[a-z0-9-]+$"


class Config(LauncherConfig):
    """Where in Google Cloud, and as what."""

    kind: Literal["gcp"] = "gcp"
    project: str = Field(pattern=r"^[a-z][a-z0-9-]{4,28}[a-z0-9]$")
    """The project's id."""
    zone: str = Field(pattern=r"^[a-z]+-[a-z]+\d+-[a-z]$")
    """Such as `us-central1-a`."""
    machine_image: str = Field(
        default="projects/ubuntu-os-cloud/global/images/family/ubuntu-2404-lts-amd64", pattern=_IMAGE
    )
    """Of nodes without GPUs; with Docker if `image` is set."""
    gpu_machine_image: str | None = Field(default=None, pattern=_IMAGE)
    """Of nodes with GPUs: one that has NVIDIA's driver (580 or newer, for the lock's torch), or installs it when it
    first starts, such as a family of `deeplearning-platform-release`. Without `image`, of the same Ubuntu as
    `machine_image`: the nodes must have one Python."""
    disk_gb: int = Field(default=200, ge=50)
    """Of each node, gone with it."""
    disk_type: str | None = Field(default=None, pattern=r"^[a-z]+-[a-z-]+$")
    """Unset: `hyperdisk-balanced` where machines take nothing else (A3 Ultra, A4), otherwise `pd-balanced`: Google's
    own choice, `pd-standard`, is refused by G2."""
    subnetwork: str | None = Field(
        default=None, pattern=r"^projects/[a-z0-9-]+/regions/[a-z0-9-]+/subnetworks/[a-z0-9-]+$"
    )
    """Unset: Ray's choice, with a public address for each node. What reaches the nodes is up to the network's firewall:
    Google's default network lets in ssh, remote desktop and ping, and no port of Ray."""
    internal_ips: bool = False
    """Reach the head by its address inside the network; with `subnetwork`, nodes have no public one."""


class Provider(Launcher):
    """Renders and runs `ray up` for Compute Engine."""

    CLOUD = "gcp"
    REQUIRES = ("googleapiclient",)
    NODE_PACKAGES = (
        "google-api-python-client==2.202.0", "google-auth==2.62.2", "google-auth-httplib2==0.4.4", "httplib2==0.32.1",
        "google-api-core==2.44.0", "googleapis-common-protos==1.76.0", "proto-plus==1.29.0", "uritemplate==4.2.0",
        "pyasn1==0.6.5", "pyasn1_modules==0.4.2",
    )  # fmt: skip

    def _platform(self) -> dict[str, Any]:
        config = self.file.provider
        if not isinstance(config, Config):
            raise TypeError(config)
        head = machine_for(GCP, self.file.head, "head")
        types = {
            HEAD: {
                "resources": resources_of(self.file.head),
                "node_config": _node(config, head, self.file.head, "head"),
                "min_workers": 0, "max_workers": 0,
            },
            **worker_types(self.file, lambda name, group: _node(
                config, machine_for(GCP, group, f"nodes.{name}"), group, f"nodes.{name}"
            )),
        }  # fmt: skip
        provider = {
            "type": "gcp",
            "region": config.zone.rpartition("-")[0],
            "availability_zone": config.zone,
            "project_id": config.project,
            "use_internal_ips": config.internal_ips,
        }
        auth: dict[str, Any] = {"ssh_user": config.ssh_user}
        if config.ssh_key is not None:
            auth["ssh_private_key"] = str(config.ssh_key)
        return {"provider": provider, "auth": auth, "head_node_type": HEAD, "available_node_types": types}


def _node(config: Config, machine: Machine, group: NodeGroup | HeadConfig, field: str) -> dict[str, Any]:
    """What Compute Engine is asked for."""
    gpus = machine.gpus
    image = config.gpu_machine_image if gpus else config.machine_image
    if image is None:
        raise ConfigError(
            "Nodes with GPUs need a machine image with NVIDIA's driver.", field="provider.gpu_machine_image",
            got=f"unset, and {field} has GPUs", expected="projects/PROJECT/global/images/family/FAMILY",
            fix="gcloud compute images list --project deeplearning-platform-release --no-standard-images",
        )  # fmt: skip
    kind = config.disk_type or ("hyperdisk-balanced" if machine.name.startswith(_HYPERDISK) else "pd-balanced")
    disk = {
        "diskSizeGb": config.disk_gb, "sourceImage": image, "diskType": f"zones/{config.zone}/diskTypes/{kind}",
    }  # fmt: skip
    spot = isinstance(group, NodeGroup) and group.spot
    node: dict[str, Any] = {
        "machineType": machine.name,
        "disks": [{"boot": True, "autoDelete": True, "type": "PERSISTENT", "initializeParams": disk}],
        "scheduling": {
            # Machines with GPUs, and those that Google may take back, cannot be moved while they run.
            "onHostMaintenance": "TERMINATE" if gpus or spot else "MIGRATE",
            "automaticRestart": False,
            **({"provisioningModel": "SPOT", "instanceTerminationAction": "DELETE"} if spot else {}),
        },
        "shieldedInstanceConfig": {"enableVtpm": True, "enableIntegrityMonitoring": True},
    }  # fmt: skip
    if gpus:  # images of Google's with this in their metadata install the driver when they first start
        node["metadata"] = {"items": [{"key": "install-nvidia-driver", "value": "True"}]}
    if machine.accelerator is not None:
        node["guestAccelerators"] = [{"acceleratorType": machine.accelerator, "acceleratorCount": gpus}]
    if config.subnetwork is not None:
        outside = [] if config.internal_ips else [{"name": "External NAT", "type": "ONE_TO_ONE_NAT"}]
        node["networkInterfaces"] = [{"subnetwork": config.subnetwork, "accessConfigs": outside}]
    return node
