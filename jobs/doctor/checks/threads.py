"""Compute threads: as many as cores, and none that spin while they wait."""

from __future__ import annotations

import os
from collections.abc import Iterator

from jobs.doctor.finding import Finding, Subject
from jobs.doctor.machine import cgroup_cpus, usable_cores

AREA = "threads"
_COUNTS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_FOREVER = {"infinite", "infinity"}


def check(subject: Subject) -> Iterator[Finding]:
    """See `AREA`."""
    cores, quota = usable_cores(), cgroup_cpus()
    fewer = quota is not None and quota < cores
    yield Finding(
        "cores", "warning" if fewer else "ok",
        f"{cores} of {os.cpu_count()}" + (f", but only {quota:g} at a time (the container's quota)" if fewer else ""),
        f"cluster.num_cpus: {max(1, int(quota or 1))}: Ray counts cores, not quotas, and threads above it wait for "
        "each other",
    )  # fmt: skip
    yield _counts(subject, cores)
    yield _waiting(subject)
    load = os.getloadavg()[0]
    yield Finding(
        "load", "warning" if load > 2 * cores else "ok", f"{load:.1f} in the last minute, on {cores} cores",
        "other programs use the cores: times and rates that are measured now are not to be trusted",
    )  # fmt: skip


def _counts(subject: Subject, cores: int) -> Finding:
    given = {name: subject.environment[name] for name in _COUNTS if subject.environment.get(name)}
    wrong = {name: count for name, count in given.items() if not count.isdecimal() or not 0 < int(count) <= cores}
    said = ", ".join(f"{name}={count}" for name, count in (wrong or given).items())
    return Finding(
        "thread counts", "warning" if wrong else "ok", said or "not set: each worker gets as many as its cores",
        f"unset it, or at most {cores}: the sum over the workers of a machine must not be more than its cores",
    )  # fmt: skip


def _waiting(subject: Subject) -> Finding:
    """Threads that spin take the cores of those that work: two busy pools on two cores were 26 times slower."""
    environment = subject.environment
    spins = []
    if environment.get("OMP_WAIT_POLICY", "").lower() == "active":
        spins.append(f"OMP_WAIT_POLICY={environment['OMP_WAIT_POLICY']}")
    if environment.get("KMP_BLOCKTIME", "").lower() in _FOREVER:
        spins.append(f"KMP_BLOCKTIME={environment['KMP_BLOCKTIME']}")
    if environment.get("GOMP_SPINCOUNT", "").lower() in _FOREVER:
        spins.append(f"GOMP_SPINCOUNT={environment['GOMP_SPINCOUNT']}")
    policy = environment.get("OMP_WAIT_POLICY")
    return Finding(
        "waiting threads", "warning" if spins else "ok",
        f"{', '.join(spins)}: threads that wait keep their cores" if spins
        else f"OMP_WAIT_POLICY={policy}" if policy else "the library's own (they sleep after a while)",
        "unset it: two pools of threads that spin on the same cores made a step 26 times slower",
    )  # fmt: skip
