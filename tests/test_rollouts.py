"""`raysmith rollouts`: filter, order and limits over files that `write_rollouts` wrote; what a terminal is shown."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from cluster.artifacts import ArtifactStore
from cluster.errors import ConfigError, DataError, RaysmithError
from jobs import rollouts as looked_at
from jobs.cli import app
from jobs.report_run import RunRecord
from jobs.rollouts import Query, count, files_of, find, panels, rows
from jobs.summary import _learnt
from trainers.rl.rollouts import Rollout, heldout_file, round_file, write_rollouts

TEXTS = ("a cat", "two cats, one 'house'", 'he says "no"', "a dog\nand a line", "")


def rollout(number: int, completion: str = "a cat", **changes: Any) -> Rollout:
    number_reward = math.nan if number % 11 == 10 else round(number % 3 * 0.1, 1)
    length = -0.01 * (number % 7)
    given: dict[str, Any] = {
        "prompt": f"prompt {number}", "completion": completion, "prompt_ids": [1, 2],
        "completion_ids": [3] * (number % 7), "logprobs": [-0.5] * (number % 7), "version": number // 8,
        "example": number % 5, "epoch": 0, "group": number % 4, "seed": number, "ended": number % 2 == 0,
        "rewards": {"number": number_reward, "too-long.v2": length}, "reward": number_reward + length,
        "advantage": 0.25,
    }  # fmt: skip
    return Rollout(**given | changes)


def write_run(root: Path, run: str = "counting", training: str = "train-1", rounds: int = 5, each: int = 8) -> Path:
    """A run with rounds of two steps, and held-out measurements before and after; `seed` numbers its rollouts."""
    folder = root / "runs" / run / "rollouts" / training
    for at in range(rounds):
        numbers = range(at * each, (at + 1) * each)
        written = [rollout(number, TEXTS[number % len(TEXTS)]) for number in numbers]
        write_rollouts(round_file(folder, at), written, {"round": at, "step": 2 * at, "draws": [at]})
    for step, reward, rate in ((0, 0.125, 0.5), (2 * rounds, 0.5, 0.75)):
        figures = {"reward": reward, "reward_judge": reward, "length": 3.0, "ended": 1.0, "win_rate": rate}
        judged = [rollout(number, rewards={"judge": reward}, reward=reward) for number in range(3)]
        meta = {"step": step, "figures": figures, "training_reward": None}
        write_rollouts(heldout_file(folder, step), judged, meta)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_run(tmp_path)


def seeds(folder: Path, **query: Any) -> list[int]:
    return [row["seed"] for row in rows(files_of(folder), Query(**query))]


def refusal(folder: Path, **query: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        seeds(folder, **query)
    return str(caught.value)


def number_of(seed: int) -> float:
    return rollout(seed).rewards["number"]


def ended(seed: int) -> bool:
    return seed % 2 == 0


def text(seed: int) -> str:
    return TEXTS[seed % len(TEXTS)]


FILTERS: dict[str, Callable[[int], bool]] = {
    "seed < 3": lambda seed: seed < 3,
    "seed>=3 and(seed<=+4.0)": lambda seed: seed in (3, 4),
    "seed == 9007199254740993": lambda _: False,
    "step == 4": lambda seed: seed // 8 == 2,
    "round != 1 and version > 0": lambda seed: seed // 8 >= 2,
    "length == 0": lambda seed: seed % 7 == 0,
    "ended": ended,
    "not ended": lambda seed: not ended(seed),
    "ended == false": lambda seed: not ended(seed),
    "not not ended != true": lambda seed: not ended(seed),
    # `and` binds before `or`, `not` before both
    "ended or seed > 20 and seed < 24": lambda seed: ended(seed) or 20 < seed < 24,
    "(ended or seed > 20) and seed < 24": lambda seed: (ended(seed) or seed > 20) and seed < 24,
    "not ended and seed < 10": lambda seed: not ended(seed) and seed < 10,
    "not (ended and seed < 10)": lambda seed: not (ended(seed) and seed < 10),
    # 0.1 and 0.2 are those of 32 bits
    "reward_number == 0.1": lambda seed: number_of(seed) == 0.1,
    "reward_number <= .2": lambda seed: number_of(seed) <= 0.2,
    "reward_number > 1e-1": lambda seed: number_of(seed) > 0.1,
    "reward_number == nan": lambda seed: math.isnan(number_of(seed)),
    "reward_number != nan and not reward_number < 0.2": lambda seed: number_of(seed) == 0.2,
    "not reward_number < 0.3": lambda seed: math.isnan(number_of(seed)),
    "reward_too-long.v2 > -0.02": lambda seed: seed % 7 in (0, 1),
    "`reward_too-long.v2`==-0.01": lambda seed: seed % 7 == 1,
    "completion ~ 'cat'": lambda seed: "cat" in text(seed),
    r"completion ~ '^a \w+$'": lambda seed: text(seed) == "a cat",
    'completion ~ "(?i)A DOG"': lambda seed: "dog" in text(seed),
    r"completion ~ '\n'": lambda seed: "\n" in text(seed),
    "completion == 'two cats, one ''house'''": lambda seed: "house" in text(seed),
    "completion ~ \"'house'\"": lambda seed: "house" in text(seed),
    'completion == "he says ""no"""': lambda seed: "no" in text(seed),
    "completion != ''": lambda seed: text(seed) != "",
    "prompt ~ 'and|or not' or seed == 5": lambda seed: seed == 5,
}


@pytest.mark.parametrize("where", FILTERS)
def test_a_filter_keeps_what_it_says(folder: Path, where: str) -> None:
    expected = [seed for seed in range(40) if FILTERS[where](seed)]
    assert seeds(folder, where=where) == expected
    assert count(files_of(folder), Query(where=where)) == len(expected)


@pytest.mark.parametrize(("where", "got", "expected"), [
    ("", " (the end)", "a column, `not` or `(`"),
    ("and ended", "and", "a column, `not` or `(`"),
    ("ended and", "ended and (the end)", "a column, `not` or `(`"),
    ("3 < seed", "3", "a column, `not` or `(`"),
    ("seed", "seed (the end)", "one of == != < <= > >= after `seed`"),
    ("seed ~ 'a'", "seed ~", "one of == != < <= > >= after `seed`"),
    ("seed = 3", "seed =", "one of == != < <= > >= after `seed`"),
    ("seed == '3'", "seed == '3'", "a number"),
    ("seed == nan", "seed == nan", "a number"),
    ("reward < nan", "reward < nan", "a number"),
    ("seed < 12cats", "seed < 1", "a number"),
    ("seed < 3 4", "seed < 3 4", "`and`, `or` or the end"),
    ("completion > 'a'", "completion >", "one of == != ~ after `completion`"),
    ("completion ~ cat", "completion ~ cat", "text in quotes"),
    ("completion ~ 'cat", "completion ~ '", "text in quotes"),
    ("completion ~ '('", "(", "RE2's syntax"),
    ("ended == 1", "ended == 1", "true or false"),
    ("ended > true", "ended >", "one of == != after `ended`"),
    ("(ended", "(ended (the end)", "`)`, `and` or `or`"),
    ("ended)", "ended)", "`and`, `or` or the end"),
    ("__import__('os')", "__import__", "one of step, round, version"),
    ("rewards > 1", "rewards", "seed, prompt, completion, reward_number, reward_too-long.v2, reward, trained, "),
    ("logprobs == 1", "logprobs", "one of step"),
    ("(" * 300, None, "at most 200 words"),
])  # fmt: skip
def test_a_wrong_filter_is_explained(folder: Path, where: str, got: str | None, expected: str) -> None:
    message = refusal(folder, where=where)
    assert got is None or f"  got:      {got}\n" in message
    assert expected in message.split("expected:")[1]


def test_nesting_as_deep_as_is_allowed_is_read(folder: Path) -> None:
    assert len(seeds(folder, where="(" * 95 + "ended" + ")" * 95)) == 20


def test_limits_from_both_ends(folder: Path) -> None:
    assert seeds(folder) == list(range(40))
    assert seeds(folder, limit=10) == list(range(10))
    assert seeds(folder, last=10) == list(range(30, 40))
    assert seeds(folder, where="ended", last=3) == [34, 36, 38]
    assert seeds(folder, where="ended", limit=3, step=2) == [8, 10, 12]
    assert seeds(folder, last=1000) == list(range(40))
    assert "From the beginning, or from the end?" in refusal(folder, limit=1, last=1)


def test_only_the_files_that_are_wanted_are_read(folder: Path) -> None:
    files_of(folder)[2].write_bytes(b"damaged")
    assert seeds(folder, last=16) == list(range(24, 40))
    assert seeds(folder, limit=16) == list(range(16))
    with pytest.raises(DataError, match=r"round-000002\.parquet"):
        seeds(folder, last=17)


@pytest.mark.parametrize("kept", [0, 4096])
def test_sorted_failed_rewards_are_taken_last(folder: Path, monkeypatch: pytest.MonkeyPatch, kept: int) -> None:
    monkeypatch.setattr(looked_at, "_KEPT", kept)  # 0: all but the best are dropped after every file
    there = [seed for seed in range(40) if not math.isnan(number_of(seed))]
    failed = [seed for seed in range(40) if seed not in there]
    upwards = sorted(there, key=number_of)
    downwards = sorted(there, key=number_of, reverse=True)
    assert seeds(folder, sort="reward_number") == upwards + failed
    assert seeds(folder, sort="-reward_number") == downwards + failed
    assert seeds(folder, sort="reward_number", limit=9) == upwards[:9]
    assert seeds(folder, sort="-reward_number", limit=9) == downwards[:9]
    assert seeds(folder, sort="reward_number", last=9) == upwards[-9:]
    assert seeds(folder, sort="-seed", where="ended", limit=2) == [38, 36]
    assert seeds(folder, sort="completion", limit=1) == [4]
    assert seeds(folder, sort="seed", where="seed < 0") == []
    assert "one of step, round" in refusal(folder, sort="logprobs")


def test_a_step_and_the_held_out_ones(folder: Path) -> None:
    assert seeds(folder, step=4) == list(range(16, 24))
    assert "expected: one of 0, 2, 4, 6, 8" in refusal(folder, step=5)
    [one, *_] = rows(files_of(folder, heldout=True), Query(step=10))
    assert (one["step"], one["reward_judge"]) == (10, 0.5)
    assert "round" not in one


def test_rows_are_plain_data(folder: Path) -> None:
    one = next(rows(files_of(folder), Query(where="seed == 10")))
    assert one == {
        "step": 2, "round": 1, "version": 1, "example": 0, "epoch": 0, "group": 2, "seed": 10, "prompt": "prompt 10",
        "completion": "a cat", "reward_number": None, "reward_too-long.v2": -0.03, "reward": None, "trained": True,
        "advantage": 0.25, "length": 3, "ended": True,
    }  # fmt: skip


def test_the_newest_training_is_shown_unless_another_is_named(tmp_path: Path) -> None:
    old, new = (write_run(tmp_path, training=name) for name in ("train-b", "train-a"))
    os.utime(old, (1e9, 1e9))
    assert {path.parent for path in find(tmp_path, "counting")} == {new}
    assert {path.parent for path in find(tmp_path, "counting", "train-b")} == {old}
    with pytest.raises(ConfigError, match="train-b, train-a"):
        find(tmp_path, "counting", "train-c")


def test_a_run_without_rollouts_names_those_that_have_some(tmp_path: Path) -> None:
    (tmp_path / "runs" / "tuned").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"kept no rollouts") as alone:
        find(tmp_path, "tuned")
    assert "expected" not in str(alone.value)
    folder = write_run(tmp_path)
    for name, words in (("tuned", "The run has kept no rollouts."), ("nowhere", "There is no run of that name.")):
        with pytest.raises(ConfigError) as caught:
            find(tmp_path, name)
        assert str(caught.value).startswith(words)
        assert "expected: one with rollouts: counting" in str(caught.value)
    for path in files_of(folder, heldout=True):
        path.unlink()
    with pytest.raises(ConfigError, match=r"train\.evaluation"):
        find(tmp_path, "counting", heldout=True)


def call(root: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["rollouts", "counting", "--storage", str(root), *arguments])


def test_the_command_prints_json_lines(folder: Path, tmp_path: Path) -> None:
    done = call(tmp_path, "--where", "reward_number == nan", "--sort", "-seed", "--json")
    assert done.exit_code == 0
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(line["seed"], line["reward"]) for line in lines] == [(32, None), (21, None), (10, None)]
    assert len(call(tmp_path, "--json").stdout.splitlines()) == 40
    assert len(call(tmp_path, "--json", "--heldout", "--step", "0").stdout.splitlines()) == 3
    assert call(tmp_path, "--json", "--where", "seed < 0").stdout == ""


def test_the_command_shows_panels(folder: Path, tmp_path: Path) -> None:
    shown = call(tmp_path).stdout
    assert shown.count("╭") == 10
    assert shown.splitlines()[-1] == "10 of 40 rollouts, training train-1"
    shown = call(tmp_path, "--sort", "-reward", "--where", "ended", "--limit", "1").stdout
    assert "step 2 · round 1 · version 1 · example 4 · group 2" in shown
    for words in ("prompt 14", "reward 0.2 (number 0.2, too-long.v2 0) · advantage 0.25 · 0 tokens, ended"):
        assert words in shown, words
    assert shown.splitlines()[-1] == "1 of 20 rollouts for which the filter holds, training train-1"
    assert "reward failed (number failed, too-long.v2 -0.03)" in call(tmp_path, "--where", "seed == 10").stdout
    assert "0 of 0 rollouts" in call(tmp_path, "--where", "seed < 0").stdout


def test_the_command_fails_as_all_commands_do(folder: Path, tmp_path: Path) -> None:
    done = call(tmp_path, "--where", "rewrad > 1")
    assert isinstance(done.exception, RaysmithError)
    assert done.exception.exit_code == 2
    assert call(tmp_path, "--last", "0").exit_code == 2


def test_long_text_is_cut_and_a_terminal_obeys_none_of_it(tmp_path: Path) -> None:
    folder = write_run(tmp_path, rounds=1)
    long = "begin" + "x" * 5000 + "end"
    hostile = "[red]\x1b[2J\x1b]0;title\x07\x9b31m\r\u202egone\x00 [/nothing]"
    many = "\n".join(f"line {number}" for number in range(100))
    written = [rollout(number, words) for number, words in enumerate((long, hostile, many))]
    write_rollouts(round_file(folder, 0), written, {"round": 0, "step": 0, "draws": [0]})
    shown, full = (call(tmp_path, *more).stdout for more in ((), ("--full",)))
    assert "begin" in shown
    assert "4,208 characters" in shown
    assert "x" * 401 not in shown
    assert "x" * 900 in full.replace("\n", "")
    assert ("84 lines" in shown, "line 50" in shown, "line 50" in full) == (True, False, True)
    for output in (shown, full):
        assert not set("\x1b\x07\x9b\r\x00\u202e") & set(output)
        assert "[red]␛[2J␛]0;title␇" in output
    assert "\\u001b[2J" in call(tmp_path, "--json").stdout
    assert len(list(panels(files_of(folder), Query(limit=2), full=False))) == 3


def test_the_end_of_a_run_tells_what_was_learnt(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_folder = write_run(tmp_path).parents[1]
    events = [["001", "resumed at step 2"], ["001", "suspected reward hacking at step 4: the training reward rose"]]
    events += [["001", f"drift at step {step}: [bold] 0.3 nats"] for step in range(6)]
    metrics = [{"training": "train-1", "step": 1, "loss": 0.1, "kl_completion": 1.5, "kl": 0.01}]
    report = {"stages": {"train": {"losses": [[1, 0.1]], "events": events}}}
    _learnt(RunRecord(report, metrics, {}, ArtifactStore(tmp_path), run_folder))
    told = " ".join(capsys.readouterr().out.split())
    for words in (
        "held-out reward 0.125 → 0.500 (+0.375) in 10 steps", "win rate 75% of held-out prompts",
        "KL spent 1.5 nats a completion", "alarm suspected reward hacking at step 4", "drift at step 3: [bold] 0.3",
        "… and 2 more such events", "raysmith rollouts counting --sort -reward",
    ):  # fmt: skip
        assert words in told, words
    assert "resumed" not in told
    other = RunRecord(report, [], {}, ArtifactStore(tmp_path), run_folder)  # trained in another run
    _learnt(other)
    assert capsys.readouterr().out == ""
