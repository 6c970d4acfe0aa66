"""What a client may ask of `/v1/completions`: one prompt, as text or as token ids."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, field_validator

from serving.config import LimitConfig
from serving.request import PREFIX_CHARS, GenerationRequest, Wanted, no_longer, read

CHARS_PER_TOKEN = 4
"""What a token id counts as where lengths are in characters."""

Text = Annotated[str, Field(min_length=1)]
TokenIds = Annotated[list[Annotated[int, Field(ge=0, lt=2**31)]], Field(min_length=1)]


class CompletionRequest(GenerationRequest):
    """The body of `POST /v1/completions`."""

    prompt: Text | TokenIds
    echo: bool | None = None
    logprobs: int | None = Field(default=None, ge=0, le=5)

    @field_validator("prompt", mode="before")
    @classmethod
    def _one_prompt(cls, prompt: Any) -> Any:
        if isinstance(prompt, list) and prompt and isinstance(prompt[0], str | list):
            if len(prompt) > 1:
                raise ValueError("a request has one prompt: send the others on their own")
            return prompt[0]  # clients that can send several send one as a list too
        return prompt


def parse_completion(raw: bytes, limits: LimitConfig) -> Wanted:
    """Check the body of a completion request.

    Raises:
        RequestError: 400, with the field's name as `param`.
    """
    request = read(CompletionRequest, raw)
    if isinstance(request.prompt, str):
        num_chars, prefix = len(request.prompt), request.prompt
    else:
        num_chars = CHARS_PER_TOKEN * len(request.prompt)
        prefix = " ".join(map(str, request.prompt[:PREFIX_CHARS]))
    no_longer("prompt", num_chars, limits)
    return request.wanted(limits, {}, num_chars, prefix)
