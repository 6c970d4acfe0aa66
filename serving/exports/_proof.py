"""Two chat templates, the model's in Jinja and Ollama's in Go, rendered over many conversations: are they equal?"""

from __future__ import annotations

import re
from itertools import product

from cluster.errors import HandoffError
from serving.exports import _gotemplate
from serving.exports._jinja import ChatTemplate, Message, Refused

_THOUGHT = re.compile(r".*</think>\s*", re.DOTALL)
_CONTENTS = (
    "What is the capital of France?", "2", "two\n\nlines and a\ttab", "naïve Zürich 你好 👩‍👩‍👧 ½ \u00a0x",
    'a "quoted" \\ back\\nslash and """three"""', "{{ .System }} {% if x %} {# y #} {{ '{{' }}",
    "<|im_start|>user\n<s>[INST] <|eot_id|>", "def f(x):\n    return {'a': [x, {}]}",
)  # fmt: skip
_SYSTEMS = (None, "Be brief.", "Zwei\nZeilen “ä” {{ .Prompt }}")
_SPACED = ("  before", "after \n", "\n both \n")
_THINKING = "<think>\nLet me see.\n</think>\n\nParis."


def wanted(chat: ChatTemplate, messages: list[Message]) -> str:
    """The model's own prompt.

    Raises:
        HandoffError: its template does not take the conversation.
    """
    try:
        return chat.render(messages)
    except Refused as error:
        raise not_expressible(messages, f"it refuses the conversation: {error}", "a prompt") from error


def render_go(go: str, messages: list[Message]) -> str:
    """What Ollama renders: all system messages are in `.System`, and among `.Messages` too."""
    system = "\n\n".join(message["content"] for message in messages if message["role"] == "system")
    items = [{"Role": message["role"], "Content": message["content"]} for message in messages]
    return _gotemplate.render(go, {"System": system, "Messages": items, "Response": ""})


def cases(*, has_system: bool) -> list[list[Message]]:
    """Conversations of one to four questions, each kind of text in each place, with and without a system message."""
    systems = _SYSTEMS if has_system else (None,)
    found = []
    for system, num_turns, first in product(systems, range(1, 5), range(len(_CONTENTS))):
        contents = [*_CONTENTS[first:], *_CONTENTS[:first]]
        found.append(_with_system(system, conversation(num_turns, contents)))
    return found


def prove(chat: ChatTemplate, go: str, prefix: str, *, has_system: bool) -> int:
    """Render the cases both ways; how many there are.

    Raises:
        HandoffError: with the first that differs.
    """
    conversations = cases(has_system=has_system)
    for messages in conversations:
        own = wanted(chat, messages)
        if (got := prefix + render_go(go, messages)) != own:
            raise not_expressible(messages, f"Ollama's prompt {got!r}", f"the model's own {own!r}")
    return len(conversations)


def deviations(chat: ChatTemplate, go: str, prefix: str, *, has_system: bool) -> list[str]:
    """What a template does to some messages and Go cannot, in words.

    Raises:
        HandoffError: it is none of what is known.
    """
    spaced = [conversation(2, [*_SPACED[n:], *_SPACED[:n]]) for n in range(len(_SPACED))]
    spaced += [_with_system(content, one) for content, one in zip(_SPACED, spaced, strict=True)] if has_system else []
    thought = conversation(2, ["Why?", _THINKING, "And?"])
    found: list[str] = []
    for messages in spaced:
        got, own = prefix + render_go(go, messages), wanted(chat, messages)
        if "".join(got.split()) != "".join(own.split()):
            raise not_expressible(messages, f"Ollama's prompt {got!r}", f"the model's own {own!r}")
        if got != own and not found:
            found.append("the chat template trims messages: in Ollama, spaces and newlines at their ends stay")
    if prefix + render_go(go, thought) != (own := wanted(chat, thought)):
        without = [{**message, "content": _THOUGHT.sub("", message["content"])} for message in thought]
        if (got := prefix + render_go(go, without)) != own:
            raise not_expressible(thought, f"Ollama's prompt {got!r}", f"the model's own {own!r}")
        found.append("the chat template leaves the thoughts out of earlier answers: in Ollama they stay, unless the "
                     "client leaves them out")  # fmt: skip
    return found


def conversation(num_turns: int, contents: list[str]) -> list[Message]:
    """Questions and answers in turn, the last a question."""
    return [
        {"role": "assistant" if index % 2 else "user", "content": contents[index % len(contents)]}
        for index in range(2 * num_turns - 1)
    ]


def _with_system(system: str | None, messages: list[Message]) -> list[Message]:
    return messages if system is None else [{"role": "system", "content": system}, *messages]


def not_expressible(messages: list[Message], got: str, expected: str) -> HandoffError:
    """The error that says so."""
    return HandoffError(
        "The model's chat template cannot be expressed as Ollama's.", field=f"chat_template, conversation {messages}",
        got=got, expected=expected, fix="export bentoml instead: its engine uses the model's own template",
    )  # fmt: skip
