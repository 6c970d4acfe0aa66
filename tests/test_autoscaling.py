"""Replicas follow the load: a second one under load, none when nobody asks; and no request is lost on the way."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cluster.connect import Capacity
from serving.config import ReplicaConfig, ServeConfig
from serving.engines.llama_cpp import Config as LlamaCpp
from serving.scaling import ReplicasWanted
from tests.serve_model import Up, serve_model, smol_path

CONFIG = ServeConfig(
    engine=LlamaCpp(context_tokens=256, num_parallel=2),
    port=0,
    replicas=ReplicaConfig(min=0, max=2, target_ongoing_requests=1, upscale_delay_s=0.3, downscale_delay_s=1),
)


def ask(up: Up, max_tokens: int = 60) -> str:
    answer = up.client(timeout_s=120).chat.completions.create(
        model="smol", messages=[{"role": "user", "content": "Count to fifty."}], max_tokens=max_tokens
    )
    return answer.choices[0].finish_reason


def wait_for_replicas(up: Up, count: int, within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while (there := up.endpoint.state()["v1"]["replicas"]) != count:
        assert time.monotonic() < deadline, f"{there} replicas instead of {count}"
        time.sleep(0.1)


def test_replicas_come_and_go_with_the_load(ray_cluster: Capacity, tmp_path: Path) -> None:
    with serve_model(tmp_path, CONFIG, smol_path()) as up, ThreadPoolExecutor(4) as threads:
        asked: list[Future[str]] = []
        deadline = time.monotonic() + 90
        while up.endpoint.state()["v1"]["replicas"] < 2:
            assert time.monotonic() < deadline, "no second replica under load"
            asked += [threads.submit(ask, up) for _ in range(4 - sum(not one.done() for one in asked))]
            time.sleep(0.1)
        asked += [threads.submit(ask, up) for _ in range(4)]
        wait_for_replicas(up, 0, within_s=90)
        assert {one.result() for one in asked} <= {"stop", "length"}
        # Nobody is there: the request waits until a replica is.
        assert ask(up, max_tokens=2) in {"stop", "length"}
        assert up.metrics()['raysmith_replicas{model="smol",version="v1"}'] == 1


def context(requests: list[float], tokens: list[float], current: int, queued: float = 0) -> Any:
    def means(values: list[float]) -> dict[str, float]:
        return {f"replica-{at}": value for at, value in enumerate(values)}

    return SimpleNamespace(
        current_num_replicas=current, target_num_replicas=current, total_num_requests=queued,
        aggregated_metrics={"requests": means(requests), "tokens": means(tokens)} if requests else {},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("reported", "wanted"),
    [
        (context([2, 0], [100, 0], 2), 1),
        (context([2, 2.1], [100, 0], 2), 3),
        (context([0, 0], [0, 0], 2), 0),
        (context([1], [2500], 1), 3),  # few requests, long ones
        (context([], [], 1), 1),  # nothing was reported yet
        (context([], [], 0), 0),
        (context([], [], 0, queued=1), 1),
    ],
)
def test_requests_and_tokens_over_their_targets(reported: Any, wanted: int) -> None:
    assert ReplicasWanted({"requests": 2.0, "tokens": 1000.0})(reported)[0] == wanted
