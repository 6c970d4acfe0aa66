"""Checkpoints: a folder a step, a file a worker, complete when its marker is there.

    step-00000050/rank-00000.safetensors    this worker's fragments (`trainers/states.py`): role/NAME → float32
    step-00000050/rank-00000.json           where each fragment begins, the file's size and SHA-256
    step-00000050/complete.json             written last, by rank 0: step, shapes, files, held-out loss

Nothing else needs saving: sampling order, dropout and learning rate are functions of the step. Since fragments are
named pieces of parameters, any number of workers at any ZeRO stage reads them back, each only the bytes it needs; a
process without DeepSpeed makes a transformers folder of them (`export`). The files are safetensors, no pickles.

Folders may lie on local disk or in an object store (`pyarrow.fs`). A kill leaves an unmarked folder, which the next
start removes; a disk that runs full costs the checkpoint that was being written, never one that was complete.
"""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
import re
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow.fs as pafs
from pydantic import Field

from cluster.config import Config
from cluster.errors import ClusterError, ConfigError
from trainers.config import TrainConfig

if TYPE_CHECKING:
    import torch

_MARKER = "complete.json"
_STEP = re.compile(r"step-(\d{8})")
_READ_BYTES = 1 << 22


class FileRecord(Config):
    """One worker's file."""

    size_bytes: int
    sha256: str
    pieces: dict[str, list[int]]
    """Parameter → [first element, number of elements, offset in the file of master weights, then of each moment]."""


class Marker(Config):
    """What a complete checkpoint says of itself."""

    step: int
    """Optimizer steps of the loop."""
    optimizer_steps: int
    """Steps that Adam took; fewer than `step` when float16 overflowed."""
    loss_scale: float | None = None
    """Dynamic loss scale of float16."""
    shapes: dict[str, list[int]]
    """Shape of each trained parameter."""
    files: dict[str, FileRecord]
    heldout_loss: float | None = None
    """Of the measurement at this step, if there was one."""
    progress: dict[str, Any] = Field(default_factory=dict)
    """What the loop wants back: the best measurement so far, why it stopped."""


class Folder:
    """A folder of checkpoints, on local disk or in an object store.

    Args:
        location: a path, or a URI such as `s3://bucket/prefix` or `s3://bucket/prefix?endpoint_override=…`.
        parts: folders below it.

    Raises:
        ConfigError: the URI's scheme is not known.
    """

    def __init__(self, location: str, *parts: str) -> None:
        try:
            if "://" in location:
                self._files, root = pafs.FileSystem.from_uri(location)
            else:
                self._files, root = pafs.LocalFileSystem(), str(Path(location).absolute())
        except (ValueError, OSError) as error:
            raise ConfigError(
                "The checkpoint folder's address is not understood.", field="train.checkpoint.folder", got=location,
                expected="a path, s3://…, gs://… or file:///…", fix=str(error),
            ) from None  # fmt: skip
        self._root = posixpath.join(root, *parts)
        self.location = location

    @property
    def is_local(self) -> bool:
        """Whether files appear while they are written, and must be synchronized to survive a power cut."""
        return isinstance(self._files, pafs.LocalFileSystem)

    def path(self, *parts: str) -> str:
        """A path inside the folder."""
        return posixpath.join(self._root, *parts)

    def write(self, parts: tuple[str, ...], content: Iterator[bytes | memoryview]) -> tuple[int, str]:
        """Write a file; gives its size and SHA-256."""
        target = written = self.path(*parts)
        if self.is_local:  # elsewhere a file is there when its stream is closed, and not before
            written = f"{target}.part"
            Path(target).parent.mkdir(parents=True, exist_ok=True)
        digest, size = hashlib.sha256(), 0
        with self._files.open_output_stream(written) as stream:
            for piece in content:
                stream.write(piece)
                digest.update(piece)
                size += len(piece)
        if self.is_local:
            _synchronize(written)
            Path(written).replace(target)
            _synchronize(posixpath.dirname(target))
        return size, digest.hexdigest()

    def open(self, *parts: str) -> Any:
        """A file open for random access."""
        return self._files.open_input_file(self.path(*parts))

    def read(self, *parts: str) -> bytes | None:
        """A small file's content; None when there is none."""
        try:
            with self._files.open_input_stream(self.path(*parts)) as stream:
                content: bytes = stream.read()
                return content
        except FileNotFoundError:
            return None

    def size(self, *parts: str) -> int | None:
        """A file's bytes; None when there is none."""
        found: int | None = self._files.get_file_info(self.path(*parts)).size
        return found

    def names(self) -> list[str]:
        """The entries of the folder."""
        selector = pafs.FileSelector(self._root, allow_not_found=True)
        return sorted(info.base_name for info in self._files.get_file_info(selector))

    def remove(self, name: str) -> None:
        """Remove a checkpoint, its marker first: what is half removed is not complete."""
        if self.size(name, _MARKER) is not None:
            self._files.delete_file(self.path(name, _MARKER))
        self._files.delete_dir(self.path(name))


def _synchronize(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def checkpoint_folder(config: TrainConfig, folder: Path, run: str, name: str) -> Folder:
    """Where a training's checkpoints lie: in its folder of the run directory, or where the configuration says.

    Args:
        folder: the training's, in the run directory.
        run: the run's name.
        name: the training's name.
    """
    if config.checkpoint.folder is None:
        return Folder(str(folder), "checkpoints")
    return Folder(config.checkpoint.folder, run, name)


def step_name(step: int) -> str:
    """The folder of a step's checkpoint."""
    return f"step-{step:08d}"


def list_checkpoints(folder: Folder) -> list[Marker]:
    """The complete checkpoints, oldest first; unmarked and unreadable ones are not listed."""
    found = []
    for name in folder.names():
        if _STEP.fullmatch(name) and (content := folder.read(name, _MARKER)) is not None:
            try:
                found.append(Marker.model_validate_json(content))
            except ValueError:
                continue
    return found


def damage(folder: Folder, marker: Marker) -> str | None:
    """What is wrong with a checkpoint's files, by their sizes; None when nothing is."""
    for name, record in marker.files.items():
        size = folder.size(step_name(marker.step), name)
        if size != record.size_bytes:
            return f"{step_name(marker.step)}/{name} has {size} of {record.size_bytes} bytes"
    return None


def is_intact(folder: Folder, marker: Marker, name: str) -> bool:
    """Whether a file's content is what was written."""
    digest = hashlib.sha256()
    with folder.open(step_name(marker.step), name) as stream:
        while piece := stream.read(_READ_BYTES):
            digest.update(piece)
    return digest.hexdigest() == marker.files[name].sha256


def sweep(folder: Folder, keep: int, every: int | None, best: bool) -> list[int]:
    """Remove the checkpoints that the policy does not keep; gives the steps of those removed.

    Args:
        keep: newest ones kept.
        every: those at multiples of so many steps are kept.
        best: the one with the lowest held-out loss is kept.
    """
    markers = list_checkpoints(folder)
    kept = {marker.step for marker in markers[-keep:]}
    kept |= {marker.step for marker in markers if every and marker.step % every == 0}
    if best and (champion := best_of(markers)):
        kept.add(champion.step)
    removed = [marker.step for marker in markers if marker.step not in kept]
    for step in removed:
        folder.remove(step_name(step))
    return removed


def best_of(markers: list[Marker]) -> Marker | None:
    """The checkpoint with the lowest held-out loss."""
    measured = [(marker.heldout_loss, marker.step, marker) for marker in markers if marker.heldout_loss is not None]
    return min(measured)[2] if measured else None


def remove_unfinished(folder: Folder) -> None:
    """Remove what a kill left without a marker that can be read. Only when nobody is writing."""
    complete = {step_name(marker.step) for marker in list_checkpoints(folder)}
    for name in folder.names():
        if _STEP.fullmatch(name) and name not in complete:
            folder.remove(name)


class Piece(NamedTuple):
    """A fragment's copy, on the CPU."""

    name: str
    start: int
    tensors: Mapping[str, torch.Tensor]
    """Role → float32 [n]."""


def write_pieces(folder: Folder, step: int, rank: int, pieces: list[Piece]) -> None:
    """Write this worker's file and its record."""
    tensors = [(f"{role}/{piece.name}", tensor) for piece in pieces for role, tensor in piece.tensors.items()]
    header: dict[str, Any] = {}
    at = 0
    for key, tensor in tensors:
        size = tensor.numel() * 4
        header[key] = {"dtype": "F32", "shape": [tensor.numel()], "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    base = 8 + len(text)

    def content() -> Iterator[bytes | memoryview]:
        yield struct.pack("<Q", len(text)) + text
        for _, tensor in tensors:
            yield tensor.contiguous().numpy().data.cast("B")

    name = f"rank-{rank:05d}"
    size, digest = folder.write((step_name(step), f"{name}.safetensors"), content())
    offsets = {
        piece.name: [
            piece.start,
            next(iter(piece.tensors.values())).numel(),
            *(base + header[f"{role}/{piece.name}"]["data_offsets"][0] for role in piece.tensors),
        ]
        for piece in pieces
    }
    record = FileRecord(size_bytes=size, sha256=digest, pieces=offsets)
    folder.write((step_name(step), f"{name}.json"), iter([record.model_dump_json().encode()]))


def write_marker(folder: Folder, marker: Marker, workers: int) -> Marker:
    """Gather the workers' records and mark the checkpoint as complete.

    Raises:
        ClusterError: a record is missing: the workers do not share the folder.
    """
    files = {}
    for rank in range(workers):
        content = folder.read(step_name(marker.step), f"rank-{rank:05d}.json")
        if content is None:
            raise ClusterError(
                "A worker's part of the checkpoint cannot be seen by worker 0.", field="train.checkpoint.folder",
                got=folder.path(step_name(marker.step)), expected=f"files of {workers} workers",
                fix="let storage.root, or train.checkpoint.folder, be storage that all nodes share",
            )  # fmt: skip
        files[f"rank-{rank:05d}.safetensors"] = FileRecord.model_validate_json(content)
    done = marker.model_copy(update={"files": files})
    folder.write((step_name(marker.step), _MARKER), iter([done.model_dump_json().encode()]))
    return done


class Reader:
    """Reads runs of elements out of a complete checkpoint, whichever workers wrote them."""

    def __init__(self, folder: Folder, marker: Marker) -> None:
        self._folder, self._name = folder, step_name(marker.step)
        self._open: dict[str, Any] = {}
        self._where: dict[str, list[tuple[str, list[int]]]] = {}
        for file, record in marker.files.items():
            for name, where in record.pieces.items():
                self._where.setdefault(name, []).append((file, where))

    def fill(self, name: str, start: int, roles: Mapping[int, torch.Tensor]) -> None:
        """Fill tensors with a parameter's elements from `start` on.

        Args:
            roles: index of the role (0: master weights, 1 and 2: moments) → flat float32 tensor to fill.

        Raises:
            ClusterError: the checkpoint does not hold all of them.
        """
        import torch

        numel, filled = next(iter(roles.values())).numel(), 0
        for file, (first, count, *offsets) in self._where.get(name, []):
            low, high = max(start, first), min(start + numel, first + count)
            if low >= high:
                continue
            filled += high - low
            for role, target in roles.items():
                content = self._file(file).read_at((high - low) * 4, offsets[role] + (low - first) * 4)
                values = torch.frombuffer(bytearray(content), dtype=torch.float32)
                target[low - start : high - start].copy_(values)
        if filled != numel:
            raise ClusterError(
                "The checkpoint does not hold a parameter as this model has it.", field=f"{self._name}: {name}",
                got=f"{filled} of {numel} elements", expected="a checkpoint of the same model and adapter",
                fix="run with --fresh",
            )  # fmt: skip

    def _file(self, name: str) -> Any:
        if name not in self._open:
            self._open[name] = self._folder.open(self._name, name)
        return self._open[name]

    def close(self) -> None:
        """Close the files."""
        for stream in self._open.values():
            stream.close()
