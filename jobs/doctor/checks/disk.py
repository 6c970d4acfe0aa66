"""The storage root and the folder for temporary files: tried, by writing a file that is removed again."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

from jobs.doctor.finding import Finding, State, Subject
from jobs.doctor.machine import mount_of
from jobs.words import size

AREA = "disk"
_TRIED_BYTES = 16_000_000
_SLOW = 20e6
_LEAST_FREE, _LITTLE = 1e9, 10e9
_LEAST_INODES = 10_000
_RAYS_SHARE = 0.95
"""Ray makes no objects and no sessions on a disk that is fuller."""
_GONE = {"tmpfs": "in memory: gone with the machine", "overlay": "the container's own layer: gone with the container"}
_NETWORK = {"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "fuse.s3fs", "fuse.gcsfuse", "ceph", "lustre"}
_SKEW_S = 2.0


def check(subject: Subject) -> Iterator[Finding]:
    """See `AREA`."""
    folder = next(one for one in (subject.root, *subject.root.parents) if one.exists())
    new = "" if folder == subject.root else f" (not there yet; looked at in {folder})"
    mount = mount_of(folder)
    kind: State = "warning" if mount.kind in _GONE else "ok"
    words = {**_GONE, **dict.fromkeys(_NETWORK, "on the network")}.get(mount.kind, "")
    yield Finding(
        "storage root", kind, f"{subject.root}{new}, {mount.kind}" + f", {words}" * bool(words),
        "set storage.root or $RAYSMITH_STORAGE to a disk that stays",
    )  # fmt: skip
    yield from _room("storage", folder)
    yield from tried(folder)
    yield from _room("temporary files", subject.temporary)
    if "noexec" in mount_of(subject.temporary).options:
        yield Finding(
            "noexec", "problem", f"{subject.temporary} is mounted noexec: compiled kernels (DeepSpeed, inductor, "
            "Triton) cannot be loaded from there", "TMPDIR=/some/other/folder, or mount it without noexec",
        )  # fmt: skip


def _room(what: str, folder: Path) -> Iterator[Finding]:
    there, entries = shutil.disk_usage(folder), os.statvfs(folder)
    full = 1 - there.free / there.total
    state: State = "problem" if there.free < _LEAST_FREE else "warning" if there.free < _LITTLE else "ok"
    if full > _RAYS_SHARE:
        state = "problem" if what == "temporary files" else state
    yield Finding(
        f"{what}: room", state, f"{size(there.free)} of {size(there.total)} free in {folder}",
        "free space; Ray needs its session's disk to be less than 95% full" if full > _RAYS_SHARE
        else "free space: `raysmith plan CONFIG` says what a job writes",
    )  # fmt: skip
    if entries.f_files > 0 and entries.f_favail < _LEAST_INODES:
        yield Finding(
            f"{what}: inodes", "problem", f"{entries.f_favail} of {entries.f_files} free in {folder}",
            "remove small files: a disk without inodes is full, whatever its free bytes",
        )  # fmt: skip


def tried(folder: Path) -> Iterator[Finding]:
    """Write, synchronize and lock a file, as runs do; it is removed."""
    file = folder / f".doctor-{uuid4().hex}"
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        yield Finding(
            "writing", "problem", f"{folder}: {error.strerror}", "chown or chmod it, or set storage.root to another"
        )
        return
    try:
        yield _written(descriptor, folder)
        yield _locked(descriptor, folder)
        skew = os.fstat(descriptor).st_mtime - time.time()
        if abs(skew) > _SKEW_S:
            yield Finding(
                "its clock", "warning", f"files get times {skew:+.0f} s off this machine's clock",
                "synchronize the file server's clock with the nodes' (NTP)",
            )  # fmt: skip
    finally:
        os.close(descriptor)
        file.unlink(missing_ok=True)


def _written(descriptor: int, folder: Path) -> Finding:
    began = time.perf_counter()
    try:
        left = memoryview(os.urandom(_TRIED_BYTES))
        while left:
            left = left[os.write(descriptor, left) :]
        os.fsync(descriptor)
    except OSError as error:
        return Finding("writing", "problem", f"{folder}: {error.strerror}", "free space, or another storage.root")
    rate = _TRIED_BYTES / (time.perf_counter() - began)
    return Finding(
        "writing", "warning" if rate < _SLOW else "ok", f"{size(_TRIED_BYTES)} written and synchronized, "
        f"{size(int(rate))}/s", "checkpoints wait for this disk: a faster one, or train.checkpoint.folder elsewhere",
    )  # fmt: skip


def _locked(descriptor: int, folder: Path) -> Finding:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return Finding(
            "locking", "problem", f"flock fails in {folder}: {error.strerror}",
            "mount it with locks (NFS 4, or a lock service for NFS 3): otherwise two drivers could run one job",
        )  # fmt: skip
    return Finding("locking", "ok", "flock works")
