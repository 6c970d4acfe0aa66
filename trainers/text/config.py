"""Keys of `data: {kind: text}` that lie deeper than its first level."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from cluster.config import Config
from trainers.adapter_config import ArtifactName
from trainers.config import without_secret

STDLIB = "python:stdlib"
"""The path that means the running Python's own standard library."""


class SourceConfig(Config):
    """One source of text."""

    path: str
    """A file, a folder (with all below it but hidden files and installed packages), or a glob in which `*` stays within
    a folder and `**/` means any number of them; local, or a URI (`s3://bucket/prefix`, `gs://…`). `python:stdlib` is
    the standard library of the Python that runs: megabytes of code and prose on any machine."""
    name: ArtifactName = "source"
    """Its name in reports and folders; default: made from the path."""
    weight: PositiveFloat = 1.0
    """Its share of the training examples, relative to the other sources', whatever its size."""
    text_key: str = "text"
    """Field (JSON, JSON lines) or column (Parquet, CSV) that holds the text."""
    include: list[str] | None = Field(default=None, min_length=1)
    """Patterns of file names that are read (`*.md`); default: all endings that are known. A file that a pattern names
    is read as plain text when its ending is not known."""
    separator: str | None = Field(default=None, min_length=1)
    r"""What divides a plain-text file into documents, such as `<|endoftext|>` or "\n\n"; default: a file is one."""

    @field_validator("path")
    @classmethod
    def _has_no_secret(cls, value: str) -> str:
        return without_secret(value) or value

    @model_validator(mode="before")
    @classmethod
    def _name_from_path(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("path"), str) and values.get("name") is None:
            return {**values, "name": _name_of(values["path"])}
        return values


def _name_of(path: str) -> str:
    parts = [part for part in path.partition("?")[0].split("/") if part and "*" not in part]
    stem = re.sub(r"(\.[a-z0-9]{1,8}){1,2}$", "", parts[-1].lower()) if parts else ""
    return re.sub(r"[^a-z0-9]+", "-", stem).strip("-")[:80] or "source"


class CleanConfig(Config):
    """What is done to each document's text."""

    unicode: Literal["NFC", "NFKC", "none"] = "NFC"
    """Normalization form, so that equal text has equal bytes."""
    control_characters: bool = True
    """Drop control characters and byte-order marks; line ends become a newline."""
    html: Literal["files", "all", "none"] = "files"
    """Take the text out of HTML: of `.html` files, of every document, or of none."""
    strip: bool = True
    """Drop white space at the beginning and end."""


NOTHING = CleanConfig(unicode="none", control_characters=False, html="none", strip=False)
"""Text as it is in the files."""


class NearConfig(Config):
    """How near-duplicates are found: MinHash (Broder 1997) with locality-sensitive hashing, over runs of words
    (Lee et al. 2021, arXiv 2107.06499). The driver holds 4 bytes × `permutations` a document.
    """

    threshold: float = Field(default=0.8, gt=0, le=1)
    """Jaccard similarity of the two sets of word runs from which two documents are the same. It is estimated, with a
    standard error of √(s(1−s)/permutations): 0.035 at 0.8."""
    permutations: PositiveInt = Field(default=128, ge=16, le=1024)
    """Hash functions."""
    words: PositiveInt = 5
    """Words in a run."""
