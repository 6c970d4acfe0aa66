"""Hugging Face's hub: nothing is asked of it, and its caches can be written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from jobs.doctor.finding import Finding, Subject

AREA = "hub"
_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")
_YES = {"1", "on", "yes", "true"}


def check(subject: Subject) -> Iterator[Finding]:
    """See `AREA`."""
    environment = subject.environment
    offline = [name for name in _OFFLINE if environment.get(name, "").lower() in _YES]
    yield Finding(
        "offline", "ok",
        f"{', '.join(offline)} set" if offline
        else "not set; models, tokenizers and data are read from files all the same",
    )  # fmt: skip
    home = environment.get("HF_HOME")
    folder = Path(home).expanduser() if home else subject.account / ".cache" / "huggingface"
    there = next(one for one in (folder, *folder.parents) if one.exists())
    writable = os.access(there, os.W_OK | os.X_OK)
    yield Finding(
        "cache", "ok" if writable else "problem",
        str(folder) if writable else f"{folder} cannot be written, and `datasets` keeps files there",
        "export HF_HOME=/a/folder/of/yours",
    )  # fmt: skip
