"""Clean a document: Unicode normalization, control characters, text out of HTML."""

from __future__ import annotations

import re
import unicodedata
from html.parser import HTMLParser

from trainers.text.config import CleanConfig

# The controls of ASCII and Latin-1 but tab and newline, and the byte-order mark.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ufeff]")
_LINE_END = re.compile("\r\n?|[\x0b\x0c\x85]")
_SPACES = re.compile(r"[ \t\n\f]+")

_HIDDEN = {"script", "style", "template", "noscript", "svg"}
_IN_HEAD = _HIDDEN - {"svg"} | {"title", "meta", "link", "base"}
_PARAGRAPHS = {
    "article", "blockquote", "dl", "figure", "h1", "h2", "h3", "h4", "h5", "h6", "ol", "p", "pre", "section", "table",
    "title", "ul",
}  # fmt: skip
_BLOCKS = _PARAGRAPHS | {
    "address", "aside", "body", "dd", "details", "div", "dt", "fieldset", "figcaption", "footer", "form", "header",
    "hr", "li", "main", "nav", "option", "summary", "td", "th", "tr",
}  # fmt: skip


def clean(text: str, config: CleanConfig, *, is_html: bool) -> str:
    """The document as it is trained on.

    Args:
        is_html: it comes from an HTML file.
    """
    if config.control_characters and any(end in text for end in "\r\x0b\x0c\x85"):
        text = _LINE_END.sub("\n", text)
    if config.html == "all" or (config.html == "files" and is_html):
        text = html_to_text(text)
    if config.unicode != "none" and not text.isascii():
        text = unicodedata.normalize(config.unicode, text)
    if config.control_characters:
        text = _CONTROL.sub("", text)
    return text.strip() if config.strip else text


def html_to_text(html: str) -> str:
    """What a browser would show, without layout: a line for each block, a blank line between paragraphs.

    Text in scripts, styles and the head (but for the title) is not shown.
    """
    parser = _TextOf()
    parser.feed(html)
    parser.close()
    return "".join(parser.parts).strip()


class _TextOf(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._hidden = self._preformatted = 0
        self._in_head = self._is_title = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        if tag == "body":  # opens whatever was not closed
            self._hidden = 0
        if not self._hidden:  # whatever cannot stand in the head ends it: </head> may be left out
            self._in_head = tag == "head" or (self._in_head and tag in _IN_HEAD)
        self._is_title = tag == "title" and not self._hidden
        self._hidden += tag in _HIDDEN
        self._preformatted += tag == "pre"
        if tag == "br":
            self.parts.append("\n")
        self._break(tag)

    def handle_endtag(self, tag: str) -> None:
        self._hidden = max(0, self._hidden - (tag in _HIDDEN))
        self._in_head = self._in_head and tag != "head"
        self._preformatted = max(0, self._preformatted - (tag == "pre"))
        self._break(tag)
        self._is_title = False

    def handle_data(self, data: str) -> None:
        if self._hidden or (self._in_head and not self._is_title):
            return
        text = data if self._preformatted else _SPACES.sub(" ", data)
        if not self._preformatted and (not self.parts or self.parts[-1][-1] in " \n"):
            text = text.removeprefix(" ")
        if text:
            self.parts.append(text)

    def _break(self, tag: str) -> None:
        """Begin a line, after a blank one where a paragraph begins or ends."""
        if tag not in _BLOCKS or not self.parts or self._hidden or (self._in_head and tag != "title"):
            return
        if not self._preformatted:
            self.parts[-1:] = filter(None, [self.parts[-1].removesuffix(" ")])
        newlines = "\n\n" if tag in _PARAGRAPHS else "\n"
        end = "".join(self.parts[-2:])
        there = len(end) - len(end.rstrip("\n"))
        if there < len(newlines):
            self.parts.append(newlines[there:])

    def parse_marked_section(self, i: int, report: int = 1) -> int:  # noqa: ARG002
        # `<![if IE]>` and whatever else word processors write there: the base class raises on what it does not know.
        end = self.rawdata.find(">", i)
        return end + 1 if end >= 0 else -1
