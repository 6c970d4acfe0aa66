"""What vLLM refuses, in the form of this application's errors."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydantic import ValidationError

from serving.protocol import RequestError

_log = logging.getLogger(__name__)
_TOO_LONG = {"input_tokens", "input_text"}  # how vLLM names what is longer than the context
_PROMPTS = {"chat": "messages", "completions": "prompt", "embeddings": "input"}


@contextmanager
def refusals(method: str) -> Iterator[None]:
    """Give what vLLM raises the form of an answer."""
    from vllm.exceptions import VLLMClientError
    from vllm.v1.engine.exceptions import EngineDeadError

    try:
        yield
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        param = ".".join(map(str, first["loc"])) or None
        raise RequestError(400, f"{param or 'body'}: {first['msg']}.", param=param, code="invalid_value") from error
    except (ValueError, VLLMClientError) as error:
        raise _refusal({"message": str(error), "param": getattr(error, "parameter", None)}, method) from error
    except EngineDeadError as error:
        raise RequestError(500, "The engine has stopped.", code="engine_stopped") from error


def require_answer(answer: Any, method: str) -> None:
    """Raise what vLLM answers instead of an event of a stream (text) or an object.

    Raises:
        RequestError: that.
    """
    if isinstance(answer, str):
        if answer.startswith('data: {"error"'):
            raise _refusal(json.loads(answer.removeprefix("data: "))["error"], method)
    elif hasattr(answer, "error"):
        raise _refusal(answer.error.model_dump(), method)


def _refusal(error: dict[str, Any], method: str) -> RequestError:
    status, param = int(error.get("code") or 400), error.get("param")
    message = str(error.get("message")).partition(" (parameter=")[0]
    if param == "max_tokens":  # what the prompt has left of it: a request's own is 1 at least
        param, message = "input_tokens", "The prompt fills the model's context: no place is left for an answer."
    if param in _TOO_LONG:
        return RequestError(400, message, param=_PROMPTS[method], code="context_length_exceeded")
    if status >= 500:
        _log.error("vLLM: %s", message)  # may name files and lines, which are none of the client's business
        return RequestError(status, "The engine failed to answer.", code="engine_error")
    return RequestError(status, message, param=param, code="invalid_value")
