"""llama.cpp opens an exported adapter and answers otherwise with it than without: no silent base model."""

from __future__ import annotations

import secrets
import tempfile
from pathlib import Path

from cluster.errors import HandoffError, ModelError

_PROBE = "Name three colours, and say what you like about each of them."
_NUM_TOKENS = 64
"""Of the most probable next tokens, how many are compared."""


def prove_adapter(model: Path, adapter: Path) -> float:
    """The largest difference of log-probabilities that the adapter makes after a fixed text, nats.

    Args:
        model: the base's GGUF file.
        adapter: a GGUF adapter.

    Raises:
        ModelError: llama.cpp does not open them together.
        HandoffError: there is no difference.
    """
    without, with_adapter = _next_token(model, None), _next_token(model, adapter)
    shared = without.keys() & with_adapter.keys()
    difference = max((abs(without[token] - with_adapter[token]) for token in shared), default=float("inf"))
    if difference == 0:
        raise HandoffError(
            "The adapter changes nothing in llama.cpp.", field=str(adapter), got=f"equal log-probabilities of {shared}",
            expected="other answers than the base's", fix="look at the adapter's training",
        )  # fmt: skip
    return difference


def _next_token(model: Path, adapter: Path | None) -> dict[int, float]:
    """Token id → log-probability of the most probable tokens after the probe."""
    import xllamacpp

    with tempfile.TemporaryDirectory(prefix="raysmith-") as folder:
        params = xllamacpp.CommonParams()
        params.model.path = str(model)
        params.n_ctx, params.n_parallel, params.warmup, params.verbosity = 256, 1, False, -1
        params.cache_ram_mib, params.offline = 0, True
        # Its server always listens: here, where only this user can reach it, with a key that nobody knows.
        params.hostnames, params.api_keys = [str(Path(folder) / "llama.sock")], [secrets.token_hex()]
        if adapter is not None:
            params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(adapter), 1.0)]
        try:
            server = xllamacpp.Server(params)
        except RuntimeError as error:
            raise ModelError(
                "llama.cpp does not open the model with the adapter.", field=str(adapter or model), got=error
            ) from error
        # The scores of an end token are withheld: a bias makes it say "a", and they are those before the bias.
        answer = server.handle_completions(
            {"prompt": _PROBE, "max_tokens": 1, "n_probs": _NUM_TOKENS, "logit_bias": [["a", 1e6]], "temperature": 0.0}
        )
        del server
    if "error" in answer:
        raise ModelError(
            "llama.cpp does not answer with the adapter.", field=str(adapter or model), got=answer["error"]
        )
    tops = answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
    return {int(top["id"]): float(top["logprob"]) for top in tops}
