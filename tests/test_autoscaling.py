"""Replicas follow the load: a second one under load, one again afterwards, and no request lost on the way."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import openai
from ray import serve

from cluster.connect import Capacity
from serving.config import ReplicaConfig, ServeConfig
from serving.deploy import APP_NAME, ModelSource, deploy, shutdown
from serving.engines.llama_cpp import Config as LlamaCpp
from tests.test_serving import model_path

__all__ = ["model_path"]
CONFIG = ServeConfig(
    engine=LlamaCpp(context_tokens=256, num_parallel=2),
    port=0,
    replicas=ReplicaConfig(min=1, max=2, target_ongoing_requests=1, upscale_delay_s=0.5, downscale_delay_s=1),
)


def running_replicas() -> int:
    deployments = serve.status().applications[APP_NAME].deployments.values()
    return sum(deployment.replica_states.get("RUNNING", 0) for deployment in deployments)


def wait_for_replicas(count: int, within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while running_replicas() != count:
        assert time.monotonic() < deadline, f"{running_replicas()} replicas instead of {count}"
        time.sleep(0.2)


def test_a_second_replica_comes_with_the_load_and_goes_with_it(ray_cluster: Capacity, model_path: Any) -> None:
    endpoint = deploy(CONFIG, model_path, "smol", ModelSource("gguf-abc", []), "key")
    try:
        client = openai.OpenAI(base_url=endpoint.url, api_key="key", max_retries=0, timeout=120)
        assert running_replicas() == 1
        asked: list[Future[str | None]] = []
        with ThreadPoolExecutor(4) as threads:

            def ask() -> str | None:
                answer = client.chat.completions.create(
                    model="smol", messages=[{"role": "user", "content": "Count to fifty."}], max_tokens=60
                )
                return answer.choices[0].finish_reason

            deadline = time.monotonic() + 90
            while running_replicas() < 2:
                assert time.monotonic() < deadline, "no second replica under load"
                asked += [threads.submit(ask) for _ in range(4 - sum(not one.done() for one in asked))]
                time.sleep(0.2)
            asked += [threads.submit(ask) for _ in range(4)]
        wait_for_replicas(1, within_s=60)
        assert {one.result() for one in asked} <= {"stop", "length"}
        assert ask() in {"stop", "length"}
    finally:
        shutdown()
