"""Talk to a served model in the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.errors import EndpointError
from jobs.console import console
from jobs.endpoint import client_of, require_endpoint

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletionMessageParam


def chat(run_folder: Path) -> None:
    """Read questions until an empty line, Ctrl-D or Ctrl-C; answers are shown as they are generated.

    Raises:
        EndpointError: the run serves nothing, or its endpoint does not answer.
    """
    import openai

    endpoint = require_endpoint(run_folder)
    client = client_of(endpoint["url"], endpoint["api_key"])
    messages: list[ChatCompletionMessageParam] = []
    console.print(f"Talking to {endpoint['model']} at {endpoint['url']}; an empty line ends it.", markup=False)
    while question := _ask():
        messages.append({"role": "user", "content": question})
        try:
            answer = _answer(client, endpoint["model"], messages)
        except openai.APIError as error:
            raise EndpointError("The endpoint did not answer.", field=endpoint["url"], got=error.message) from None
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
