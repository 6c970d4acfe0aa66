"""Answers that follow a JSON schema: which tokens may come next (package `llguidance`)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from serving.engines._tools import call_schema
from serving.protocol import RequestError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from transformers import PreTrainedTokenizerBase

_SPACING: Any = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""As models write JSON. Free spaces would let a model write them for ever."""


class Grammar:
    """What the answer may still be."""

    def __init__(self, matcher: Any, vocab_size: int) -> None:
        self._matcher = matcher
        self._vocab_size = vocab_size

    def allowed(self) -> NDArray[np.bool_]:
        """[v] which ids may come next.

        Raises:
            RequestError: the grammar has become too large.
        """
        import numpy as np

        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        self._check()
        return np.unpackbits(bits, bitorder="little")[: self._vocab_size].astype(bool)

    def accept(self, token: int) -> bool:
        """Take the id that was chosen.

        Returns:
            Whether the answer is complete.

        Raises:
            RequestError: as `allowed`.
        """
        self._matcher.consume_token(token)
        self._check()
        return bool(self._matcher.is_stopped())

    def _check(self) -> None:
        if self._matcher.is_error():
            raise RequestError(
                400, f"The schema cannot be followed: {self._matcher.get_error()}", param="response_format",
                code="invalid_json_schema",
            )  # fmt: skip


class Grammars:
    """Makes grammars for one vocabulary.

    Args:
        vocab_size: of the model's output, which may be wider than the tokenizer's.
        end_ids: ids that end an answer.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, vocab_size: int, end_ids: list[int]) -> None:
        self._tokenizer: Any = tokenizer
        self._vocab_size = vocab_size
        self._end_ids = end_ids
        self._vocabulary: Any = None

    def asked(self, body: dict[str, Any]) -> Grammar | None:
        """The grammar that a request asks for, if any; the first one takes about a second more.

        Raises:
            RequestError: the schema has what cannot be followed. One that takes all memory is refused at the front
                (`serving.json_schema`).
        """
        schema, param = asked_schema(body)
        if schema is None:
            return None
        import llguidance
        import llguidance.hf

        if self._vocabulary is None:
            try:
                self._vocabulary = llguidance.hf.from_tokenizer(
                    self._tokenizer, n_vocab=self._vocab_size, eos_token=self._end_ids or None
                )
            except ValueError as error:
                raise RequestError(
                    400, "The model's tokenizer cannot follow schemas.", param=param, code="unsupported_by_model"
                ) from error
        try:
            grammar = llguidance.LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides=_SPACING)
            matcher = llguidance.LLMatcher(self._vocabulary, grammar, log_level=0)
            problem = matcher.get_error() if matcher.is_error() else None
        except (ValueError, RecursionError) as error:
            problem = str(error)
        if problem:
            raise RequestError(400, f"The schema: {problem}", param=param, code="invalid_json_schema")
        return Grammar(matcher, self._vocab_size)


def asked_schema(body: dict[str, Any]) -> tuple[dict[str, Any] | None, str]:
    """The schema that the answer must follow, and the request's field that it comes from.

    A forced tool call is one of them: its opening tag is already a part of the prompt.
    """
    if body.get("tools") and (body.get("tool_choice") or "auto") not in ("auto", "none"):
        return call_schema(body["tools"], None if body["tool_choice"] == "required" else body["tool_choice"]), "tools"
    asked = body.get("response_format") or {"type": "text"}
    if asked["type"] == "json_schema":
        return asked["json_schema"]["schema"], "response_format"
    return ({"type": "object"} if asked["type"] == "json_object" else None), "response_format"
