"""GPTQ on a CPU against llmcompressor's, and our methods against k-quants at like sizes: time, memory, perplexity.

SmolLM2-135M-Instruct; calibration and held-out text are different files of Python's own standard library, so every
machine has them.

    speed       GPTQ, ours against llmcompressor 0.14: 4 bits, groups of 32, symmetric, columns in the order of
                activations, damping 0.01, the same token ids. Ours also tries narrower ranges, and takes a row as
                rounded where that is closer; "whole range" is without the former, like llmcompressor;
                "rounded" is the baseline. Memory is what
                each takes beyond a process that has imported everything; seconds are without imports, and without
                loading the model on their side. It runs in an environment of its own (its pins and ours differ):
                    python3.11 -m venv ENV && ENV/bin/pip install torch==2.13.0 llmcompressor==0.14.0.1
    hqq         the solver alone against the hqq package's, on the linear layers of the same model: mean |w - ŵ|^0.7,
                which both minimize, and the squared error. Its zero points are real numbers (4.5 bits a weight with its
                scales in 16 bits), ours whole ones (4.3 bits), as the format wants. Groups of 64: this model was on
                a grid of 4 bits in groups of 32 once (its package holds Q4_1), which real zero points find again. In
                that environment, too:
                    ENV/bin/pip install hqq==0.2.8.post1
    quality     all methods with calibration of 64 × 512 tokens: bits of the linear layers, perplexity, KL

    python benchmarks/quantize.py speed --other ENV/bin/python --repeats 3
    python benchmarks/quantize.py hqq --other ENV/bin/python --repeats 3
    python benchmarks/quantize.py quality
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from loop import model_folder
from measure import REPOSITORY, finish, machine, ratio, summary

LENGTH, HELDOUT = 512, 24
METHODS: dict[str, dict[str, Any]] = {
    "rtn": {"kind": "rtn"}, "hqq": {"kind": "hqq"}, "awq": {"kind": "awq"}, "gptq": {"kind": "gptq"},
    "gptq, no order": {"kind": "gptq", "order": "none"}, "gptq, whole range": {"kind": "gptq", "least_range": 1.0},
    "gptq, symmetric": {"kind": "gptq", "symmetric": True}, "int8": {"kind": "int8"}, "nf4": {"kind": "nf4"},
    "Q4_K_M": {"kind": "kquants", "recipe": "Q4_K_M"},
    "Q4_K_M, importance": {"kind": "kquants", "recipe": "Q4_K_M", "importance": True},
}  # fmt: skip


def text_ids(count: int, part: str) -> np.ndarray:
    """Blocks [count, LENGTH] of token ids of the standard library's files; `part` is calibration or heldout."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(model_folder()))
    files = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    random.Random(0).shuffle(files)
    cut = len(files) * 2 // 3
    ids: list[int] = []
    for path in files[:cut] if part == "calibration" else files[cut:]:
        ids += tokenizer(path.read_text(encoding="utf-8", errors="replace"))["input_ids"]
        if len(ids) >= count * LENGTH:
            return np.array(ids[: count * LENGTH]).reshape(count, LENGTH)
    raise SystemExit("the standard library is too small")


def perplexity(folder: Path) -> float:
    """Of held-out text, in transformers, float32."""
    import torch
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32)
    total = 0.0
    with torch.inference_mode():
        for row in text_ids(HELDOUT, "heldout"):
            ids = torch.tensor(row)[None]
            logprobs = model(ids).logits[0, :-1].log_softmax(-1)
            total -= float(logprobs.gather(1, ids[0, 1:, None]).sum())
    return math.exp(total / (HELDOUT * (LENGTH - 1)))


def ours(options: argparse.Namespace) -> dict[str, Any]:
    import torch
    import transformers.models.llama.modeling_llama  # noqa: F401 - code is not what a method takes

    from jobs.quantize.peak import PeakMemory
    from serving.quantizers import _on_grid, gptq, rtn  # noqa: F401 - nor is this

    torch.set_num_threads(options.threads)
    text = np.load(options.text)
    config = gptq.Config(symmetric=True, least_range=1.0 if options.side == "ours_whole_range" else 0.6)
    with PeakMemory() as memory:
        if options.side == "rounded":
            rtn.quantize(model_folder(), options.folder, rtn.Config(symmetric=True))
        else:
            gptq.quantize(model_folder(), options.folder, config, text)
    return {"seconds": memory.seconds, "peak_bytes": memory.peak_bytes}


def hqq_ours(options: argparse.Namespace) -> dict[str, Any]:
    import torch
    from safetensors.torch import load_file

    from serving.quantizers import hqq, rtn
    from serving.quantizers._grid import decode

    torch.set_num_threads(options.threads)
    config = hqq.Config(group=64) if options.side == "hqq_ours" else rtn.Config(group=64)
    solve = hqq.solve if options.side == "hqq_ours" else rtn.solve
    errors = squares = size = count = seconds = 0.0
    for name, stored in load_file(model_folder() / "model.safetensors").items():
        if not name.endswith("_proj.weight"):
            continue
        weight = stored.float()
        began = time.perf_counter()
        found = solve(config, weight)
        seconds += time.perf_counter() - began
        error = (decode(*found, config) - weight).abs()
        errors += float(error.pow(0.7).sum())
        squares += float(error.square().sum())
        size += float(weight.square().sum())
        count += weight.numel()
    return {"error": errors / count, "square": squares / size, "seconds": seconds}


def hqq_theirs(options: argparse.Namespace) -> dict[str, Any]:
    return elsewhere(options, "hqq_package.py", str(model_folder()), str(options.threads))


def theirs(options: argparse.Namespace) -> dict[str, Any]:
    return elsewhere(options, "llmcompressor_gptq.py", str(model_folder()), str(options.text), str(options.folder))


def elsewhere(options: argparse.Namespace, script: str, *arguments: str) -> dict[str, Any]:
    """What a script prints in the other environment."""
    command = [options.other, str(REPOSITORY / "benchmarks" / script), *arguments]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        command,
        env=environment | {"OMP_NUM_THREADS": str(options.threads)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{script} failed:\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def sides_in_turn(options: argparse.Namespace, sides: Sequence[str], folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Each side in a process of its own, one after another, the order turned round each time."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
    for repeat in range(options.repeats):
        for name in sides if repeat % 2 == 0 else reversed(sides):
            out = folder / f"{name}-{repeat}"
            command = [
                sys.executable, __file__, options.what, "--side", name, "--text", str(folder / "text.npy"), "--folder",
                str(out), "--threads", str(options.threads), "--other", str(options.other),
            ]  # fmt: skip
            environment = os.environ | {"OMP_NUM_THREADS": str(options.threads), "PYTHONPATH": str(REPOSITORY)}
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(f"{name} failed:\n{done.stderr[-3000:]}")
            figures = json.loads(done.stdout.strip().splitlines()[-1])
            if out.exists():
                figures["perplexity"] = perplexity(out)
            found[name].append(figures)
            print(f"{repeat + 1}/{options.repeats} {name}: {figures}", file=sys.stderr)
    return found


def solver(options: argparse.Namespace) -> dict[str, Any]:
    found = sides_in_turn(options, ("hqq_ours", "hqq_theirs", "rtn_ours"), Path(tempfile.mkdtemp()))
    return {
        "machine": machine(options.threads), "sides": {name: summary(runs) for name, runs in found.items()},
        **{
            f"ours/theirs, {key}": ratio(found["hqq_ours"], found["hqq_theirs"], key)
            for key in ("error", "square", "seconds")
        },
    }  # fmt: skip


def speed(options: argparse.Namespace) -> dict[str, Any]:
    folder = Path(tempfile.mkdtemp())
    np.save(folder / "text.npy", text_ids(options.sequences, "calibration"))
    found = sides_in_turn(options, ("ours", "ours_whole_range", "rounded", "llmcompressor"), folder)
    size = sum(path.stat().st_size for path in model_folder().glob("*.safetensors"))
    return {
        "machine": machine(options.threads), "unquantized_perplexity": perplexity(model_folder()),
        "model_bytes": size, "model_and_2_layers_bytes": size + 2 * layer_bytes(),
        "sides": {name: summary(runs) for name, runs in found.items()},
        "llmcompressor/ours": ratio(found["llmcompressor"], found["ours"], "seconds"),
        "llmcompressor/ours_whole_range": ratio(found["llmcompressor"], found["ours_whole_range"], "seconds"),
    }  # fmt: skip


def layer_bytes() -> int:
    """Of a decoder layer in float32."""
    from safetensors import safe_open

    with safe_open(model_folder() / "model.safetensors", "pt") as tensors:
        names = [name for name in tensors.keys() if name.startswith("model.layers.0.")]  # noqa: SIM118
        return 4 * sum(math.prod(tensors.get_slice(name).get_shape()) for name in names)


def quality(options: argparse.Namespace) -> dict[str, Any]:
    import importlib

    import torch

    from cluster.handoff import compare
    from jobs.quantize.holders import HOLDERS
    from jobs.quantize.peak import PeakMemory
    from serving.quantize import quantizer_of

    torch.set_num_threads(options.threads)
    text = text_ids(options.sequences, "calibration")
    sequences = text_ids(HELDOUT, "heldout")[:, :256].tolist()
    folder, base = Path(tempfile.mkdtemp()), model_folder()
    reference = HOLDERS["transformers"](base, LENGTH, options.threads, (2,)).score(sequences, 128)
    found = {"unquantized": {"perplexity": math.exp(-float(reference.chosen.mean()))}}
    for name, keys in METHODS.items():
        config = importlib.import_module(f"serving.quantizers.{keys['kind']}").Config(**keys)
        out = folder / name.replace(" ", "-")
        with PeakMemory() as memory:
            result = quantizer_of(config).quantize(base, out, config, text if config.calibrated else None)
        holder = HOLDERS[config.engines(gpu=False)[0]](out, LENGTH, options.threads, (2,))
        began = time.perf_counter()
        scores = holder.score(sequences, 128)
        holder.close()
        agreement = compare(reference, scores)
        found[name] = {
            "layer_bits": result.layer_bits, "size_bytes": result.size_bytes,
            "perplexity": math.exp(-float(scores.chosen.mean())), "kl": agreement.kl,
            "agreement": agreement.top1_agreement, "seconds": memory.seconds, "peak_bytes": memory.peak_bytes,
            "loss": statistics.mean(result.losses.values()) if result.losses else 0.0,
            "scored_s": time.perf_counter() - began,
        }  # fmt: skip
        print(name, found[name], file=sys.stderr, flush=True)
    return {"machine": machine(options.threads), "methods": found}


SIDES = {
    "ours": ours, "ours_whole_range": ours, "rounded": ours, "llmcompressor": theirs,
    "hqq_ours": hqq_ours, "rtn_ours": hqq_ours,
    "hqq_theirs": hqq_theirs,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("speed", "hqq", "quality"))
    parser.add_argument("--side", choices=sorted(SIDES), help="run one side only, and print its figures")
    parser.add_argument("--other", type=Path, help="the Python of an environment with llmcompressor")
    parser.add_argument("--sequences", type=int, help=f"blocks of {LENGTH} tokens; default: 16, for quality 64")
    parser.add_argument("--text", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, help="also write the JSON there")
    options = parser.parse_args()
    options.sequences = options.sequences or (16 if options.what == "speed" else 64)
    if options.side:
        print(json.dumps(SIDES[options.side](options)))
        return
    finish(options, {"speed": speed, "hqq": solver, "quality": quality}[options.what](options))


if __name__ == "__main__":
    main()
