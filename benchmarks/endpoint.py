"""Endpoints: what they cost beside what they serve, and how they bear steps in the load and killed replicas.

    front       our front against Ray Serve with HAProxy and with its own proxy, an engine that does nothing behind each
    overhead    added time to the first token, and the throughput left, against the bare engine in a process
    llama_cpp   the endpoint against llama.cpp's own HTTP server
    vllm        the endpoint against vLLM's own server
    step        one client, 16, one: when the second replica serves, whether replicas flap, failed requests
    wake        from no replica to the first token, against the engine's constructor
    adapters    eight LoRA adapters at once against one and none
    kill        SIGKILL of a replica every now and then under load

Everything stays on loopback. Sides run in turn, forwards and backwards, each in a process of its own with a Ray of its
own on two cores, which the load generator shares. `overhead` and `adapters` alternate within a side.

    python benchmarks/endpoint.py front --repeats 3 --to front.json
    python benchmarks/endpoint.py kill --seconds 300 --every 30
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from measure import REPOSITORY, finish, interleaved, machine, ratio, summary

sys.path.insert(0, str(REPOSITORY))

import _endpoint_adapters
import _endpoint_engines
import _endpoint_front
import _endpoint_replicas
from _endpoint_common import versions


class Benchmark(NamedTuple):
    """A benchmark's sides, and what it takes unless told otherwise."""

    sides: dict[str, Callable[[argparse.Namespace], dict[str, Any]]]
    repeats: int = 3
    seconds: float = 10.0
    clients: tuple[int, ...] = (1, 8)
    max_tokens: int = 32
    ours: str = "raysmith"
    compared: tuple[str, ...] = ()
    """Ends of the figures whose ratios, ours to each other side, are told."""
    hidden: tuple[str, ...] = ()
    """Sides that run only when `--sides` names them."""


_RATES = ("requests_per_s", "total_p50_ms", "total_p99_ms")
_TOKENS = ("output_tokens_per_s", "first_token_p50_ms", "first_token_p99_ms")
BENCHMARKS = {
    "front": Benchmark(_endpoint_front.SIDES, clients=(1, 16, 64), compared=(*_RATES, "first_token_p50_ms")),
    "overhead": Benchmark(_endpoint_engines.OVERHEAD, clients=(1, 32), seconds=30, max_tokens=16),
    "llama_cpp": Benchmark(
        _endpoint_engines.LLAMA_CPP, seconds=20, max_tokens=64, compared=_TOKENS, hidden=("server",)
    ),
    "vllm": Benchmark(
        _endpoint_engines.VLLM, seconds=30, max_tokens=64, compared=_TOKENS, hidden=("vllm-defaults",)
    ),
    "step": Benchmark(_endpoint_replicas.STEP, seconds=20),
    "wake": Benchmark(_endpoint_replicas.WAKE, ours="wake", repeats=5, compared=("first_token_s",)),
    "adapters": Benchmark(_endpoint_adapters.SIDES, seconds=30),
    "kill": Benchmark(_endpoint_replicas.KILL, repeats=1, seconds=300),
}  # fmt: skip


def arguments() -> argparse.Namespace:
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("what", choices=sorted(BENCHMARKS))
    found.add_argument("--side", help="run one side only, and print its figures")
    found.add_argument("--sides", nargs="+", help="run these")
    found.add_argument("--repeats", type=int)
    found.add_argument("--seconds", type=float, help="of each step of a load; of `kill`, in all")
    found.add_argument("--clients", type=int, nargs="+", help="steps: so many clients each")
    found.add_argument("--max-tokens", type=int, help="of an answer")
    found.add_argument("--every", type=float, default=30.0, help="`kill`: seconds between two kills")
    found.add_argument("--upscale", type=float, default=5.0, help="`step`: replicas.upscale_delay_s")
    found.add_argument("--downscale", type=float, default=10.0, help="`step`: replicas.downscale_delay_s")
    found.add_argument("--threads", type=int, default=1, help=argparse.SUPPRESS)  # a replica has one core
    found.add_argument("--to", dest="out", type=Path, help="also write the JSON there")
    options = found.parse_args()
    chosen = BENCHMARKS[options.what]
    for name in ("repeats", "seconds", "clients", "max_tokens"):
        if getattr(options, name) is None:
            setattr(options, name, getattr(chosen, name))
    known = [one for one in chosen.sides if one not in chosen.hidden]
    options.sides = options.sides or known
    if unknown := {*options.sides, *filter(None, [options.side])} - chosen.sides.keys():
        found.error(f"{options.what} has no side {', '.join(unknown)}; it has {', '.join(chosen.sides)}")
    return options


def ratios(chosen: Benchmark, runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Ours to each other side, repeat by repeat."""
    ours = runs.get(chosen.ours, [])
    return {
        f"{chosen.ours}/{name}": {
            key: ratio(ours, other, key) for key in ours[0]
            if key.endswith(chosen.compared) and all(one.get(key) for one in other)
        } for name, other in runs.items() if ours and name != chosen.ours and chosen.compared
    }  # fmt: skip


def main() -> None:
    options = arguments()
    chosen = BENCHMARKS[options.what]
    if options.side:
        print(json.dumps(chosen.sides[options.side](options)))
        return
    passed = [
        options.what, "--seconds", str(options.seconds), "--max-tokens", str(options.max_tokens), "--every",
        str(options.every), "--upscale", str(options.upscale), "--downscale", str(options.downscale), "--clients",
        *map(str, options.clients),
    ]  # fmt: skip
    runs = interleaved(__file__, options.sides, options.repeats, options.threads, *passed)
    about = machine(options.threads)
    finish(options, {
        "benchmark": f"endpoint {options.what}", **about, "packages": about["packages"] | versions(),
        "load_average": os.getloadavg(), "repeats": options.repeats, "seconds": options.seconds,
        "clients": options.clients, "max_tokens": options.max_tokens,
        "sides": {name: summary(found) for name, found in runs.items()}, "ratios": ratios(chosen, runs),
        "runs": runs,
    })  # fmt: skip


if __name__ == "__main__":
    main()
