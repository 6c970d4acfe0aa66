"""`raysmith cluster`: render, up, down, status, as a user types them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cluster.providers._local_processes import processes_of
from tests.conftest import REPOSITORY
from tests.two_nodes import TwoNodes, new_home

LOCAL = "configs/cluster/local.yaml"
ALONE = ["name=alone", "nodes.workers.min_nodes=0"]
COMMAND = str(Path(sys.executable).with_name("raysmith"))
WAIT_S = 120


@pytest.fixture
def home() -> Iterator[Path]:
    folder = new_home()
    yield folder
    if (folder / "clusters/alone/cluster.json").exists():
        run(folder, "down", "alone")
    shutil.rmtree(folder, ignore_errors=True)


def environment(home: Path) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    return kept | {"RAYSMITH_HOME": str(home)}


def run(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, "cluster", *arguments], cwd=REPOSITORY, env=environment(home), capture_output=True, text=True,
        timeout=WAIT_S,
    )  # fmt: skip


def test_up_status_and_down_leave_nothing(home: Path) -> None:
    done = run(home, "up", LOCAL, *ALONE)
    assert done.returncode == 0, done.stderr
    assert "dashboard" in done.stdout
    assert "raysmith submit CONFIG --cluster alone" in done.stdout
    folder = home / "clusters/alone"
    assert (folder / "token").read_text() not in done.stdout + done.stderr
    shown = run(home, "status")
    assert "alone" in shown.stdout
    assert "alive" in shown.stdout
    started = processes_of(folder)
    assert len(started) > 3
    done = run(home, "down", "alone")
    assert (done.returncode, done.stdout.strip()) == (0, "down: alone"), done.stderr
    assert not [one for one in started if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
    assert not processes_of(folder)
    assert not folder.exists()
    gone = run(home, "status", "alone")
    assert gone.returncode == 1
    assert "No cluster of that name" in gone.stderr
    assert "No cluster is up" in run(home, "status").stdout
    again = run(home, "down", LOCAL)
    assert (again.returncode, again.stdout.strip()) == (0, "not up: here"), again.stderr


def test_ctrl_c_while_it_starts_leaves_nothing(home: Path) -> None:
    folder = home / "clusters/alone"
    with subprocess.Popen(
        [COMMAND, "cluster", "up", LOCAL, *ALONE], cwd=REPOSITORY, env=environment(home), stderr=subprocess.PIPE,
        text=True,
    ) as process:  # fmt: skip
        deadline = time.monotonic() + WAIT_S
        while not processes_of(folder):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert "what had started was stopped" in process.stderr.read()
        assert process.wait(WAIT_S) == 130
    assert not processes_of(folder)
    assert not folder.exists()


def test_status_of_all(two_nodes: TwoNodes) -> None:
    shown = run(two_nodes.home, "status")
    assert shown.returncode == 0, shown.stderr
    assert [line.split()[:4] for line in shown.stdout.splitlines()[1:]] == [
        ["two-nodes", "head", "head", "alive"], ["two-nodes", "workers-0", "workers", "alive"],
        ["two-nodes", "workers-1", "workers", "alive"],
    ]  # fmt: skip


def test_a_rendered_cluster_is_a_script_with_a_token(home: Path, tmp_path: Path) -> None:
    done = run(home, "render", LOCAL, "nodes.workers.min_nodes=1", "--to", str(tmp_path))
    script = tmp_path / "here.sh"
    assert done.stdout == f"{script}\n", done.stderr
    text = script.read_text()
    assert subprocess.run(["sh", "-n", str(script)]).returncode == 0
    assert text.count("--node-ip-address=127.0.0.1") == 2
    assert "export RAY_AUTH_MODE=token" in text
    assert not (home / "clusters").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["render", LOCAL, "--job", "configs/quickstart.yaml"], "hold no jobs"),
        (["render", "configs/cluster/aws.yaml", "--to", "README.md"], "cannot be written"),
        (["up", LOCAL, "nodes.workers.mim_nodes=1"], "min_nodes"),
        (["up", LOCAL, "nodes.workers.min_nodes=5"], "more nodes at least than at most"),
        (["up", "configs/cluster/none.yaml"], "cannot be read"),
        (["down", "nowhere"], "No cluster of that name"),
    ],
)
def test_what_is_wrong_is_said(home: Path, arguments: list[str], words: str) -> None:
    done = run(home, *arguments)
    assert done.returncode != 0
    assert words in done.stderr
    assert not list(home.glob("clusters/*/"))
