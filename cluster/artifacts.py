"""Published artifacts: content-addressed folders with a manifest, names that point at them, and their lineage.

    artifacts/objects/KIND-HASH/manifest.json    what it is, and from what it was made
    artifacts/objects/KIND-HASH/files/…          its content, never changed
    artifacts/names/NAME.json                    {"id": …, "history": […]}

The id is a hash of the content and of what it was made from: the same files made from the same parents are the same
artifact, whoever made them, and lineage cannot be edited without `verify` noticing. A folder appears under `objects/`
by one rename, so it is whole or absent.
"""

from __future__ import annotations

import importlib.metadata
import math
import os
import re
import secrets
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from pydantic import Field

from cluster.config import Config, digest, file_digest
from cluster.errors import ArtifactError
from cluster.storage import read_json, write_json

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
_RECORDED_PACKAGES = (
    "ray", "torch", "deepspeed", "transformers", "peft", "trl", "datasets", "pyarrow", "bitsandbytes", "gguf",
    "xllamacpp", "raysmith",
)  # fmt: skip


class FileRecord(Config):
    """One file of an artifact."""

    sha256: str
    size_bytes: int


class Manifest(Config):
    """What an artifact is and where it comes from."""

    id: str
    """`KIND-` and the first 12 hexadecimal digits of a hash of content, parents and source."""
    name: str
    """The name it was first published under."""
    kind: str
    """`model`, `adapter`, `dataset`, `tokens`, `quantized` or `sweep`."""
    content: str
    """SHA-256 over the sorted list of (path, SHA-256 of the file)."""
    files: dict[str, FileRecord]
    parents: dict[str, str] = Field(default_factory=dict)
    """Role → artifact id, for example `{"base": "model-…", "data": "tokens-…"}`."""
    source: dict[str, str] = Field(default_factory=dict)
    """Where content from outside came from (package, file, hash)."""
    config_hash: str = ""
    """Hash of the configuration of the stage that made it."""
    packages: dict[str, str] = Field(default_factory=dict)
    """Versions of the packages it was made with."""
    metrics: dict[str, float] = Field(default_factory=dict)
    created: str = ""
    """UTC time, ISO 8601."""

    @property
    def size_bytes(self) -> int:
        """Bytes of all files."""
        return sum(record.size_bytes for record in self.files.values())


class ArtifactStore:
    """The artifacts under one storage root."""

    def __init__(self, root: Path) -> None:
        self._objects = root / "artifacts" / "objects"
        self._names = root / "artifacts" / "names"
        self._drafts = root / "artifacts" / "drafts"

    @contextmanager
    def draft(self) -> Iterator[Path]:
        """A folder to write an artifact's files into; removed afterwards unless it was published."""
        self._remove_abandoned_drafts()
        folder = self._new_draft()
        (folder / "files").mkdir(parents=True)
        try:
            yield folder / "files"
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def publish(
        self,
        files: Path,
        *,
        name: str,
        kind: str,
        parents: dict[str, str] | None = None,
        source: dict[str, str] | None = None,
        config_hash: str = "",
        metrics: dict[str, float] | None = None,
        pointed: bool = True,
    ) -> Manifest:
        """Publish a draft's files under a name.

        Args:
            files: the folder that `draft` gave.
            pointed: let the name mean it; otherwise it is there by its id alone, until `point`.

        Raises:
            ArtifactError: the name is not valid, there is no file, or a link, or a metric is not a finite number.
        """
        _require_name(name)
        if links := [str(path.relative_to(files)) for path in files.rglob("*") if path.is_symlink()]:
            raise ArtifactError(
                "An artifact cannot hold a link: what it leads to may change, or be a secret.", field=name,
                got=", ".join(links), expected="files", fix="copy what it leads to",
            )  # fmt: skip
        records = _hash_files(files)
        if not records:
            raise ArtifactError("An artifact without files cannot be published.", field=name, got=str(files))
        damaged = {key: value for key, value in (metrics or {}).items() if not math.isfinite(value)}
        if damaged:
            raise ArtifactError(
                "An artifact whose figures are not finite cannot be published.", field=name, got=damaged,
                expected="finite numbers", fix="look at the training loss for a divergence",
            )  # fmt: skip
        content = digest({path: record.sha256 for path, record in records.items()})
        manifest = Manifest(
            id=_identity(kind, content, parents or {}, source or {}),
            name=name, kind=kind, content=content, files=records,
            parents=parents or {}, source=source or {}, config_hash=config_hash, packages=package_versions(),
            metrics=metrics or {}, created=datetime.now(UTC).isoformat(timespec="seconds"),
        )  # fmt: skip
        write_json(files.parent / "manifest.json", manifest.model_dump(mode="json"))
        self._place(files.parent, manifest.id)
        if pointed:
            self.point(name, manifest.id)
        return self.get(manifest.id)

    def point(self, name: str, artifact_id: str) -> None:
        """Let `name` mean `artifact_id`, keeping the earlier ids in its history.

        Raises:
            ArtifactError: the name is not valid.
        """
        _require_name(name)
        path = self._names / f"{name}.json"
        old = read_json(path) or {"id": None, "history": []}
        if old["id"] != artifact_id:
            history = old["history"] + ([old["id"]] if old["id"] else [])
            write_json(path, {"id": artifact_id, "history": history})

    def get(self, reference: str, field: str = "NAME") -> Manifest:
        """Find an artifact by name, id, or a unique beginning of its id.

        Args:
            field: what named it, for the error.

        Raises:
            ArtifactError: there is none, there are several, or its manifest is damaged.
        """
        pointer = read_json(self._names / f"{reference}.json") if _NAME.fullmatch(reference) else None
        wanted = pointer["id"] if pointer else reference
        found = sorted(path.name for path in self._objects.glob("*") if path.name.startswith(wanted)) if wanted else []
        if wanted in found:
            found = [wanted]
        if len(found) != 1:
            raise ArtifactError(
                "No artifact of that name." if not found else "Several artifacts begin like that.",
                field=field, got=reference, expected=", ".join(found) or "a name that `raysmith ls` shows",
                fix="run `raysmith ls`; --storage tells it where to look",
            )  # fmt: skip
        return self._manifest(found[0])

    def files(self, manifest: Manifest) -> Path:
        """The folder with an artifact's files."""
        return self._objects / manifest.id / "files"

    def names(self) -> dict[str, str]:
        """Every name and the id it means."""
        return {path.stem: read_json(path)["id"] for path in sorted(self._names.glob("*.json"))}

    def verify(self, manifest: Manifest) -> None:
        """Hash every file again.

        Raises:
            ArtifactError: a file is missing, was added, or differs.
        """
        now = _hash_files(self.files(manifest))
        paths = sorted(now.keys() | manifest.files.keys())
        wrong = [path for path in paths if now.get(path) != manifest.files.get(path)]
        # The manifest itself may have been edited, lineage included: its id must still follow from it.
        content = digest({path: record.sha256 for path, record in manifest.files.items()})
        identity = _identity(manifest.kind, content, manifest.parents, manifest.source)
        if wrong or content != manifest.content or manifest.id != identity:
            raise ArtifactError(
                "The artifact was altered after it was published.", field=manifest.id,
                got="changed: " + (", ".join(wrong) or "manifest.json"),
                expected=f"content {manifest.content[:12]}",
                fix="remove its folder under artifacts/objects and run the stage again",
            )  # fmt: skip

    def _manifest(self, artifact_id: str) -> Manifest:
        path = self._objects / artifact_id / "manifest.json"
        try:
            manifest = Manifest.model_validate_json(path.read_bytes())
            if manifest.id != artifact_id:
                raise ValueError(f"it is the manifest of {manifest.id}")
        except (OSError, ValueError) as error:
            raise ArtifactError(
                "The artifact's manifest is missing or damaged.", field=str(path), got=error,
                fix=f"remove {path.parent} and run the stage again",
            ) from None  # fmt: skip
        return manifest

    def _new_draft(self) -> Path:
        return self._drafts / f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"

    def _place(self, draft: Path, artifact_id: str) -> None:
        target = self._objects / artifact_id
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            draft.rename(target)
        except OSError:  # the same content was published before, perhaps by another driver just now
            if not target.exists():
                raise
            try:
                self.verify(self._manifest(artifact_id))
            except ArtifactError:  # and was altered since
                altered = self._new_draft()
                target.rename(altered)
                draft.rename(target)
                shutil.rmtree(altered, ignore_errors=True)

    def _remove_abandoned_drafts(self) -> None:
        for folder in self._drafts.glob("*-*-*"):
            host, pid, _ = folder.name.rsplit("-", 2)
            if host == socket.gethostname() and not psutil.pid_exists(int(pid)):
                shutil.rmtree(folder, ignore_errors=True)


def _identity(kind: str, content: str, parents: dict[str, str], source: dict[str, str]) -> str:
    return f"{kind}-{digest([kind, content, parents, source])[:12]}"


def _require_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ArtifactError(
            "An artifact's name is not valid.", field="name", got=repr(name),
            expected="lower-case letters, digits, '.', '_' and '-', at most 100",
        )  # fmt: skip


def package_versions() -> dict[str, str]:
    """Versions of the installed packages that shape an artifact."""
    versions = {}
    for package in _RECORDED_PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def compare_manifests(a: Manifest, b: Manifest) -> dict[str, tuple[Any, Any]]:
    """What differs between two artifacts: dotted key → (value in a, value in b)."""
    differences: dict[str, tuple[Any, Any]] = {}
    for key in ("kind", "content", "config_hash"):
        if getattr(a, key) != getattr(b, key):
            differences[key] = (getattr(a, key), getattr(b, key))
    for group in ("parents", "source", "packages", "metrics", "files"):
        one, two = getattr(a, group), getattr(b, group)
        for key in sorted(one.keys() | two.keys()):
            if one.get(key) != two.get(key):
                differences[f"{group}.{key}"] = (one.get(key), two.get(key))
    return differences


def _hash_files(folder: Path) -> dict[str, FileRecord]:
    return {
        str(path.relative_to(folder)): FileRecord(sha256=file_digest(path), size_bytes=path.stat().st_size)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }
