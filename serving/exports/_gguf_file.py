"""What a GGUF file says about its model: metadata, tensor shapes, the tokenizer's special tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cluster.errors import ModelError
from cluster.gguf_header import require_sound

_CONTROL, _USER_DEFINED = 3, 4
"""Types of tokens that stand for themselves in text: never split, never part of a word."""


class GgufFile:
    """A GGUF file of a language model."""

    def __init__(self, path: Path) -> None:
        """Read its header.

        Raises:
            ModelError: it is no GGUF file.
        """
        import gguf

        require_sound(path)
        try:
            reader = gguf.GGUFReader(path)
        except (OSError, ValueError, IndexError, KeyError) as error:
            raise ModelError("The file cannot be read as GGUF.", field=str(path), got=error) from error
        self.path = path
        self.metadata: dict[str, Any] = {name: field.contents() for name, field in reader.fields.items()}
        self.shapes: dict[str, tuple[int, ...]] = {
            tensor.name: tuple(int(size) for size in reversed(tensor.shape)) for tensor in reader.tensors
        }
        """Tensor name → [n_rows, n_cols]."""

    @property
    def architecture(self) -> str:
        """llama.cpp's name of it."""
        return str(self.metadata["general.architecture"])

    @property
    def context_length(self) -> int:
        """Tokens that the model can attend to."""
        return int(self.metadata[f"{self.architecture}.context_length"])

    @property
    def chat_template(self) -> str:
        """The model's own, Jinja.

        Raises:
            ModelError: it has none.
        """
        template = self.metadata.get("tokenizer.chat_template")
        if not template:
            raise ModelError(
                "The model has no chat template: it continues text, and answers no questions.",
                field="tokenizer.chat_template", fix="export a model that was tuned on conversations",
            )  # fmt: skip
        return str(template)

    @property
    def adds_bos(self) -> bool:
        """llama.cpp puts the beginning token before every prompt. Without a word on it, it does so for SentencePiece
        and Llama 3.
        """
        default = self.metadata.get("tokenizer.ggml.model") == "llama"
        default |= self.metadata.get("tokenizer.ggml.pre") in ("llama-bpe", "llama3", "llama-v3")
        return bool(self.metadata.get("tokenizer.ggml.add_bos_token", default))

    def token(self, role: str) -> str:
        """Text of the `bos`, `eos` or `eot` token; "" where there is none."""
        index = self.metadata.get(f"tokenizer.ggml.{role}_token_id")
        return "" if index is None else str(self.metadata["tokenizer.ggml.tokens"][index])

    def special_tokens(self) -> set[str]:
        """Texts of all tokens that stand for themselves."""
        types = self.metadata["tokenizer.ggml.token_type"]
        tokens = self.metadata["tokenizer.ggml.tokens"]
        return {token for token, kind in zip(tokens, types, strict=True) if kind in (_CONTROL, _USER_DEFINED) and token}
