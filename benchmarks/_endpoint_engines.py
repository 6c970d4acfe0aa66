"""The endpoint against the engines alone: what it adds to the first token, and what it leaves of the throughput."""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from _endpoint_common import (
    NAME,
    asked,
    asked_engine,
    command,
    endpoint_up,
    figures,
    free_port,
    load_of,
    run,
    smol_file,
    started,
    wait_until,
)
from loop import model_folder
from measure import REPOSITORY

from jobs.bench.config import Target

ROUNDS, START_S = 2, 300.0
PROMPT = 16
STAGGER = 4
"""Clients begin within this part of a step."""
CONTEXT, SLOTS, CACHE_GB = 512, 32, 1.0


def overhead(options: argparse.Namespace) -> dict[str, Any]:
    """The engine in this process and the same behind the endpoint, in turn."""
    from serving.config import ReplicaConfig, ServeConfig
    from serving.engines import _noop, llama_cpp
    from serving.protocol import open_engine

    settings = {"context_tokens": CONTEXT, "num_parallel": SLOTS}
    noop = options.side == "noop"
    engine_config: Any = _noop.Config(pause_s=0.005, **settings) if noop else llama_cpp.Config(**settings)
    path = smol_file()
    config = ServeConfig(engine=engine_config, port=0, replicas=ReplicaConfig(min=1, max=1))
    found: dict[str, Any] = {}
    with endpoint_up(config, path) as up:
        engine = open_engine(engine_config, path, NAME, 1)
        for clients in options.clients:
            steps: dict[str, list[Any]] = {"endpoint": [], "engine": []}
            for turn in range(ROUNDS):
                load = load_of(
                    options.seconds, 10 * clients + turn, max_tokens=options.max_tokens, prompt_tokens=PROMPT
                )
                more = {"stagger_s": options.seconds / STAGGER}
                for side in ("endpoint", "engine") if turn % 2 == 0 else ("engine", "endpoint"):
                    work = (
                        asked(up.target, load, clients, **more) if side == "endpoint"
                        else asked_engine(engine, load, clients, **more)
                    )  # fmt: skip
                    steps[side].append(run(work))
            for side, made in steps.items():
                found |= figures(f"{side}_{clients}", made)
            found |= _added(found, clients)
        run(engine.stop())
    return found


def _added(found: dict[str, Any], clients: int) -> dict[str, float]:
    def both(name: str) -> tuple[float, float]:
        return found[f"endpoint_{clients}_{name}"], found[f"engine_{clients}_{name}"]

    told = {}
    for at in ("p50", "mean"):
        ours, alone = both(f"first_token_{at}_ms")
        told[f"added_{clients}_first_token_{at}_ms"] = round(ours - alone, 4)
        told[f"ratio_{clients}_first_token_{at}"] = round(ours / alone, 4)
    ours, alone = both("output_tokens_per_s")
    return {**told, f"ratio_{clients}_output_tokens_per_s": round(ours / alone, 4)}


def _measured(target: Target, options: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for clients in options.clients:
        load = load_of(options.seconds, clients, max_tokens=options.max_tokens)
        step = run(asked(target, load, clients, stagger_s=options.seconds / STAGGER))
        found |= figures(str(clients), [step])
    return found


def endpoint(options: argparse.Namespace) -> dict[str, Any]:
    """Our side of `llama_cpp` and `vllm`."""
    from serving.config import ReplicaConfig, ServeConfig
    from serving.engines import llama_cpp, vllm

    slots = max(options.clients)
    if options.what == "vllm":
        engine: Any = vllm.Config(context_tokens=CONTEXT, num_parallel=slots, dtype="bfloat16", kv_cache_gb=CACHE_GB)
    else:
        engine = llama_cpp.Config(context_tokens=CONTEXT, num_parallel=slots)
    path = model_folder() if options.what == "vllm" else smol_file()
    config = ServeConfig(engine=engine, port=0, replicas=ReplicaConfig(min=1, max=1))
    with endpoint_up(config, path) as up:
        return _measured(up.target, options)


def xllamacpp(options: argparse.Namespace) -> dict[str, Any]:
    """llama.cpp's own HTTP server, in a process of its own."""
    arguments = command("llama_cpp", "--side", "server", "--clients", str(max(options.clients)))
    with started(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        url = (process.stdout.readline() if process.stdout else "").strip()
        return _measured(Target(f"{url}/v1", NAME, "none"), options)


def server(options: argparse.Namespace) -> dict[str, Any]:
    """The server of `xllamacpp`; it lives as long as its input is open."""
    import xllamacpp

    from serving.engines.llama_cpp import Config, _server_params

    config = Config(context_tokens=CONTEXT, num_parallel=max(options.clients))
    params = _server_params(config, smol_file(), NAME, 1)
    params.hostnames, params.port = ["127.0.0.1"], free_port()
    opened = xllamacpp.Server(params)
    print(f"http://127.0.0.1:{params.port}", flush=True)
    sys.stdin.read()
    del opened
    return {}


@contextmanager
def vllm_up(options: argparse.Namespace, folder: str) -> Iterator[Target]:
    """What `vllm serve` starts; with `vllm` our engine's settings, with `vllm-defaults` those that nobody chose."""
    from serving.exports.launch import VLLM_MODULE

    port = free_port()
    arguments = [
        str(model_folder()), "--served-model-name", NAME, "--host", "127.0.0.1", "--port", str(port), "--dtype",
        "bfloat16", "--max-model-len", str(CONTEXT), "--max-num-seqs", str(max(options.clients)),
        "--kv-cache-memory-bytes", str(int(CACHE_GB * 2**30)), "--disable-uvicorn-access-log",
    ]  # fmt: skip
    own = {
        "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "OMP_NUM_THREADS": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_HOST_IP": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo",
        "TMPDIR": folder, "VLLM_LOGGING_LEVEL": "WARNING", "VLLM_CPU_INT4_W4A8": "0",
    }  # fmt: skip
    if options.side == "vllm":
        arguments += ["--enforce-eager", "--disable-log-stats", "--distributed-executor-backend", "uni"]
        own["TORCHDYNAMO_DISABLE"] = "1"
    log = Path(folder) / "vllm.log"
    whole = [sys.executable, *VLLM_MODULE, *arguments]
    with log.open("w") as stream, started(
        whole, env=os.environ | own, cwd=REPOSITORY, stdout=stream, stderr=stream
    ) as process:  # fmt: skip
        _wait_for(f"http://127.0.0.1:{port}/health", process, log)
        yield Target(f"http://127.0.0.1:{port}/v1", NAME, "none")


def _wait_for(url: str, process: subprocess.Popen[Any], log: Path) -> None:
    import httpx

    def answers() -> bool:
        if process.poll() is not None:
            raise SystemExit(f"vLLM ended:\n{log.read_text()[-4000:]}")
        try:
            return httpx.get(url, trust_env=False).is_success
        except httpx.TransportError:
            return False

    asyncio.run(wait_until(answers, START_S, "vLLM answers"))


def vllm(options: argparse.Namespace) -> dict[str, Any]:
    """vLLM's own server."""
    with tempfile.TemporaryDirectory() as folder, vllm_up(options, folder) as target:
        return _measured(target, options)


OVERHEAD = {"smol": overhead, "noop": overhead}
LLAMA_CPP = {"raysmith": endpoint, "xllamacpp": xllamacpp, "server": server}
VLLM = {"raysmith": endpoint, "vllm": vllm, "vllm-defaults": vllm}
