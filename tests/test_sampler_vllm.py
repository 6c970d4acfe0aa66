"""vLLM as a sampler: what it writes with is what it was sent, to the bit, and its log-probabilities are the model's."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cluster.connect import Capacity
from cluster.errors import ConfigError, ModelError
from trainers.adapter_config import AdapterConfig
from trainers.rl.weights import Weights, pieces, tensor_of, weights_digest
from trainers.rl.writing import SamplerActor, Written
from trainers.samplers import Completion, Prompt, Sampling, Setup, vllm
from trainers.samplers import transformers as reference

END = tuple(range(2, 40))  # many, so that completions do end
LENGTH = 200
# Scales that are no powers of two, and parts of a fused layer that differ in them and in rank.
ADAPTER = {"rank": 6, "alpha": 10, "variant": "rslora", "rank_pattern": {"q_proj": 3}, "alpha_pattern": {"up_proj": 7}}


class Engine(SamplerActor):
    """A sampler actor in a process of its own (vLLM changes torch for the whole of it), with a way to freeze it."""

    def freeze(self, frozen: bool) -> None:
        sampler: Any = self._sampler
        sampler.load = (lambda _: None) if frozen else type(sampler).load.__get__(sampler)


class Pair(NamedTuple):
    engine: Any
    model: reference.Sampler

    def load(self, version: int, weights: Weights) -> str:
        import ray

        self.model.load(weights)
        digest: str = ray.get(self.engine.load.remote(version, weights))
        return digest

    def write(self, prompts: list[Prompt], sampling: Sampling) -> tuple[int, list[list[Completion]]]:
        import ray

        written: Written = ray.get(self.engine.generate.remote(prompts, sampling))
        return written.version, written.completions

    def distance(self, prompts: list[Prompt], written: list[list[Completion]], temperature: float) -> float:
        """Mean |Δ log p| between what was written with and the model's own, over all tokens."""
        import torch

        found = []
        for prompt, completions in zip(prompts, written, strict=True):
            for ids, logprobs, _ in completions:
                with torch.no_grad():
                    logits = self.model._model(torch.tensor([prompt.ids + ids])).logits[0, len(prompt.ids) - 1 : -1]
                own = torch.log_softmax(logits.float() / temperature, -1)[range(len(ids)), ids]
                found.append((own - torch.tensor(logprobs)).abs())
        return float(torch.cat(found).mean())


def setup_of(model: Path, adapter: dict[str, Any] | None) -> Setup:
    config = AdapterConfig.model_validate({"lora": adapter}) if adapter else None
    return Setup(model, "float32", config, pad_id=2, end_ids=END, threads=1, max_length=LENGTH)


def started(setup: Setup, **keys: Any) -> Any:
    import ray

    return ray.remote(Engine).options(num_cpus=0).remote(vllm.Config(cpu_cache_gb=0.25, **keys), setup)


@pytest.fixture(scope="module", params=["weights", "adapter"])
def pair(request: pytest.FixtureRequest, ray_cluster: Capacity, tiny_model: Path) -> Iterator[Pair]:
    import ray

    setup = setup_of(tiny_model, ADAPTER if request.param == "adapter" else None)
    engine = started(setup)
    yield Pair(engine, reference.Sampler(reference.Config(), setup))
    ray.kill(engine)


def changed(weights: Weights, seed: int) -> Weights:
    import torch

    generator = torch.Generator().manual_seed(seed)
    tensors = ((name, tensor_of(piece)) for name, piece in weights.items())
    return pieces((name, one + 0.05 * torch.randn(one.shape, generator=generator)) for name, one in tensors)


def prompts_of(count: int = 3, length: int = 150, completions: int = 4) -> list[Prompt]:
    """Longer than a block of vLLM's cache on CPUs (128 tokens), so that all but the first completion find it there."""
    rng = random.Random(0)
    return [
        Prompt(rng.choices(range(3, 500), k=length + at), [rng.getrandbits(63) for _ in range(completions)])
        for at in range(count)
    ]


def test_it_holds_what_it_is_sent_and_writes_with_it(pair: Pair) -> None:
    prompts, before = prompts_of(), pair.model.held()
    for version in range(2):
        weights = changed(before, version)
        assert pair.load(version, weights) == weights_digest(weights)
        for temperature in (0.7, 1.0):
            written_by, written = pair.write(prompts, Sampling(16, temperature))
            assert written_by == version
            assert pair.distance(prompts, written, temperature) < 1e-4
        pair.model.load(before)
        assert pair.distance(prompts, written, 1.0) > 0.05


def test_seeds_alone_decide_and_completions_end_as_those_of_transformers(pair: Pair) -> None:
    prompts = prompts_of(length=20)
    pair.load(0, changed(pair.model.held(), 2))
    _, written = pair.write(prompts, Sampling(24, 1.0))
    _, [alone] = pair.write([prompts[2]._replace(seeds=prompts[2].seeds[1:2])], Sampling(24, 1.0))
    assert alone[0].ids == written[2][1].ids
    together = [one for completions in written for one in completions]
    assert len({tuple(one.ids) for one in together}) == len(together)
    for one in together:
        assert one.ended == (one.ids[-1] in END)
        assert one.ended or len(one.ids) == 24
        assert not set(one.ids[:-1]) & set(END)
    _, greedy = pair.write(prompts, Sampling(24, 0))
    expected = pair.model.generate(prompts, Sampling(24, 0))
    assert [[one.ids for one in many] for many in greedy] == [[one.ids for one in many] for many in expected]
    assert pair.distance(prompts, greedy, 1.0) < 1e-4


def test_a_sync_that_does_nothing_is_noticed(pair: Pair) -> None:
    import ray

    sent = changed(pair.model.held(), 3)
    assert pair.load(0, sent) == weights_digest(sent)
    ray.get(pair.engine.freeze.remote(True))
    other = changed(pair.model.held(), 4)
    assert pair.load(1, other) == weights_digest(sent) != weights_digest(other)
    ray.get(pair.engine.freeze.remote(False))
    assert pair.load(2, other) == weights_digest(other)


def test_unknown_weights_and_too_low_a_temperature_are_refused(pair: Pair) -> None:
    import ray

    [piece, *_] = pair.model.held().values()
    with pytest.raises(KeyError):
        ray.get(pair.engine.load.remote(0, {"model.none.weight": piece}))
    with pytest.raises(ConfigError, match=r"0\.001"):
        pair.write(prompts_of(1), Sampling(4, 0.001))


@pytest.mark.parametrize("config", [{"lora": {"variant": "dora"}}, {"base": "nf4"}, {"base": "int8"}])
def test_adapters_that_it_would_compute_otherwise_are_refused(tmp_path: Path, config: dict[str, Any]) -> None:
    setup = setup_of(tmp_path, None)._replace(adapter=AdapterConfig.model_validate(config))
    with pytest.raises(ConfigError, match="sampler `vllm`"):
        vllm.Sampler(vllm.Config(), setup)


@pytest.mark.slow
def test_an_adapter_of_the_output_head_is_refused(ray_cluster: Capacity, tiny_model: Path) -> None:
    import ray

    engine = started(setup_of(tiny_model, {"targets": ["lm_head", "q_proj"]}))
    with pytest.raises(ray.exceptions.ActorDiedError, match=ModelError.__name__):
        ray.get(engine.freeze.remote(False))


@pytest.mark.slow
def test_a_compiled_model_computes_with_new_weights_too(ray_cluster: Capacity, tiny_model: Path) -> None:
    import ray

    prompts = prompts_of(2)
    for adapter in (None, ADAPTER):
        setup = setup_of(tiny_model, adapter)
        pair = Pair(started(setup, enforce_eager=False), reference.Sampler(reference.Config(), setup))
        for version in range(2):
            weights = changed(pair.model.held(), version)
            assert pair.load(version, weights) == weights_digest(weights)
            _, written = pair.write(prompts, Sampling(16, 0.7))
            assert pair.distance(prompts, written, 0.7) < 1e-4
        ray.kill(pair.engine)
