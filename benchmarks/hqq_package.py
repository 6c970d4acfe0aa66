"""The hqq package's solver on a model's linear layers, for benchmarks/quantize.py; runs in an environment of its own.

ENV/bin/python benchmarks/hqq_package.py MODEL THREADS
"""

from __future__ import annotations

import json
import sys
import time

import torch
from hqq.core.quantize import Quantizer
from safetensors.torch import load_file

GROUP, NORM = 64, 0.7


def main() -> None:
    torch.set_num_threads(int(sys.argv[2]))
    errors = squares = size = count = seconds = 0.0
    for name, stored in load_file(f"{sys.argv[1]}/model.safetensors").items():
        if not name.endswith("_proj.weight"):
            continue
        weight = stored.float()
        began = time.perf_counter()
        codes, meta = Quantizer.quantize(weight, 4, group_size=GROUP, axis=1, device="cpu", compute_dtype=torch.float32)
        seconds += time.perf_counter() - began
        error = (Quantizer.dequantize(codes, meta).float() - weight).abs()
        errors += float(error.pow(NORM).sum())
        squares += float(error.square().sum())
        size += float(weight.square().sum())
        count += weight.numel()
    print(json.dumps({"error": errors / count, "square": squares / size, "seconds": seconds}))


if __name__ == "__main__":
    main()
