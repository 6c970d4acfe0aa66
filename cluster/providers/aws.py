"""Amazon's cloud: Ray's cluster launcher starts EC2 machines, and its autoscaler adds and removes them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from cluster.description import HeadConfig, NodeGroup
from cluster.errors import ConfigError
from cluster.providers._launcher import Launcher, LauncherConfig
from cluster.providers._machines import AWS, Machine, machine_for
from cluster.providers._node_types import HEAD, resources_of, worker_types


class Config(LauncherConfig):
    """Where in AWS, and as what."""

    kind: Literal["aws"] = "aws"
    region: str = Field(pattern=r"^[a-z]{2}(-[a-z]+)+-\d$")
    """Such as `us-east-1`."""
    zones: list[Annotated[str, Field(pattern=r"^[a-z0-9-]+$")]] = Field(default_factory=list)
    """Availability zones, tried in this order; unset: Ray's choice among the region's."""
    ami: str = Field(pattern=r"^ami-[0-9a-f]+$")
    """Machine image of every node: Ubuntu 24.04, with NVIDIA's driver where groups have GPUs (AWS calls it "Deep
    Learning Base AMI with Single CUDA (Ubuntu 24.04)"; ids differ between regions), and Docker if `image` is set."""
    disk_gb: int = Field(default=200, ge=50)
    """Of each node, encrypted, gone with it."""
    key_name: str | None = None
    """EC2 key pair that `ssh_key` belongs to; with neither, Ray makes one."""
    security_groups: list[Annotated[str, Field(pattern=r"^sg-[0-9a-f]+$")]] = Field(default_factory=list)
    """Of each node. Unset: Ray makes one, which lets the nodes reach each other, and everyone port 22 (ssh, by key);
    no port of Ray is open to others."""
    subnets: list[Annotated[str, Field(pattern=r"^subnet-[0-9a-f]+$")]] = Field(default_factory=list)
    """Unset: those of the region's default network."""
    internal_ips: bool = False
    """Reach the head by its address inside the network, and give nodes no public one to use."""
    head_profile: str | None = Field(default=None, pattern=r"^arn:aws[a-z-]*:iam::\d+:instance-profile/.+$")
    """Instance profile of the head, which starts and ends machines. Unset: Ray makes one with all rights on EC2 and
    S3: too many for an account that holds anything else."""
    node_profile: str | None = Field(default=None, pattern=r"^arn:aws[a-z-]*:iam::\d+:instance-profile/.+$")
    """Instance profile of the other nodes; unset: none. The head starts them, so its own needs `iam:PassRole` for it,
    which the one that Ray makes does not have."""


class Provider(Launcher):
    """Renders and runs `ray up` for EC2."""

    CLOUD = "aws"
    REQUIRES = ("boto3",)
    NODE_PACKAGES = ("boto3==1.44.5", "botocore==1.44.5", "s3transfer==0.19.3", "jmespath==1.1.0")

    def _platform(self) -> dict[str, Any]:
        config = self.file.provider
        if not isinstance(config, Config):
            raise TypeError(config)
        _require_key(config)
        head = machine_for(AWS, self.file.head, "head")
        types = {
            HEAD: {
                "resources": resources_of(self.file.head),
                "node_config": _node(config, head, self.file.head),
                "min_workers": 0, "max_workers": 0,
            },
            **worker_types(
                self.file, lambda name, group: _node(config, machine_for(AWS, group, f"nodes.{name}"), group)
            ),
        }  # fmt: skip
        provider: dict[str, Any] = {
            "type": "aws",
            "region": config.region,
            "cache_stopped_nodes": False,  # a stopped machine keeps costing its disk
            "use_internal_ips": config.internal_ips,
            "security_group": {"GroupName": f"raysmith-{self.file.name}"},
        }
        if config.zones:
            provider["availability_zone"] = ",".join(config.zones)
        auth: dict[str, Any] = {"ssh_user": config.ssh_user}
        if config.ssh_key is not None:
            auth["ssh_private_key"] = str(config.ssh_key)
        return {"provider": provider, "auth": auth, "head_node_type": HEAD, "available_node_types": types}


def _require_key(config: Config) -> None:
    """Ray takes the private key and the pair's name, or makes both; with one of them it would stop half-way."""
    if (config.ssh_key is None) != (config.key_name is None):
        raise ConfigError(
            "A key is named twice: as a file here, and as a key pair of EC2.",
            field="provider.key_name" if config.key_name is None else "provider.ssh_key", got=None,
            expected="both ssh_key and key_name, or neither",
        )  # fmt: skip
    if config.node_profile is not None and config.head_profile is None:
        raise ConfigError(
            "The head that Ray makes may not give that profile to machines.", field="provider.head_profile", got=None,
            expected="an instance profile that has iam:PassRole for node_profile, and may start and end machines",
        )  # fmt: skip


def _node(config: Config, machine: Machine, group: NodeGroup | HeadConfig) -> dict[str, Any]:
    """What EC2 is asked for."""
    disk = {"VolumeSize": config.disk_gb, "VolumeType": "gp3", "Encrypted": True, "DeleteOnTermination": True}
    node: dict[str, Any] = {
        "InstanceType": machine.name,
        "ImageId": config.ami,
        "BlockDeviceMappings": [{"DeviceName": "/dev/sda1", "Ebs": disk}],
        "InstanceInitiatedShutdownBehavior": "terminate",
        # Without a session token nobody on the node reads its rights through a forged request; 2 hops: containers.
        "MetadataOptions": {"HttpTokens": "required", "HttpEndpoint": "enabled", "HttpPutResponseHopLimit": 2},
    }
    is_head = isinstance(group, HeadConfig)
    if isinstance(group, NodeGroup) and group.spot:
        node["InstanceMarketOptions"] = {
            "MarketType": "spot",
            "SpotOptions": {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"},
        }
    if profile := config.head_profile if is_head else config.node_profile:
        node["IamInstanceProfile"] = {"Arn": profile}
    if config.key_name is not None:
        node["KeyName"] = config.key_name
    if config.security_groups:
        node["SecurityGroupIds"] = config.security_groups
    if config.subnets:
        node["SubnetIds"] = config.subnets
    return node
