"""One decoder layer after another, and what calibration text makes of its inputs.

Only one layer's weights are in memory at a time, in float32; between layers there are the hidden states of the text.
Where the folder holds bfloat16, text runs through a layer's products in it, as it will when the model is used, if the
processor multiplies it: twice as fast.
The layers are transformers' own, called with the arguments that its model gives the first one.

Legend: n sequences, t tokens of each, c inputs of a linear layer.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cluster.errors import ModelError
from serving.quantizers._memory import give_back
from serving.quantizers._source import Source, decoder_layers

if TYPE_CHECKING:
    import torch


@dataclass
class Inputs:
    """What linear layers that share an input see of the calibration text."""

    names: list[str]
    """The layers, as in `Layer.linears`."""
    hessian: torch.Tensor | None
    """float32 [c, c], the mean of x xᵀ; None without text, like `mean_size`."""
    mean_size: torch.Tensor | None
    """float32 [c], the mean of |x|."""
    squares: torch.Tensor | None = None
    """float32 [c], the mean of x², which is the Hessian's diagonal: all there is where layers are only looked at."""


class Layer:
    """A decoder layer with its weights. What is written into them counts for the layers after it."""

    def __init__(
        self,
        name: str,
        module: torch.nn.Module,
        dtypes: dict[str, torch.dtype],
        hidden: torch.Tensor | None,
        call: dict[str, Any],
        *,
        changes: bool = True,
    ) -> None:
        import torch

        self.name = name
        """In the model, such as `model.layers.3`."""
        self.module = module
        self.dtypes = dtypes
        """Parameter, by its name in the layer → its type in the folder."""
        self.linears: dict[str, torch.nn.Linear] = {
            found: one for found, one in module.named_modules() if isinstance(one, torch.nn.Linear)
        }
        """Name in the layer → linear layer, in the order of the model."""
        self._hidden, self._call, self._changes = hidden, call, changes

    def inputs(self) -> list[Inputs]:
        """What the linear layers see when the text runs through the layer as it is; without text, only which there
        are, each for itself.

        Raises:
            ModelError: a linear layer sees none of it.
        """
        import torch

        if self._hidden is None:
            return [Inputs([name], None, None) for name in self.linears]
        sums: dict[str, tuple[torch.Tensor | None, torch.Tensor, torch.Tensor]] = {}
        sharing: dict[int, list[str]] = {}
        keep: list[torch.Tensor] = []  # so that no two inputs have the same id
        tokens = self._hidden.shape[0] * self._hidden.shape[1]

        def see(name: str, seen: torch.Tensor) -> None:
            names = sharing.setdefault(id(seen), [])
            if name not in names:
                names.append(name)
            if names[0] != name:
                return
            keep.append(seen)
            flat = seen.flatten(0, -2).float()
            if name not in sums:
                zeros, width = flat.new_zeros, flat.shape[1]
                sums[name] = (zeros(width, width) if self._changes else None, zeros(width), zeros(width))
            hessian, size, squares = sums[name]
            if hessian is not None:
                hessian.addmm_(flat.t(), flat, alpha=1.0 / tokens)
            size.add_(flat.abs().sum(0), alpha=1.0 / tokens)
            squares.add_(flat.square().sum(0), alpha=1.0 / tokens)

        groups: list[list[str]] = []

        def hook(name: str) -> Any:
            return lambda _, inputs: see(name, inputs[0])

        hooks = [one.register_forward_pre_hook(hook(name)) for name, one in self.linears.items()]
        try:
            with torch.no_grad(), self._quickly():
                for at, sequence in enumerate(self._hidden):
                    given = self._run(sequence)
                    if not self._changes:
                        self._hidden[at] = given[0]
                    groups = groups or list(sharing.values())
                    sharing.clear()
                    keep.clear()
        finally:
            for one in hooks:
                one.remove()
        if missed := set(self.linears).difference(*groups):
            raise ModelError(
                "A linear layer sees nothing of the calibration text.", field=f"{self.name}.{min(missed)}",
                got="no input", expected="a dense model: mixtures of experts are not supported",
            )  # fmt: skip
        return [Inputs(names, *sums[names[0]]) for names in groups]

    def forward(self) -> None:
        """Put what the layer makes of the text, as its weights now are, in the place of what entered it."""
        import torch

        if self._hidden is not None:
            with torch.no_grad(), self._quickly():
                for at, sequence in enumerate(self._hidden):
                    self._hidden[at] = self._run(sequence)[0]

    def first(self) -> torch.Tensor | None:
        """What the layer, as it is now, makes of the text's first sequence, [1, t, width]."""
        import torch

        with torch.no_grad():
            return None if self._hidden is None else self._run(self._hidden[0])

    def _quickly(self) -> Any:
        import torch

        device = self._hidden.device.type if self._hidden is not None else "cpu"
        able = device == "cuda" or torch.cpu._is_avx512_bf16_supported()
        stored = set(self.dtypes.values()) == {torch.bfloat16}
        return torch.autocast(device, torch.bfloat16, enabled=able and stored)

    def _run(self, sequence: torch.Tensor) -> torch.Tensor:
        output: Any = self.module(sequence[None], **self._call)
        found: torch.Tensor = output[0] if isinstance(output, tuple) else output
        return found


def walk(source: Source, calibration: torch.Tensor | None, *, changes: bool = True) -> Iterator[Layer]:
    """The decoder layers in order. A layer is run anew when the next one is asked for.

    Args:
        calibration: token ids [n, t]; None: the layers come without inputs.
        changes: whether the layers' weights are written to. Where not, there are no Hessians, `inputs` must be called,
            and what a layer gives is not computed twice.

    Raises:
        ModelError: the text is longer than the model's context, or its layers are not known.
    """
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = source.skeleton()
    prefix, layers = decoder_layers(model)
    hidden: torch.Tensor | None = None
    calls: list[dict[str, Any]] = [{} for _ in layers]
    if calibration is not None:
        _require_context(source, calibration.shape[1])
        hidden, calls = _before_layers(source, model, calibration, device)
    for index, module in enumerate(layers):
        name = f"{prefix}.{index}"
        stored = {key: source.read(f"{name}.{key}") for key, _ in module.named_parameters()}
        module.load_state_dict({key: tensor.float().to(device) for key, tensor in stored.items()}, assign=True)
        module.requires_grad_(requires_grad=False)
        dtypes = {key: tensor.dtype for key, tensor in stored.items()}
        del stored
        layer = Layer(name, module, dtypes, hidden, calls[index], changes=changes)
        yield layer
        if changes and index + 1 < len(layers):
            layer.forward()
        module.to("meta")
        give_back()


def _require_context(source: Source, length: int) -> None:
    limit = getattr(source.config, "max_position_embeddings", None)
    if limit is not None and length > limit:
        raise ModelError(
            "The calibration text is longer than the model's context.", field="quantize.calibration.length", got=length,
            expected=f"at most {limit}", fix=f"quantize.calibration.length={limit}",
        )  # fmt: skip


def _before_layers(
    source: Source, model: Any, calibration: torch.Tensor, device: str
) -> tuple[torch.Tensor, list[dict[str, Any]]]:
    """What enters the first layer [n, t, width], and the arguments that the decoder gives each layer."""
    import torch

    decoder = model.get_decoder()
    embed = model.get_input_embeddings()
    [name] = [name for name, module in model.named_modules() if module is embed]
    embed.load_state_dict({"weight": source.read(f"{name}.weight").to(device)}, assign=True)
    for module in decoder.children():
        if module is not decoder.layers and not list(module.parameters()):
            module.to(device)  # rotary embeddings: buffers only
    entered: list[torch.Tensor] = []
    calls: list[dict[str, Any]] = []

    class Reached(Exception):  # noqa: N818 - not an error
        pass

    def passing(index: int) -> Any:
        def forward(hidden: torch.Tensor, *_: Any, **call: Any) -> torch.Tensor:
            if index == 0:
                entered.append(hidden)
            if len(entered) == 1:
                calls.append(call)
            if index + 1 == len(decoder.layers) or len(entered) > 1:
                raise Reached
            return hidden

        return forward

    for index, layer in enumerate(decoder.layers):
        layer.forward = passing(index)
    with torch.no_grad():
        for row in calibration.to(device):
            with contextlib.suppress(Reached):
                decoder(input_ids=row[None], use_cache=False)
    for layer in decoder.layers:
        del layer.forward
    embed.to("meta")
    return torch.cat(entered).float(), calls
