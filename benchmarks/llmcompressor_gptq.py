"""llmcompressor's GPTQ on given token ids, for benchmarks/quantize.py; runs in llmcompressor's environment.

ENV/bin/python benchmarks/llmcompressor_gptq.py MODEL TEXT.npy OUT
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from datasets import Dataset
from llmcompressor import oneshot
from llmcompressor.modifiers.quantization import GPTQModifier
from transformers import AutoModelForCausalLM, AutoTokenizer


def main() -> None:
    folder, text, out = sys.argv[1:4]
    ids = np.load(text)
    scheme = QuantizationScheme(
        targets=["Linear"],
        weights=QuantizationArgs(num_bits=4, symmetric=True, strategy="group", group_size=32, actorder="static"),
    )
    Path("/proc/self/clear_refs").write_text("5")  # everything is imported, the model is not there
    before = resident("VmRSS")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
    began = time.perf_counter()
    oneshot(
        model=model, processor=AutoTokenizer.from_pretrained(folder), max_seq_length=ids.shape[1],
        dataset=Dataset.from_list([{"input_ids": row, "attention_mask": [1] * len(row)} for row in ids.tolist()]),
        recipe=[GPTQModifier(config_groups={"group_0": scheme}, ignore=["lm_head"], dampening_frac=0.01)],
        num_calibration_samples=len(ids), shuffle_calibration_samples=False, output_dir=out,
    )  # fmt: skip
    seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "peak_bytes": resident("VmHWM") - before}))


def resident(field: str) -> int:
    """Bytes of resident memory, now (VmRSS) or at most (VmHWM)."""
    [line] = [one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith(f"{field}:")]
    return 1024 * int(line.split()[1])


if __name__ == "__main__":
    main()
