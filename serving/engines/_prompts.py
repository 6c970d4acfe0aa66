"""Requests as token ids: the model's own chat template, and what a prompt may be."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.errors import ModelError
from serving.engines._chunks import Prompt
from serving.engines._text import TextReader
from serving.engines._tools import OPEN
from serving.protocol import RequestError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MAX_TEMPLATE_CHARS = 200_000
RENDER_TIMEOUT_S = 10.0


class PromptReader:
    """Renders chats and tokenizes prompts, in a thread of its own: a long one would hold up all streams.

    transformers renders chat templates in jinja2's `ImmutableSandboxedEnvironment`, which reaches no file, module or
    attribute that begins with an underscore. What is left is time: a template comes with the model, not with a request,
    but one that does not end must not hang the request.

    Args:
        context_tokens: of prompt and answer together.

    Raises:
        ModelError: the template is too long.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, context_tokens: int) -> None:
        self._tokenizer: Any = tokenizer
        self._context_tokens = context_tokens
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="prompts")
        template = tokenizer.chat_template
        texts: list[str] = list(template.values()) if isinstance(template, dict) else [template or ""]
        if max(map(len, texts)) > MAX_TEMPLATE_CHARS:
            raise ModelError(
                "The chat template is too long.", field="chat_template", got=f"{max(map(len, texts))} characters",
                expected=f"at most {MAX_TEMPLATE_CHARS}",
            )  # fmt: skip
        self._has_template = bool(template)

    async def chat(self, body: dict[str, Any]) -> Prompt:
        """The prompt of a chat request.

        Raises:
            RequestError: the template refuses the messages or ignores the tools, or the prompt is too long.
        """
        return self._checked(await self._within_time(self._chat, body), "messages")

    async def completion(self, body: dict[str, Any], param: str = "prompt") -> Prompt:
        """The prompt of a completion request, text or ids.

        Raises:
            RequestError: the prompt is empty or too long, or an id is none of the vocabulary.
        """
        return self._checked(await self._within_time(self._completion, body), param)

    def read_answer(self, body: dict[str, Any], prompt: Prompt) -> TextReader:
        """A reader for the answer to `prompt`."""
        stop = body.get("stop") or []
        # Some tokenizers hold the tags of tool calls for special tokens, which are no text.
        special = prompt.tools and OPEN in self._tokenizer.all_special_tokens
        return TextReader(self._tokenizer, [stop] if isinstance(stop, str) else stop, keep_special=special)

    def text(self, ids: list[int]) -> str:
        """A prompt's ids as text."""
        text: str = self._tokenizer.decode(ids, clean_up_tokenization_spaces=False)
        return text

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _within_time(self, work: Callable[[dict[str, Any]], Prompt], body: dict[str, Any]) -> Prompt:
        loop = asyncio.get_running_loop()
        try:
            return await asyncio.wait_for(loop.run_in_executor(self._threads, work, body), RENDER_TIMEOUT_S)
        except TimeoutError:
            raise RequestError(503, "The prompt could not be read in time.", retry_after_s=1) from None

    def _checked(self, prompt: Prompt, param: str) -> Prompt:
        if not prompt.ids:
            raise RequestError(400, "The prompt has no tokens.", param=param, code="invalid_value")
        if len(prompt.ids) >= self._context_tokens:
            raise RequestError(
                400,
                f"The prompt has {len(prompt.ids)} tokens; with one of the answer at least, it must fit into the "
                f"context of {self._context_tokens}.",
                param=param, code="context_length_exceeded",
            )  # fmt: skip
        return prompt

    def _chat(self, body: dict[str, Any]) -> Prompt:
        if not self._has_template:
            raise RequestError(400, "The model has no chat template.", param="messages", code="unsupported_by_model")
        messages = [_as_templates_want(one) for one in body["messages"]]
        tools, choice = body.get("tools"), body.get("tool_choice") or "auto"
        begun = ""
        if not tools or choice == "none":
            tools = None
            text = self._render(messages)
        else:
            text = self._render_with_tools(messages, tools)
            if choice != "auto":
                begun = OPEN + "\n"
        return Prompt(self._encode(text + begun, "messages", special=False), bool(tools), begun)

    def _render_with_tools(self, messages: list[dict[str, Any]], tools: list[dict[str, Any]]) -> str:
        text, without = self._render(messages, tools), self._render(messages)
        if text == without:
            raise RequestError(
                400, "The model's chat template ignores tools.", param="tools", code="unsupported_by_model"
            )
        if text.count(OPEN) <= without.count(OPEN):
            raise RequestError(
                400, f"The model's chat template writes tool calls in another form than {OPEN}.", param="tools",
                code="unsupported_by_model",
            )  # fmt: skip
        return text

    def _render(self, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None = None) -> str:
        from jinja2 import TemplateError

        try:
            text: str = self._tokenizer.apply_chat_template(
                messages, tools=tools, tokenize=False, add_generation_prompt=True
            )
        except (TemplateError, TypeError, ValueError, KeyError, AttributeError, RecursionError) as error:
            raise RequestError(
                400, f"The model's chat template refuses the messages: {error}", param="messages", code="invalid_value"
            ) from error
        return text

    def _encode(self, text: str, param: str, *, special: bool) -> list[int]:
        try:
            ids: list[int] = self._tokenizer.encode(text, add_special_tokens=special)
        except (TypeError, UnicodeEncodeError) as error:  # half of a surrogate pair
            raise RequestError(400, "The text is not valid Unicode.", param=param, code="invalid_value") from error
        return ids

    def _completion(self, body: dict[str, Any]) -> Prompt:
        prompt = body["prompt"]
        if isinstance(prompt, str):
            return Prompt(self._encode(prompt, "prompt", special=True))
        if any(not 0 <= one < len(self._tokenizer) for one in prompt):
            raise RequestError(
                400, f"Token ids are from 0 to {len(self._tokenizer) - 1}.", param="prompt", code="invalid_value"
            )
        return Prompt(list(prompt))


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a model's folder.

    Raises:
        ModelError: there is none that transformers can load.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ModelError(
            "The tokenizer cannot be loaded.", field="model", got=f"{folder.name}: {error}",
            expected="a folder with tokenizer.json, as transformers writes it",
        ) from error  # fmt: skip
    return tokenizer


def end_ids(folder: Path, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The ids that end an answer: the tokenizer's, and those that the model's generation_config.json names."""
    path = folder / "generation_config.json"
    named = json.loads(path.read_text(encoding="utf-8")).get("eos_token_id") if path.is_file() else None
    ids = named if isinstance(named, list) else [named]
    return sorted({one for one in (tokenizer.eos_token_id, *ids) if isinstance(one, int)})


def _as_templates_want(message: dict[str, Any]) -> dict[str, Any]:
    """A message with its content as one text, and the arguments of its tool calls as objects."""
    content = message.get("content")
    if isinstance(content, list):
        content = "".join(part["text"] for part in content)
    message = {**message, "content": content or ""}
    if message.get("tool_calls"):
        message["tool_calls"] = [_with_arguments(call) for call in message["tool_calls"]]
    return message


def _with_arguments(call: dict[str, Any]) -> dict[str, Any]:
    arguments = call["function"].get("arguments")
    try:
        arguments = json.loads(arguments) if isinstance(arguments, str) else arguments
    except (ValueError, RecursionError) as error:
        raise RequestError(
            400, "The arguments of a tool call are no JSON.", param="messages", code="invalid_value"
        ) from error
    return {**call, "function": {**call["function"], "arguments": arguments}}
