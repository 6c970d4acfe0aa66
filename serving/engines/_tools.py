"""Tool calls as Hermes and Qwen models write them: `<tool_call>{"name": …, "arguments": …}</tool_call>`."""

from __future__ import annotations

import json
import secrets
from typing import Any

from serving.engines._text import overlap

OPEN, CLOSE = "<tool_call>", "</tool_call>"


class ToolCallReader:
    """Splits an answer into its text and its calls, as it comes. What is no valid call stays text."""

    def __init__(self) -> None:
        self._held = ""
        self._inside = False
        self.num_calls = 0
        """Found so far."""

    def read(self, text: str) -> tuple[str, list[dict[str, Any]]]:
        """Take more text.

        Returns:
            What is certainly no call; and the calls that are whole now, as OpenAI's `tool_calls` without `index`.
        """
        self._held += text
        content, calls = "", []
        while (at := self._held.find(CLOSE if self._inside else OPEN)) >= 0:
            part, self._held = self._held[:at], self._held[at + len(CLOSE if self._inside else OPEN) :]
            if not self._inside:
                content += self._said(part)
            elif (call := _parse(part)) is not None:
                calls.append(call)
                self.num_calls += 1
            else:
                content += OPEN + part + CLOSE
            self._inside = not self._inside
        if not self._inside:
            keep = overlap(self._held, OPEN)
            content += self._said(self._held[: len(self._held) - keep])
            self._held = self._held[len(self._held) - keep :]
        return content, calls

    def end(self) -> tuple[str, list[dict[str, Any]]]:
        """What is left at the end of the answer: a call counts without its closing tag, too."""
        held, self._held = self._held, ""
        if not self._inside:
            return self._said(held), []
        call = _parse(held)
        if call is None:
            return OPEN + held, []
        self.num_calls += 1
        return "", [call]

    def _said(self, text: str) -> str:
        return "" if self.num_calls and not text.strip() else text  # line breaks between calls are no answer


def _parse(text: str) -> dict[str, Any] | None:
    try:
        call = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(call, dict) or not isinstance(call.get("name"), str):
        return None
    arguments = call.get("arguments", {})
    written = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return {
        "id": f"call_{secrets.token_hex(12)}", "type": "function",
        "function": {"name": call["name"], "arguments": written},
    }  # fmt: skip


def call_schema(tools: list[dict[str, Any]], choice: Any) -> dict[str, Any]:
    """The JSON schema of a call of one of the tools, or of the one that is chosen by name."""
    named = choice["function"]["name"] if isinstance(choice, dict) else None
    functions = [tool["function"] for tool in tools if named in (None, tool["function"]["name"])]
    options = [
        {
            "type": "object",
            "properties": {
                "name": {"const": function["name"]},
                "arguments": _moved(
                    function.get("parameters") or {"type": "object"}, f"#/anyOf/{at}/properties/arguments"
                ),
            },
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for at, function in enumerate(functions)
    ]
    return {"anyOf": options}


def _moved(schema: Any, root: str) -> Any:
    """A schema whose references still hold when it is a part of another one."""
    if isinstance(schema, list):
        return [_moved(one, root) for one in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: root + value[1:] if key == "$ref" and isinstance(value, str) and value.startswith("#") else
        _moved(value, root)
        for key, value in schema.items()
    }  # fmt: skip
