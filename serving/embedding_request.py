"""What a client may ask of `/v1/embeddings`: vectors of one text or several."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from serving.config import LimitConfig
from serving.request import PREFIX_CHARS, ModelRequest, Wanted, no_longer, read, refused

Text = Annotated[str, Field(min_length=1)]


class EmbeddingRequest(ModelRequest):
    """The body of `POST /v1/embeddings`."""

    input: Text | Annotated[list[Text], Field(min_length=1, fail_fast=True)]
    encoding_format: Literal["float", "base64"] | None = None


def parse_embedding(raw: bytes, limits: LimitConfig) -> Wanted:
    """Check the body of a request for embeddings.

    Raises:
        RequestError: 400, with the field's name as `param`.
    """
    request = read(EmbeddingRequest, raw)
    texts = [request.input] if isinstance(request.input, str) else request.input
    if len(texts) > limits.max_choices:
        raise refused("input", f"a request has at most {limits.max_choices} texts")
    num_chars = sum(map(len, texts))
    no_longer("input", num_chars, limits)
    body = {"input": texts, "encoding_format": request.encoding_format or "float"}
    return Wanted(
        request.model, body, n=len(texts), stream=False, with_usage=False, num_chars=num_chars, max_tokens=0,
        prefix=texts[0][:PREFIX_CHARS],
    )  # fmt: skip
