"""Talk to a served model in the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.errors import EndpointError
from jobs.console import console
from jobs.endpoints.folder import EndpointFolder, client_of
from serving.table import ADAPTER_SEPARATOR

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletionMessageParam


def chat(root: Path, name: str) -> None:
    """Read questions until an empty line, Ctrl-D or Ctrl-C; answers are shown as they are generated.

    Args:
        name: an endpoint's, or `endpoint:adapter`.

    Raises:
        EndpointError: no such endpoint is up, or it does not answer.
    """
    import httpx
    import openai

    folder = EndpointFolder(root, name.partition(ADAPTER_SEPARATOR)[0])
    url = folder.require_up().url
    client = client_of(url, folder.operator_key())
    messages: list[ChatCompletionMessageParam] = []
    console.print(f"Talking to {name} at {url}; an empty line ends it.", markup=False)
    while question := _ask():
        messages.append({"role": "user", "content": question})
        try:
            answer = _answer(client, name, messages)
        except (openai.APIError, httpx.HTTPError) as error:
            raise EndpointError("The endpoint did not answer.", field=url, got=error) from None
        messages.append({"role": "assistant", "content": answer})


def _ask() -> str:
    try:
        return console.input("[bold cyan]you[/] › ").strip()
    except (EOFError, KeyboardInterrupt):
        return ""


def _answer(client: Any, model: str, messages: list[ChatCompletionMessageParam]) -> str:
    text = ""
    for chunk in client.chat.completions.create(model=model, messages=messages, stream=True):
        if chunk.choices and chunk.choices[0].delta.content:
            text += chunk.choices[0].delta.content
            console.print(chunk.choices[0].delta.content, end="", markup=False)
    console.print()
    return text
