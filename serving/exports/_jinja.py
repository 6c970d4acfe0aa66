"""A model's own chat template, rendered as transformers renders it: Jinja in a sandbox."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from cluster.errors import ModelError

Message = dict[str, str]
Refused = jinja2.TemplateError
"""What a template raises at a conversation that it does not take."""


class ChatTemplate:
    """A compiled chat template."""

    def __init__(self, source: str, *, special_tokens: dict[str, str], now: datetime | None = None) -> None:
        """Compile it.

        Args:
            special_tokens: `bos_token` and `eos_token`, as the template sees them.
            now: what it takes for the present time; default: the present.

        Raises:
            ModelError: it is not valid Jinja.
        """
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
        )
        environment.filters["tojson"] = _to_json
        environment.globals |= {"raise_exception": _refuse, "strftime_now": _clock(now)}
        self._special_tokens = special_tokens
        try:
            self._template = environment.from_string(source)
        except jinja2.TemplateSyntaxError as error:
            raise ModelError("The chat template is not valid.", field="chat_template", got=error) from error

    def render(self, messages: list[Message]) -> str:
        """The prompt that asks for the next answer.

        Raises:
            Refused: the template does not take such a conversation.
        """
        try:
            return self._template.render(messages=messages, add_generation_prompt=True, **self._special_tokens)
        except (TypeError, ValueError, LookupError, ArithmeticError) as error:  # an operation of the template failed
            raise Refused(str(error)) from error


class _Generation(Extension):
    """`{% generation %}`: marks what the assistant wrote, for training; the text itself is unchanged."""

    tags = {"generation"}  # noqa: RUF012 - jinja2 declares it so

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """The block's content, in its place."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _refuse(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _clock(now: datetime | None) -> Callable[[str], str]:
    return lambda form: (now or datetime.now()).strftime(form)  # noqa: PLW0108 - the time of the call


def _to_json(value: Any, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=options.pop("ensure_ascii", False), **options)
