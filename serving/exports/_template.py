"""A Jinja chat template as a Go template: found by looking at what it writes around marked messages, then proved.

Most chat templates only put fixed text around messages. That text is found by rendering conversations whose messages
are markers, and a Go template is built of it; `_proof` renders both over many conversations, which must be equal
character by character. What Ollama has no words for (trimming, dates, tools) is refused, or told.

    begin  U  after_user  before_assistant  A  after_assistant  U  after_user  generation
    before_system  S  after_system  U …          the system message, where it stands before the first question
    … after_assistant  S  after_system  U …      and where it stands before the last one
"""

from __future__ import annotations

from datetime import datetime
from os.path import commonprefix
from typing import NamedTuple

from cluster.errors import ModelError
from serving.exports._gotemplate import text
from serving.exports._jinja import ChatTemplate, Message, Refused
from serving.exports._proof import conversation, deviations, not_expressible, prove, wanted

_USER, _ANSWER, _SYSTEM = "qzUSERqz", "qzANSWERqz", "qzSYSTEMqz"


class Shape(NamedTuple):
    """The fixed text around messages."""

    begin: str
    """Before the first question of a conversation without a system message."""
    after_user: str
    """After a question, whatever follows."""
    before_assistant: str
    """Then, before an answer that was given."""
    generation: str
    """Then, instead, where an answer is wanted."""
    after_assistant: str
    """Between an answer and the next question."""
    before_system: str = ""
    after_system: str = ""
    system: str = "none"
    """Where the system message stands: `first`, `last` (before the last question), or nowhere: `none`."""


class Proved(NamedTuple):
    """A Go template that renders as the model's own."""

    go: str
    shape: Shape
    num_conversations: int
    """How many were rendered both ways and are equal."""
    remarks: list[str]
    """Where Ollama cannot do as the template does."""


def translate(source: str, *, bos: str, eos: str, adds_bos: bool) -> Proved:
    """The Go template of a Jinja chat template, with its proof.

    Args:
        bos: text of the token that begins a sequence, or "".
        eos: text of the token that ends one.
        adds_bos: llama.cpp puts that token before every prompt: it must not be in the template too.

    Raises:
        ModelError: the template is not valid, or writes the date.
        HandoffError: Go cannot express it; with the first conversation that differs.
    """
    special = {"bos_token": bos, "eos_token": eos}
    chat = ChatTemplate(source, special_tokens=special)
    shape, remarks = probe(chat), []
    _refuse_dates(source, special)
    prefix = bos if adds_bos and shape.begin.startswith(bos) else ""
    if adds_bos and bos and not prefix:
        remarks.append(f"llama.cpp puts {bos} before the prompt, which the chat template itself does not write")
    go = build(shape, prefix)
    num = prove(chat, go, prefix, has_system=shape.system != "none")
    if shape.system == "none":
        remarks.append("the chat template takes no system message: Ollama drops one without a word")
    return Proved(go, shape, num, remarks + deviations(chat, go, prefix, has_system=shape.system != "none"))


def probe(chat: ChatTemplate) -> Shape:
    """Find the fixed text.

    Raises:
        HandoffError: messages do not come out whole and in order.
    """
    turns = conversation(3, [f"{_USER}{n}" if n % 2 == 0 else f"{_ANSWER}{n}" for n in range(5)])
    begin, joint, after_assistant, *_, end = _around(chat, turns)
    after_user = commonprefix([joint, end])  # noqa: RUF071 - these are no paths
    shape = Shape(
        begin, after_user, joint.removeprefix(after_user), end.removeprefix(after_user), after_assistant
    )  # fmt: skip
    system = {"role": "system", "content": _SYSTEM}
    try:
        chat.render([system, *turns[:1]])
    except Refused:
        return shape
    before, after, _ = _around(chat, [system, *turns[:1]])
    if (rendered := wanted(chat, [system, *turns[:3]])).index(_SYSTEM) < rendered.index(_USER):
        return shape._replace(before_system=before, after_system=after, system="first")
    return shape._replace(after_system=after, system="last")


def _around(chat: ChatTemplate, messages: list[Message]) -> list[str]:
    """The text before, between and after the messages."""
    rest, pieces = wanted(chat, messages), []
    for message in messages:
        piece, found, rest = rest.partition(message["content"])
        if not found or message["content"] in rest:
            raise not_expressible(messages, wanted(chat, messages), "every message once, whole, in order")
        pieces.append(piece)
    return [*pieces, rest]


def build(shape: Shape, prefix: str = "") -> str:
    """The Go template.

    Args:
        prefix: what llama.cpp writes itself before the prompt.
    """
    begin = text(shape.begin.removeprefix(prefix))
    if shape.system == "first":
        before = text(shape.before_system.removeprefix(prefix))
        begin = (
            f"{{{{ if .System }}}}{before}{{{{ .System }}}}{text(shape.after_system)}{{{{ else }}}}{begin}{{{{ end }}}}"
        )
    user = f"{{{{ .Content }}}}{text(shape.after_user)}"
    if shape.system == "last":
        user = f"{{{{ if and $last $.System }}}}{{{{ $.System }}}}{text(shape.after_system)}{{{{ end }}}}{user}"
    if shape.generation:
        user += f"{{{{ if $last }}}}{text(shape.generation)}{{{{ end }}}}"
    answer = f"{text(shape.before_assistant)}{{{{ .Content }}}}"
    if shape.after_assistant:  # an answer that comes last is one to go on with
        answer += f"{{{{ if not $last }}}}{text(shape.after_assistant)}{{{{ end }}}}"
    return (
        f"{begin}{{{{ range $i, $_ := .Messages }}}}{{{{ $last := eq (len (slice $.Messages $i)) 1 }}}}"
        f'{{{{ if eq .Role "user" }}}}{user}{{{{ else if eq .Role "assistant" }}}}{answer}{{{{ end }}}}{{{{ end }}}}'
    )


def _refuse_dates(source: str, special: dict[str, str]) -> None:
    question: list[Message] = [{"role": "user", "content": "?"}]
    days = (ChatTemplate(source, special_tokens=special, now=datetime(year, 1, 2)) for year in (2001, 2032))
    first, second = (day.render(question) for day in days)
    if first != second:
        raise ModelError(
            "The chat template writes the present date, which a Modelfile cannot.", field="chat_template",
            got=second, expected="the same prompt every day", fix="give the model a template with a fixed date",
        )  # fmt: skip
