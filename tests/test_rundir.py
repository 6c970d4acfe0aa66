"""Run directories and atomic files: one driver at a time, attempts in order, nothing half written."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from cluster.errors import ResourceError
from cluster.progress import ProgressFile
from cluster.rundir import MetricsTail, RunDirectory
from cluster.storage import (
    ENVIRONMENT_VARIABLE,
    StorageConfig,
    read_json,
    require_free_space,
    write_atomically,
    write_json,
)

HOLD = """\
import sys, time; from pathlib import Path; from cluster.rundir import RunDirectory
with RunDirectory(Path(sys.argv[1]), "run").attempt({}):
    print("held", flush=True)
    time.sleep(600)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_second_process_is_refused_until_the_first_ends_or_is_killed(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    run = RunDirectory(tmp_path, "run")
    with pytest.raises(ResourceError, match="Another process is running") as caught, run.attempt({}):
        pytest.fail("both hold the directory")
    assert f"process {holder.pid}" in str(caught.value.got)
    with RunDirectory(tmp_path, "other").attempt({}):
        pass
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with run.attempt({}) as folder:
        assert folder.name == "002"


def test_attempts_are_numbered_and_keep_configuration_and_environment(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path, "run")
    (run.path / "attempts" / "notes").mkdir(parents=True)
    (run.path / "attempts" / "007-copy").mkdir()
    for number in (1, 2):
        with run.attempt({"steps": number}) as folder:
            assert folder == run.path / "attempts" / f"{number:03d}"
    (run.path / "attempts" / "041").mkdir()
    with run.attempt({"steps": 3}) as folder:
        assert folder.name == "042"
    assert yaml.safe_load((run.path / "attempts" / "001" / "config.yaml").read_text()) == {"steps": 1}
    assert yaml.safe_load((run.path / "config.yaml").read_text()) == {"steps": 3}
    environment = read_json(folder / "environment.json")
    assert environment["python"] == sys.version.split(maxsplit=1)[0]
    assert environment["cpus"] == os.cpu_count()


def test_the_directory_is_free_again_after_a_failure(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path, "run")
    with pytest.raises(RuntimeError), run.attempt({}):
        raise RuntimeError
    with run.attempt({}) as folder:
        assert folder.name == "002"


def test_a_metrics_line_cut_off_by_a_kill_is_left_out(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path, "run")
    assert run.read_metrics() == []
    run.path.mkdir(parents=True)
    lines = [json.dumps({"step": step, "loss": 0.125, "text": "é"}) for step in (1, 2)]
    for length in range(len(lines[1])):
        run.metrics_file.write_text(f"{lines[0]}\n{lines[1][:length]}")
        assert [record["step"] for record in run.read_metrics()] == [1]
    run.metrics_file.write_text(f"{lines[0]}\n{lines[1]}\n")
    assert [record["step"] for record in run.read_metrics()] == [1, 2]


def test_a_file_is_written_with_its_mode_and_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "key"
    write_atomically(path, "secret", 0o600)
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("secret", 0o600)
    write_atomically(path, b"\x00\xff", 0o600)
    assert path.read_bytes() == b"\x00\xff"
    assert names(path.parent) == ["key"]


def test_a_write_that_fails_keeps_the_old_content_and_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "\ud800")
    (tmp_path / "folder" / "inside").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        write_atomically(tmp_path / "folder", "new")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file", "folder"]


def test_a_reader_never_sees_a_part(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    write_json(path, ["0"] * 20_000)
    code = (
        "import sys; from pathlib import Path; from cluster.storage import write_json\n"
        "for n in range(25): write_json(Path(sys.argv[1]), [str(n)] * 20_000)"
    )
    writer = subprocess.Popen([sys.executable, "-c", code, str(path)])
    seen = set()
    while writer.poll() is None:
        values = read_json(path)
        assert len(values) == 20_000
        assert len(set(values)) == 1
        seen.add(values[0])
    assert writer.returncode == 0
    assert len(seen) > 1


def test_progress_is_read_as_it_was_written(tmp_path: Path) -> None:
    progress = ProgressFile(tmp_path / "deep" / "train.json")
    assert progress.read() is None
    progress.write(3, 10, "loss 1.5")
    assert progress.read() == {"done": 3, "total": 10, "text": "loss 1.5"}
    progress.clear()
    progress.clear()
    assert progress.read() is None


def test_storage_is_the_folder_of_the_configuration_else_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(tmp_path / "from-environment"))
    assert StorageConfig().path() == tmp_path / "from-environment"
    assert StorageConfig(root=tmp_path / "given").path() == tmp_path / "given"
    assert names(tmp_path / "given") == []
    (tmp_path / "file").touch()
    with pytest.raises(ResourceError, match="cannot be written") as caught:
        StorageConfig(root=tmp_path / "file" / "below").path()
    assert caught.value.field == "storage.root"


def test_more_than_the_disk_holds_is_refused_with_the_figures(tmp_path: Path) -> None:
    require_free_space(tmp_path, 1, "for a byte")
    with pytest.raises(ResourceError, match="Not enough disk space for this job") as caught:
        require_free_space(tmp_path, 10**18, "for this job")
    assert caught.value.expected == "at least 1000000000.00 GB"


def test_a_tail_reads_what_is_new_whole_lines_only_and_a_replaced_file_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    tail = MetricsTail(path)
    assert tail.look() == []
    path.write_text('{"step": 1}\n{"step": 2}\n{"st')
    assert [one["step"] for one in tail.look()] == [1, 2]
    with path.open("a") as stream:
        stream.write('ep": 3}\nbroken\n')
    assert [one["step"] for one in tail.look()] == [1, 2, 3]
    assert [one["step"] for one in tail.look()] == [1, 2, 3]
    write_atomically(path, '{"step": 1}\n{"step": 7}\n')
    assert [one["step"] for one in tail.look()] == [1, 7]
