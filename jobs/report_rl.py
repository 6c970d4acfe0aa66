"""What report.html and the terminal tell of reinforcement learning: figures over the steps, rollouts, alarms.

All of it comes from metrics.jsonl, events.jsonl and the files of rollouts (`jobs/rollouts.py`); a run that has no such
files gets nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cluster.errors import DataError
from cluster.rundir import read_metrics
from jobs.report_cards import Card, figure
from jobs.report_charts import Chart, curve, lines
from jobs.report_run import RunRecord, points_of
from jobs.rollouts import Query, RolloutFile, clean, files_of, length_words, reward_words, rows, trainings
from trainers.rl.rollouts import REWARD

_CHARTS = (
    # key of metrics.jsonl, title, unit, whether the axis begins at 0
    ("heldout_win_rate", "Win rate", "share of held-out prompts answered better than before training; ties are halves",
     False),
    ("kl", "KL from the reference", "nats a token, of what a step trains on", True),
    ("kl_completion", "KL spent", "nats a completion, log p(policy) − log p(reference)", False),
    ("kl_coefficient", "KL coefficient", "in force", True),
    ("entropy", "Entropy", "of the next token, nats; near 0 nothing new is tried", True),
    ("length", "Length", "tokens of a completion", True),
    ("ended", "Ended", "share that ended before the length limit", True),
    ("mixed_groups", "Mixed groups", "share of prompts whose completions differ in reward: only they teach", True),
    ("clip_share", "Clipped", "share of tokens whose gradient the ratio's bounds cut off", True),
    ("staleness", "Staleness", "rounds by which the weights that wrote were older than those trained", True),
    ("drift", "Drift", "mean |Δ log p| between sampler and learner, nats a token", True),
    ("value_loss", "Critic's loss", "half the squared error of the expected reward", True),
)  # fmt: skip
_ONLY_IF_IT_MOVES = ("kl_coefficient",)
_ALARMS = ("reward hacking", "drift")
_MOST_ALARMS = 5
_ROUNDS = 5
_CUT = 400


class Learning(NamedTuple):
    """A training by reinforcement, as its run directory tells it."""

    folder: Path
    """Of its rollouts."""
    metrics: list[dict[str, Any]]
    state: str
    """What must be said of the metrics."""
    before: dict[str, float]
    """Held-out figures before training; empty where nothing was held out."""
    after: dict[str, float]
    """The last ones."""
    after_step: int
    alarms: list[str]
    settings: dict[str, Any]
    """The objective's part of the configuration."""

    def shown_alarms(self) -> list[str]:
        """The first of them, and how many there are more."""
        more = len(self.alarms) - _MOST_ALARMS
        return self.alarms[:_MOST_ALARMS] + ([f"… and {more} more such events in events.jsonl"] if more > 0 else [])

    def last(self, key: str) -> float | None:
        """The last value of a figure."""
        return next((value for _, value in reversed(points_of(self.metrics, key))), None)


def learning_of(run: RunRecord) -> Learning | None:
    """The training of a run's report; None if it kept no rollouts here."""
    folders = {folder.name: folder for folder in trainings(run.folder)}
    if not folders:
        return None
    metrics, state = run.steps()
    names = [record.get("training", "") for record in metrics[-1:]]
    if not metrics and not run.stage("train"):
        names = list(folders)[-1:]  # it has not come to its first step
    if not names or names[0] not in folders:
        return None
    folder, figures = folders[names[0]], {}
    for path in (files := files_of(folder, heldout=True))[:1] + files[-1:]:
        with contextlib.suppress(DataError):
            meta = RolloutFile(path).meta
            figures[meta["step"]] = meta["figures"]
    before, last = figures.pop(0, {}), max(figures, default=0)
    settings = (run.config.get("train") or {}).get("objective") or {}
    return Learning(folder, metrics, state, before, figures.get(last, {}), last, _alarms(run, names[0]), settings)


def _alarms(run: RunRecord, training: str) -> list[str]:
    events = [event for _, event in run.stage("train").get("events") or []]
    if not run.stage("train"):
        records = read_metrics(run.folder / "events.jsonl")
        events = [one["event"] for one in records if one["training"] == training]
    return list(dict.fromkeys(event for event in events if any(words in event for words in _ALARMS)))


def glance(learning: Learning) -> Iterator[Card]:
    """The figures for the top of the page."""
    yield from _before_after(learning, "reward", "Held-out reward")
    if (rate := learning.after.get("win_rate")) is not None:
        tone = "good" if rate > 0.5 else "bad" if rate < 0.5 else ""
        yield Card("Win rate", f"{rate:.0%}", "held-out answers better than before training; ties are halves", tone)
    if (spent := _kl_spent(learning)) is not None:
        yield Card("KL spent", f"{spent[0]} nats", f"a {spent[1]}, from the reference model, at the end")
    if learning.alarms:
        yield Card("Alarms", str(len(learning.alarms)), "see Rollouts", "bad")


def told(learning: Learning) -> Iterator[tuple[str, str]]:
    """The same for a terminal: label and value."""
    if "reward" in learning.before and "reward" in learning.after:
        was, now = learning.before["reward"], learning.after["reward"]
        yield "held-out reward", f"{was:.3f} → {now:.3f} ({now - was:+.3f}) in {learning.after_step} steps"
    if "win_rate" in learning.after:
        yield "win rate", f"{learning.after['win_rate']:.0%} of held-out prompts answered better than before"
    if (spent := _kl_spent(learning)) is not None:
        yield "KL spent", f"{spent[0]} nats a {spent[1]}, from the reference model"


def section(learning: Learning) -> dict[str, Any]:
    """What the template shows under Rollouts."""
    return {
        "alarms": learning.shown_alarms(), "cards": list(_cards(learning)), "charts": list(_charts(learning)),
        "examples": _examples(learning.folder),
    }  # fmt: skip


def _kl_spent(learning: Learning) -> tuple[str, str] | None:
    """The last distance from the reference model, and of what it is."""
    values = {"completion": learning.last("kl_completion"), "token": learning.last("kl")}
    return next(((figure(value), what) for what, value in values.items() if value is not None), None)


def _before_after(learning: Learning, key: str, label: str) -> Iterator[Card]:
    was, now = learning.before.get(key), learning.after.get(key)
    if was is not None and now is not None:
        judged = key.startswith("reward")
        tone = "" if not judged or not abs(now - was) > 0 else "good" if now > was else "bad"
        note = f"{now - was:+.3g}".replace("-", "−") + f" in {learning.after_step} steps"
        yield Card(label, f"{figure(was)} → {figure(now)}", note, tone)
    elif (only := was if now is None else now) is not None:
        yield Card(label, figure(only), "before training" if now is None else f"after {learning.after_step} steps")


def _cards(learning: Learning) -> Iterator[Card]:
    """Held-out figures before and after; of the rewards' components where there are several."""
    names = [key for key in learning.after or learning.before if key.startswith(REWARD)]
    for key in names if len(names) > 1 else ():
        yield from _before_after(learning, key, f"Held-out {key.removeprefix(REWARD)}")
    yield from _before_after(learning, "length", "Held-out length, tokens")
    yield from _before_after(learning, "ended", "Held-out share that ended")
    for key in {key: None for record in learning.metrics for key in record if key.startswith("failed_")}:
        if failed := learning.last(key):
            yield Card("Rewards that failed", f"{failed:,.0f}", key.removeprefix("failed_"), "bad")


def _charts(learning: Learning) -> Iterator[Chart]:
    metrics, state = learning.metrics, learning.state
    judges = ", by other rewards than the training's" if learning.settings.get("heldout_rewards") else ""
    start = [(0, learning.before["reward"])] if "reward" in learning.before else []
    if points := points_of(metrics, "reward"):
        beside = ("held-out", [*start, *points_of(metrics, "heldout_reward")])
        note = f"mean of a round; held-out: of greedy completions{judges}{state}"
        yield curve("rl-reward", "Reward", note, points, {}, zero=False, beside=beside)
    for prefix, title in ((REWARD, "Components of the reward"), (f"heldout_{REWARD}", "Held-out components")):
        names = {key: None for record in metrics for key in record if key.startswith(prefix)}
        if len(names) > 1:
            parts = {name.removeprefix(prefix): points_of(metrics, name) for name in names}
            yield lines(f"rl-{prefix}parts", title, f"each by itself, without its weight{state}", parts)
    for key, title, unit, zero in _CHARTS:
        points = points_of(metrics, key)
        if not points or (key in _ONLY_IF_IT_MOVES and len({value for _, value in points}) == 1):
            continue
        marks = {"as before": 0.5} if key == "heldout_win_rate" else {}
        bar = (learning.settings.get("sync") or {}).get("max_drift") if key == "drift" else None
        note = unit + ("" if bar is None else f"; alarm above {bar:g}") + state
        yield curve(f"rl-{key}", title, note, points, marks, zero=zero)


def _examples(folder: Path) -> list[dict[str, Any]]:
    """The best, the median and the worst rollout of a handful of rounds, the first and the last among them."""
    files = files_of(folder)
    chosen = np.linspace(0, len(files) - 1, min(len(files), _ROUNDS)).round().astype(int)
    found = []
    for path in (files[index] for index in chosen):
        with contextlib.suppress(DataError):
            ranked = [row for row in rows([path], Query(sort="reward")) if row["reward"] is not None]
            places: dict[int, str] = {}
            for at, place in ((len(ranked) - 1, "best"), (0, "worst"), ((len(ranked) - 1) // 2, "median")):
                places.setdefault(at, place)  # of one or two there is no median
            found += [_example(ranked[at], places[at]) for at in sorted(places, reverse=True) if ranked]
    return found


def _example(row: dict[str, Any], place: str) -> dict[str, Any]:
    return {
        "step": row["step"], "place": place, "reward": clean(reward_words(row)), "length": length_words(row),
        "prompt": clean(row["prompt"].strip("\n"), _CUT), "completion": clean(row["completion"], _CUT),
    }  # fmt: skip
