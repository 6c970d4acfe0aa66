"""Eight LoRA adapters asked for at the same time, one of them by all, and none: tokens a second."""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from pathlib import Path
from typing import Any

from _endpoint_common import NAME, Up, endpoint_up, figures, load_of, run
from loop import model_folder

from jobs.bench.client import Client
from jobs.bench.config import LoadConfig
from jobs.bench.driver import warm_up
from jobs.bench.load import Step, closed_loop

ADAPTERS, RANK, ROUNDS, CONTEXT = 8, 8, 2, 512
_KINDS = ("none", "one", "all")


def make_adapters(folder: Path) -> dict[str, Path]:
    """Random ones, by their names."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    made = {}
    for number in range(ADAPTERS):
        torch.manual_seed(number)
        model = AutoModelForCausalLM.from_pretrained(str(model_folder()), dtype=torch.bfloat16)
        targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
        # Random matrices on both sides: with zeros, as they begin, an adapter would change nothing.
        lora = LoraConfig(
            r=RANK, lora_alpha=RANK, target_modules=targets, init_lora_weights=False, task_type="CAUSAL_LM"
        )
        made[f"a{number}"] = folder / f"a{number}"
        get_peft_model(model, lora).save_pretrained(str(made[f"a{number}"]))
    return made


def adapters(options: argparse.Namespace) -> dict[str, Any]:
    """A side is an engine."""
    from serving.config import ReplicaConfig, ServeConfig
    from serving.engines import transformers, vllm

    common: dict[str, Any] = {"context_tokens": CONTEXT, "num_parallel": ADAPTERS, "dtype": "bfloat16"}
    if options.side == "vllm":
        engine: Any = vllm.Config(max_adapters=ADAPTERS, max_lora_rank=RANK, kv_cache_gb=1.0, **common)
    else:
        engine = transformers.Config(**common)
    config = ServeConfig(engine=engine, port=0, replicas=ReplicaConfig(min=1, max=1))
    with tempfile.TemporaryDirectory() as folder:
        there = make_adapters(Path(folder))
        with endpoint_up(config, model_folder(), there) as up:
            return _measured(up, list(there), options)


def _measured(up: Up, names: list[str], options: argparse.Namespace) -> dict[str, Any]:
    models = {
        "none": [NAME] * ADAPTERS,
        "one": [f"{NAME}:{names[0]}"] * ADAPTERS,
        "all": [f"{NAME}:{one}" for one in names],
    }
    steps: dict[str, list[Step]] = {kind: [] for kind in _KINDS}
    for turn in range(ROUNDS):
        for kind in _KINDS if turn % 2 == 0 else reversed(_KINDS):
            # A random adapter would end its answer anywhere: the tokens that end one are forbidden.
            load = load_of(
                options.seconds, turn, max_tokens=options.max_tokens, body={"logit_bias": {"0": -100, "2": -100}}
            )
            steps[kind].append(run(_asked(up, models[kind], load)))
    found: dict[str, Any] = {}
    for kind, made in steps.items():
        found |= figures(kind, made)
    for kind in ("none", "one"):
        ratio = found["all_output_tokens_per_s"] / found[f"{kind}_output_tokens_per_s"]
        found[f"ratio_all_to_{kind}"] = round(ratio, 4)
    return found


async def _asked(up: Up, models: list[str], load: LoadConfig) -> Step:
    """A client for each model; their records in one step."""

    async def ask(number: int, model: str) -> Step:
        own = load.model_copy(update={"seed": load.seed * len(models) + number})
        async with Client(up.target._replace(model=model), own) as client:
            await warm_up(client)
            ready.release()
            await begin.wait()
            return await closed_loop(client, Step("clients", 1))

    ready, begin = asyncio.Semaphore(0), asyncio.Event()
    asking = [asyncio.create_task(ask(number, model)) for number, model in enumerate(models)]
    for _ in models:
        await ready.acquire()
    begin.set()
    made = await asyncio.gather(*asking)
    whole = Step("clients", len(models), begin=made[0].begin, end=made[0].end, client_cpu=made[0].client_cpu)
    for one in made:
        whole.records += one.records
        whole.sent += one.sent
    return whole


SIDES = {"vllm": adapters, "transformers": adapters}
