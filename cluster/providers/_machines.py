"""Machine types of AWS and Google Cloud by what they hold: the smallest that fits a group is taken.

The figures are the clouds' own tables, for the types that training and serving commonly use. A type that is not here
is named in the description (`instance:`) and taken as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from cluster.description import HeadConfig, NodeGroup
from cluster.errors import ConfigError


class Machine(NamedTuple):
    """One machine type."""

    name: str
    cpus: int
    memory_gb: float
    gpu: str | None = None
    """As Ray names it in `accelerator_type`."""
    gpus: int = 0
    accelerator: str | None = None
    """Google Cloud's name of GPUs that are attached to a machine type without its own."""


def _series(prefix: str, sizes: str, gb_per_cpu: float, gpu: str | None = None) -> Iterator[Machine]:
    """`SUFFIX:CPUS[:GPUS]` …"""
    for size in sizes.split():
        suffix, cpus, *gpus = size.split(":")
        count = int(gpus[0]) if gpus else 0
        yield Machine(prefix + suffix, int(cpus), int(cpus) * gb_per_cpu, gpu if count else None, count)


_EC2_GENERAL = "large:2 xlarge:4 2xlarge:8 4xlarge:16 8xlarge:32 12xlarge:48 16xlarge:64 24xlarge:96 48xlarge:192"
_EC2_GPU = "xlarge:4:1 2xlarge:8:1 4xlarge:16:1 8xlarge:32:1 16xlarge:64:1 12xlarge:48:4 24xlarge:96:4 48xlarge:192:8"
_EC2_T4 = "xlarge:4:1 2xlarge:8:1 4xlarge:16:1 8xlarge:32:1 16xlarge:64:1 12xlarge:48:4 metal:96:8"
AWS = (
    *_series("m7i.", _EC2_GENERAL, 4), *_series("r7i.", _EC2_GENERAL, 8),
    *_series("g6.", _EC2_GPU, 4, "L4"), *_series("g6e.", _EC2_GPU, 8, "L40S"), *_series("g5.", _EC2_GPU, 4, "A10G"),
    *_series("g4dn.", _EC2_T4, 4, "T4"),
    Machine("p4d.24xlarge", 96, 1152, "A100-40G", 8), Machine("p4de.24xlarge", 96, 1152, "A100-80G", 8),
    Machine("p5.4xlarge", 16, 256, "H100", 1), Machine("p5.48xlarge", 192, 2048, "H100", 8),
    Machine("p5en.48xlarge", 192, 2048, "H200", 8), Machine("p6-b200.48xlarge", 192, 2048, "B200", 8),
)  # fmt: skip

_N2 = "2:2 4:4 8:8 16:16 32:32 48:48 64:64 80:80 96:96 128:128"
GCP = (
    *_series("n2-standard-", _N2, 4), *_series("n2-highmem-", _N2.removesuffix(" 96:96 128:128"), 8),
    *_series("g2-standard-", "4:4:1 8:8:1 12:12:1 16:16:1 32:32:1 24:24:2 48:48:4 96:96:8", 4, "L4"),
    *(Machine(f"n1-standard-{cpus}", cpus, cpus * 3.75, "T4", gpus, "nvidia-tesla-t4")
      for cpus in (4, 8, 16, 32) for gpus in (1, 2, 4)),
    *(Machine(f"a2-highgpu-{n}g", 12 * n, 85 * n, "A100-40G", n) for n in (1, 2, 4, 8)),
    *(Machine(f"a2-ultragpu-{n}g", 12 * n, 170 * n, "A100-80G", n) for n in (1, 2, 4, 8)),
    *(Machine(f"a3-highgpu-{n}g", 26 * n, 234 * n, "H100", n) for n in (1, 2, 4, 8)),
    Machine("a3-ultragpu-8g", 224, 2952, "H200", 8), Machine("a4-highgpu-8g", 224, 3968, "B200", 8),
)  # fmt: skip
_ALIASES = {"A100": ("A100-40G", "A100-80G")}
"""What Ray also calls them."""


def machine_for(table: tuple[Machine, ...], group: NodeGroup | HeadConfig, field: str) -> Machine:
    """The smallest type of `table` that holds what is described; `instance` is taken as it is.

    Raises:
        ConfigError: no type is known that does.
    """
    gpu = group.gpu if isinstance(group, NodeGroup) else None
    kind, count = (gpu.kind, gpu.count) if gpu is not None else (None, 0)
    if group.instance is not None:
        return Machine(group.instance, group.cpus, group.memory_gb or 0.0, kind, count)
    alike = [one for one in table if one.gpu == kind or (kind is not None and one.gpu in _ALIASES.get(kind, ()))]
    if not alike:
        raise ConfigError(
            "No machine with such GPUs is known.", field=f"{field}.gpu.kind", got=kind,
            expected=", ".join(sorted({one.gpu for one in table if one.gpu})),
            fix=f"name the machine type in {field}.instance",
        )  # fmt: skip
    counted = [one for one in alike if one.gpus == count]
    if not counted:
        raise ConfigError(
            f"No machine has that many {kind}.", field=f"{field}.gpu.count", got=count,
            expected=", ".join(str(one) for one in sorted({one.gpus for one in alike})),
            fix=f"another count, or name the machine type in {field}.instance",
        )  # fmt: skip
    fits = [one for one in counted if one.cpus >= group.cpus and one.memory_gb >= (group.memory_gb or 0.0)]
    if not fits:
        raise ConfigError(
            "No machine is that large.", field=f"{field}.cpus",
            got=f"{group.cpus} cores, {group.memory_gb or 0:g} GiB" + (f", {count} × {kind}" if kind else ""),
            expected=f"at most {max(one.cpus for one in counted)} cores and "
            f"{max(one.memory_gb for one in counted):g} GiB",
            fix=f"lower it, or name the machine type in {field}.instance",
        )  # fmt: skip
    return min(fits, key=lambda one: (one.cpus, one.memory_gb))
