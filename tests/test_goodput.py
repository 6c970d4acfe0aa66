"""Where a run's time went: exact sums on records made up, and what a killed run comes to."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from cluster.clock import seconds_since, stamp
from cluster.connect import Capacity, ClusterConfig
from cluster.rundir import read_metrics
from jobs.goodput import PARTS, Goodput, Timeline, goodput_of, told
from tests.test_recovery import config, kill_a_worker_after
from tests.workers import training_job
from trainers.launch import train


def write(folder: Path, name: str, records: list[dict[str, Any]]) -> None:
    (folder / name).write_text("".join(json.dumps(record) + "\n" for record in records) + '{"cut o')


def at(when: float, attempt: str, what: str, edge: str, **more: Any) -> dict[str, Any]:
    return {"time": when, "attempt": attempt, "what": what, "edge": edge, **more}


def step(when: float, number: int, attempt: str, seconds: float = 2.0, training: str = "train-1") -> dict[str, Any]:
    return {"time": when, "step": number, "attempt": attempt, "seconds": seconds, "training": training}


def span(when: float, attempt: str, what: str, seconds: float, **more: Any) -> dict[str, Any]:
    return {"time": when, "attempt": attempt, "training": "train-1", "what": what, "seconds": seconds, **more}


def found(folder: Path) -> Goodput:
    goodput = goodput_of(folder)
    assert goodput is not None
    return goodput


def test_the_parts_of_a_killed_and_resumed_run_add_up(tmp_path: Path) -> None:
    """Attempt 001 is killed at 1060 in training; 002 resumes at 1100 and is done at 1200."""
    write(tmp_path, "timeline.jsonl", [
        at(1000, "001", "attempt", "begin"), at(1010, "001", "training", "begin", training="train-1"),
        at(1100, "002", "attempt", "begin"), at(1105, "002", "training", "begin", training="train-1"),
        at(1180, "002", "training", "end", training="train-1", complete=True),
        at(1200, "002", "attempt", "end", status="done"),
    ])  # fmt: skip
    write(tmp_path, "metrics.jsonl", [
        *(step(1030 + 2 * n, n, "001") for n in range(1, 11)), *(step(1130 + 2 * n, n, "002") for n in range(11, 21)),
    ])  # fmt: skip
    write(tmp_path, "spans.jsonl", [
        span(1050.5, "001", "checkpoint", 0.5, step=10), span(1051, "001", "written", 1.0, step=10),
        span(1052, "001", "measure", 1.5, step=10),
        span(1120, "002", "lost", 8.0, steps=4, until=1060, attempts=["001"]),
        span(1120.1, "002", "lost", 8.0, steps=4, until=1060, attempts=["001"]),  # said twice: its writer was killed
        span(1130, "002", "restart", 70.0, step=10, after="001"),
        span(1150, "002", "restart", 12.0, step=15, after="002"),
        span(1180, "002", "checkpoint", 3.0, step=20),
    ])  # fmt: skip
    goodput = found(tmp_path)
    # Training: 1010 to 1060 (the last sign of life) and 1105 to 1180, 125 s; the gap of 40 s lies in its midst.
    assert goodput.seconds == {
        "steps": 40.0, "lost": 8.0, "measure": 1.5, "checkpoint": 3.5, "start": 125 - 53.0, "other": 35.0, "gap": 40.0,
    }  # fmt: skip
    assert list(goodput.seconds) == list(PARTS)
    assert sum(goodput.seconds.values()) == 200.0
    assert goodput.training_s == 165.0
    assert goodput.share == 40 / 165
    assert (goodput.restarts, goodput.lost_steps, goodput.attempts) == (1, 4, 2)
    assert (goodput.restart_s, goodput.written_s, goodput.stall_s) == ([12.0], [1.0], [0.5, 3.0])
    words = told(goodput)
    assert words.startswith("24% of training's time was steps that stand; done again 5%")
    assert "no driver 24%" in words
    report = goodput.report()
    assert report["wall_s"] == 200.0
    assert report["share"] == 0.2424


def test_a_run_that_was_done_opens_a_new_account(tmp_path: Path) -> None:
    timeline = [
        at(0, "001", "attempt", "begin"), at(10, "001", "training", "begin", training="train-1"),
        at(30, "001", "training", "end", training="train-1", complete=True),
        at(40, "001", "attempt", "end", status="done"),
        at(900, "002", "attempt", "begin"), at(910, "002", "attempt", "end", status="done"),
    ]  # fmt: skip
    write(tmp_path, "metrics.jsonl", [step(20, 1, "001")])
    write(tmp_path, "timeline.jsonl", timeline[:4])
    assert found(tmp_path).seconds["steps"] == 2.0
    write(tmp_path, "timeline.jsonl", timeline)
    assert goodput_of(tmp_path) is None, "nothing was trained since: the stage was reused"
    again = [at(950, "003", "attempt", "begin"), at(951, "003", "training", "begin", training="train-1")]
    write(tmp_path, "timeline.jsonl", timeline + again)
    write(tmp_path, "spans.jsonl", [span(952, "003", "lost", 2.0, steps=1, until=20, attempts=["001"])])
    write(tmp_path, "metrics.jsonl", [step(961, 1, "003", 4.0)])
    goodput = found(tmp_path)
    assert (goodput.seconds["steps"], goodput.seconds["lost"], goodput.attempts) == (4.0, 0.0, 1)
    assert goodput.training_s == 10.0


@pytest.mark.parametrize("complete", [True, False])
def test_steps_of_another_training_stand_if_it_was_completed(tmp_path: Path, complete: bool) -> None:
    write(tmp_path, "timeline.jsonl", [
        at(0, "001", "attempt", "begin"),
        at(0, "001", "training", "begin", training="train-1"),
        at(50, "001", "training", "end", training="train-1", complete=complete),
        at(60, "001", "training", "begin", training="train-2"),
        at(80, "001", "training", "end", training="train-2", complete=True),
        at(100, "001", "attempt", "end", status="done"),
    ])  # fmt: skip
    write(tmp_path, "spans.jsonl", [span(61, "001", "earlier", 30.0, steps=6, until=45, attempts=["001"])])
    write(tmp_path, "metrics.jsonl", [step(70, 1, "001", 5.0, "train-2")])
    goodput = found(tmp_path)
    assert goodput.seconds["steps"] == (35.0 if complete else 5.0)
    assert goodput.seconds["lost"] == (0.0 if complete else 30.0)
    assert goodput.seconds["other"] == 30.0
    assert sum(goodput.seconds.values()) == 100.0


def set_back(line: dict[str, Any], *, jump_at: float, boot: str = "one start") -> dict[str, Any]:
    """A line of a machine whose wall clock is set an hour back at some time; nobody sets the other one."""
    line = line | {"clock": line["time"] - 500.0, "boot": boot}
    return line | {"time": line["time"] - 3600.0 * (line["time"] > jump_at)}


@pytest.mark.parametrize("jump_at", [1020.0, 1045.0, 1080.0, 1150.0, 5000.0])
def test_a_clock_that_is_set_changes_nothing(tmp_path: Path, jump_at: float) -> None:
    """In the first attempt, which is killed, between the two, in the second; or never."""
    records = {
        "timeline.jsonl": [
            at(1000, "001", "attempt", "begin"), at(1010, "001", "training", "begin", training="train-1"),
            at(1100, "002", "attempt", "begin"), at(1105, "002", "training", "begin", training="train-1"),
            at(1180, "002", "training", "end", training="train-1", complete=True),
            at(1200, "002", "attempt", "end", status="done"),
        ],
        "metrics.jsonl": [step(1150 + n, n, "002") for n in range(1, 11)],
        "events.jsonl": [{"time": 1040, "attempt": "001", "event": "notice"}],
    }  # fmt: skip
    for name, lines in records.items():
        write(tmp_path, name, [set_back(line, jump_at=jump_at) for line in lines])
    last = set_back(step(1060, 4, "001"), jump_at=jump_at)
    last = {key: last[key] for key in ("time", "clock", "boot")}
    lost = span(1120, "002", "lost", 8.0, steps=4, until=last["time"], last=last, attempts=["001"])
    write(tmp_path, "spans.jsonl", [set_back(lost, jump_at=jump_at)])
    goodput = found(tmp_path)
    assert goodput.seconds == {
        "steps": 20.0, "lost": 8.0, "measure": 0.0, "checkpoint": 0.0, "start": 125 - 28.0, "other": 35.0, "gap": 40.0,
    }  # fmt: skip
    assert goodput.clocks_s == 0.0
    assert "clocks_disagree_s" not in goodput.report()


def test_clocks_of_machines_that_disagree_are_told_and_no_share_is_absurd(tmp_path: Path) -> None:
    """The second driver's machine is 1,000 s behind; so is the worker that the killed attempt's end is known from."""
    write(tmp_path, "timeline.jsonl", [
        at(1000, "001", "attempt", "begin") | {"clock": 1.0, "boot": "one"},
        at(1010, "001", "training", "begin", training="train-1") | {"clock": 11.0, "boot": "one"},
        at(50, "002", "attempt", "begin") | {"clock": 7.0, "boot": "two"},
        at(60, "002", "training", "begin", training="train-1") | {"clock": 17.0, "boot": "two"},
        at(61, "002", "training", "end", training="train-1", complete=True) | {"clock": 18.0, "boot": "two"},
        at(90, "002", "attempt", "end", status="done") | {"clock": 47.0, "boot": "two"},
    ])  # fmt: skip
    write(tmp_path, "metrics.jsonl", [step(30 + 2 * n, n, "001") for n in range(1, 6)])
    goodput = found(tmp_path)
    assert goodput.seconds["steps"] == 10.0
    assert all(seconds >= 0 for seconds in goodput.seconds.values())
    assert goodput.training_s == 10.0
    assert goodput.clocks_s == 9.0 + 960.0, "steps of 10 s in 1 s, and a gap backwards"
    assert told(goodput).endswith(f"; not exact: the machines' clocks disagree by {goodput.clocks_s:.0f} s")
    assert goodput.report()["clocks_disagree_s"] == goodput.clocks_s


def test_stamps_of_this_machine_are_compared_by_the_clock_that_nobody_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    earlier = stamp()
    monkeypatch.setattr(time, "time", lambda: earlier["time"] - 3600.0)
    assert 0.0 <= seconds_since(earlier) < 60.0
    assert seconds_since({"time": earlier["time"] - 3605.0}) == pytest.approx(5.0), "of an older version"
    assert seconds_since(earlier | {"boot": "another machine"}) == 0.0


def test_a_run_without_a_timeline_has_none(tmp_path: Path) -> None:
    write(tmp_path, "metrics.jsonl", [step(20, 1, "001")])
    assert goodput_of(tmp_path) is None


def test_a_killed_run_is_counted_as_it_went(ray_cluster: Capacity, tmp_path: Path, model: Path, tokens: Path) -> None:
    job = training_job(tmp_path / "run", config(), model, tokens)
    killer = threading.Thread(target=kill_a_worker_after, args=(job, 13))
    killer.start()
    timeline, began = Timeline(tmp_path / "run", "001"), time.time()
    timeline.begin()
    with timeline.training(job.name):
        train(job, ClusterConfig(workers=2))
    timeline.end("done")
    wall_s = time.time() - began
    killer.join()
    goodput, records = found(tmp_path / "run"), read_metrics(job.metrics_file)
    assert sum(goodput.seconds.values()) == pytest.approx(wall_s, abs=0.5)
    assert goodput.seconds["steps"] == pytest.approx(sum(record["seconds"] for record in records))
    assert 0 < goodput.share < 0.5, "most of a run of forty steps is starts"
    assert goodput.restarts == 1
    assert 1 <= goodput.lost_steps <= 10
    assert goodput.seconds["lost"] > 0
    assert goodput.seconds["checkpoint"] == pytest.approx(sum(goodput.stall_s))
    assert len(goodput.written_s) >= 8
    assert goodput.seconds["start"] > goodput.restart_s[0] - goodput.seconds["lost"] - 1
