"""API keys of an endpoint: random, hashed at rest, read again by the front when the file changes.

A key has 256 bits of randomness, so one SHA-256 is enough: there is nothing to guess, and no salt would help.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import Field

from cluster.config import Config
from cluster.errors import ConfigError
from cluster.storage import read_json, write_json

FILE_NAME = "keys.json"
_PREFIX = "rs-"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class Key(Config):
    """What is kept of a key; the key itself is not."""

    name: str
    """What it is listed and revoked by."""
    sha256: str
    """Hexadecimal."""
    created: str = ""
    """UTC time, ISO 8601."""
    scope: Literal["all", "metrics"] = "all"
    """`metrics`: it opens `/metrics` alone, for a Prometheus server."""
    requests_per_minute: int | None = Field(default=None, ge=1)
    """Unset: the endpoint's limit."""
    tokens_per_minute: int | None = Field(default=None, ge=1)
    """Unset: the endpoint's limit."""


def digest_of(key: str) -> str:
    """What a key is found by."""
    return hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()


def read_keys(file: Path) -> dict[str, Key]:
    """SHA-256 → key; empty if there is no file."""
    return {one["sha256"]: Key.model_validate(one) for one in read_json(file) or []}


def create_key(
    file: Path,
    name: str,
    *,
    scope: Literal["all", "metrics"] = "all",
    requests_per_minute: int | None = None,
    tokens_per_minute: int | None = None,
) -> str:
    """Make a key and keep its hash; the key is shown once, here.

    Raises:
        ConfigError: there is a key of that name.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(
            "A key's name is not valid.", field="KEY", got=repr(name),
            expected="lower-case letters, digits, '.', '_' and '-', at most 64",
        )  # fmt: skip
    keys = list(read_keys(file).values())
    if name in {one.name for one in keys}:
        raise ConfigError(
            "There is a key of that name.", field="KEY", got=name, expected="another name",
            fix="revoke that one first, or choose another name",
        )  # fmt: skip
    key = _PREFIX + secrets.token_urlsafe(32)
    made = Key(
        name=name, sha256=digest_of(key), created=datetime.now(UTC).isoformat(timespec="seconds"), scope=scope,
        requests_per_minute=requests_per_minute, tokens_per_minute=tokens_per_minute,
    )  # fmt: skip
    _write(file, [*keys, made])
    return key


def replace_key(file: Path, name: str, scope: Literal["all", "metrics"] = "all") -> str:
    """Make a key of that name, in the place of one that has it."""
    _write(file, [one for one in read_keys(file).values() if one.name != name])
    return create_key(file, name, scope=scope)


def revoke_key(file: Path, name: str) -> None:
    """Forget a key; the front refuses it within a second.

    Raises:
        ConfigError: there is none of that name.
    """
    keys = list(read_keys(file).values())
    if name not in {one.name for one in keys}:
        raise ConfigError(
            "There is no key of that name.", field="KEY", got=name,
            expected=", ".join(one.name for one in keys) or "none was created yet",
        )  # fmt: skip
    _write(file, [one for one in keys if one.name != name])


def _write(file: Path, keys: list[Key]) -> None:
    write_json(file, [one.model_dump(mode="json") for one in keys], mode=0o600)
