"""What a DeepSpeed engine holds of each trained parameter, as flat pieces with names: one view of all ZeRO stages.

Each worker owns some *fragments*: runs of elements of a flattened parameter, with their float32 master weights and the
optimizer's two moments. Stages 1 and 2 cut one long vector of all parameters into equal parts, stage 3 each parameter,
stage 0 nothing; told apart here, and nowhere else. A checkpoint is the fragments of all workers, so it can be read
by another number of workers, at another stage, or without DeepSpeed.

DeepSpeed gives no stable interface for this: the attributes used are those of version 0.19, and
tests/test_checkpoints.py goes through every stage and type.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.distributed as dist

if TYPE_CHECKING:
    from deepspeed import DeepSpeedEngine

MASTER, MOMENTS = "master", ("exp_avg", "exp_avg_sq")
ROLES = (MASTER, *MOMENTS)


class Fragment(NamedTuple):
    """A run of elements of a flattened parameter that this worker owns."""

    name: str
    """The parameter's name in the transformers (or peft) model."""
    start: int
    """Its first element."""
    tensors: dict[str, torch.Tensor]
    """Role (`ROLES`) → float32 [n], views into the engine's own memory."""

    @property
    def numel(self) -> int:
        """Number of elements."""
        return self.tensors[MASTER].numel()


def fragments(engine: DeepSpeedEngine) -> Iterator[Fragment]:
    """This worker's fragments. Together the workers' cover each trained parameter exactly once."""
    stage, optimizer = engine.zero_optimization_stage(), engine.optimizer
    names = {id(p): name.removeprefix("model.") for name, p in engine.module.named_parameters() if p.requires_grad}
    if stage == 0:
        yield from _unsharded(optimizer, names)
    elif stage in (1, 2):
        yield from _partitioned_vector(optimizer, names)
    else:
        yield from _partitioned_parameters(optimizer, names)


def _unsharded(optimizer: Any, names: dict[int, str]) -> Iterator[Fragment]:
    # Everyone holds everything; each writes every n-th parameter.
    if hasattr(optimizer, "fp16_groups"):
        pairs = [
            (weight, master)
            for weights, masters in zip(optimizer.fp16_groups, optimizer.fp32_groups, strict=True)
            for weight, master in zip(weights, masters, strict=True)
        ]
    else:
        pairs = [(weight, weight) for group in optimizer.param_groups for weight in group["params"]]
    rank, workers = dist.get_rank(), dist.get_world_size()
    for index, (weight, master) in enumerate(pairs):
        state = _state(optimizer, master)
        if index % workers == rank:
            tensors = {MASTER: master.data, **{key: state[key] for key in MOMENTS}}
            yield Fragment(names[id(weight)], 0, {role: tensor.view(-1) for role, tensor in tensors.items()})


def _partitioned_vector(optimizer: Any, names: dict[int, str]) -> Iterator[Fragment]:
    for weights, flat in zip(optimizer.bit16_groups, optimizer.single_partition_of_fp32_groups, strict=True):
        state = _state(optimizer, flat)
        tensors = {MASTER: flat.data, **{key: state[key] for key in MOMENTS}}
        for weight in weights:
            if (mapping := weight._hp_mapping) is not None:
                at = mapping.hp_fragment_address
                parts = {role: tensor.narrow(0, at.start, at.numel) for role, tensor in tensors.items()}
                yield Fragment(names[id(weight)], mapping.lp_fragment_address.start, parts)


def _partitioned_parameters(optimizer: Any, names: dict[int, str]) -> Iterator[Fragment]:
    rank = dist.get_rank()
    for index, weights in enumerate(optimizer.fp16_groups):
        swapped = optimizer._swappable_optimizer_subgroup(index)
        if swapped:
            optimizer._optimizer_states_and_gradient_swap_in(index)
        flat = optimizer.fp32_partitioned_groups_flat[index]
        state = _state(optimizer, flat)
        tensors = {MASTER: flat.data, **{key: state[key] for key in MOMENTS}}
        for weight in weights:
            _, offset, part = optimizer.grad_position[optimizer.get_param_id(weight)]
            start = rank * part
            numel = min(part, weight.ds_numel - start)  # the last workers' parts are padded
            if numel > 0:
                parts = {role: tensor.narrow(0, offset, numel) for role, tensor in tensors.items()}
                yield Fragment(names[id(weight)], start, parts)
        if swapped:
            optimizer._optimizer_states_and_gradient_swap_out(index)


def _state(optimizer: Any, master: torch.Tensor) -> dict[str, Any]:
    """The optimizer's state of a tensor, made if no step was taken yet."""
    state: dict[str, Any] = _inner(optimizer).state[master]
    if hasattr(_inner(optimizer), "get_state_buffer"):
        return _paged_state(_inner(optimizer), state, master)
    if not state:
        state["step"] = torch.zeros((), dtype=torch.float32, device=master.device)
        state |= {key: torch.zeros_like(master, requires_grad=False) for key in MOMENTS}
    return state


def _paged_state(inner: Any, state: dict[str, Any], master: torch.Tensor) -> dict[str, Any]:
    """Bitsandbytes' state, with the moments under AdamW's names too: the same tensors, so what is read back counts."""
    if "state1" not in state:
        if not inner.initialized:
            inner.check_overrides()
            inner.to_gpu()
            inner.initialized = True
        places = ((g, p) for g, group in enumerate(inner.param_groups) for p in range(len(group["params"])))
        g, p = next((g, p) for g, p in places if inner.param_groups[g]["params"][p] is master)
        inner.init_state(inner.param_groups[g], master, g, p)
    return state | dict(zip(MOMENTS, (state["state1"], state["state2"]), strict=True))


def _inner(optimizer: Any) -> torch.optim.Optimizer:
    inner: torch.optim.Optimizer = getattr(optimizer, "optimizer", optimizer)
    return inner


def optimizer_steps(engine: DeepSpeedEngine) -> int:
    """How often Adam has stepped; in float16, skipped steps are not counted."""
    states = [state for state in _inner(engine.optimizer).state.values() if "step" in state]
    return int(states[0]["step"]) if states else 0


def set_optimizer_steps(engine: DeepSpeedEngine, steps: int) -> None:
    """Set Adam's step counters; its bias correction depends on them."""
    for state in _inner(engine.optimizer).state.values():
        if isinstance(state["step"], int):  # bitsandbytes'
            state["step"] = steps
        else:
            state["step"].fill_(steps)


def forget_dummy_step(engine: DeepSpeedEngine) -> None:
    """Undo the step that DeepSpeed takes to make the optimizer's states.

    Its unsharded low-precision optimizer steps once with zero gradients: that applies weight decay, and leaves Adam's
    counter at one, so that the bias correction of every later step is wrong. Training at stage 0 in bfloat16 would then
    differ from stages 1 to 3 from the first step on.
    """
    optimizer = engine.optimizer
    if engine.zero_optimization_stage() == 0 and hasattr(optimizer, "fp16_groups"):
        _inner(optimizer).state.clear()
        masters_from_weights(engine)


def masters_from_weights(engine: DeepSpeedEngine) -> None:
    """Unsharded low precision: set the master weights to the model's."""
    with torch.no_grad():
        for weights, masters in zip(engine.optimizer.fp16_groups, engine.optimizer.fp32_groups, strict=True):
            for weight, master in zip(weights, masters, strict=True):
                master.copy_(weight)


def weights_from_masters(engine: DeepSpeedEngine) -> None:
    """After the fragments were written to: let the model's weights be the master weights of all workers."""
    stage, optimizer = engine.zero_optimization_stage(), engine.optimizer
    with torch.no_grad():
        if stage == 0:
            _gather_unsharded(optimizer)
        elif stage in (1, 2):
            optimizer.update_lp_params()
        else:
            for index in range(len(optimizer.fp16_groups)):
                swapped = optimizer._swappable_optimizer_subgroup(index)
                if swapped:
                    optimizer._optimizer_states_and_gradient_swap_in(index)
                optimizer._reassign_or_swap_out_partitioned_parameters(index)
                if swapped:
                    optimizer._release_swap_buffers(index)


def _gather_unsharded(optimizer: Any) -> None:
    low = hasattr(optimizer, "fp16_groups")
    masters = optimizer.fp32_groups if low else [group["params"] for group in optimizer.param_groups]
    index, workers = 0, dist.get_world_size()
    for group_index, group in enumerate(masters):
        for member_index, master in enumerate(group):
            state = _state(optimizer, master)
            for tensor in (master.data, *(state[key] for key in MOMENTS)):
                dist.broadcast(tensor, src=index % workers)
            if low:
                optimizer.fp16_groups[group_index][member_index].copy_(master)
            index += 1
