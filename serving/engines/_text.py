"""Token ids as text: piece by piece, whole characters only, and never a part of a stop string."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_UNFINISHED = "\ufffd"
_MAX_PENDING = 8
"""A character has at most four bytes, each a token: what is not text after as many tokens never will be."""


class Token(NamedTuple):
    """A token that an engine wrote; log-probabilities are of the model's own distribution, before sampling."""

    id: int
    logprob: float = 0.0
    tops: tuple[tuple[int, float], ...] = ()
    """The most probable ids and their log-probabilities, if they were asked for."""


class Piece(NamedTuple):
    """Text that can be sent, and the tokens that it comes from, with the position of each in the whole text."""

    text: str
    tokens: list[tuple[int, Token]]


class TextReader:
    """Reads one answer.

    Args:
        stops: strings that end the answer; they are no part of it.
        keep_special: whether special tokens are text, too.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stops: list[str], *, keep_special: bool = False) -> None:
        self._tokenizer: Any = tokenizer
        self._stops = stops
        self._keep_special = keep_special
        self._ids: list[int] = []
        self._start = self._read = 0  # of the ids: those from `_start` are the context of those from `_read`
        self._held = ""
        self._num_read = self._num_sent = 0  # characters
        self._waiting: list[tuple[int, Token]] = []
        self.stopped = False
        """Whether a stop string has ended the answer."""

    def read(self, token: Token) -> Piece:
        """Take the next token; what it adds to the text may be nothing yet."""
        self._waiting.append((self._num_read, token))
        text = self._decode(token.id)
        self._num_read += len(text)
        return self._send(self._until_stop(text))

    def end(self) -> Piece:
        """What was held back, at the end of the answer."""
        if self.stopped:
            return Piece("", [])
        text = self._tail()
        self._num_read += len(text)
        sent = self._until_stop(text)
        held, self._held = self._held, ""
        piece = self._send(sent + held)
        if self.stopped:
            return piece
        rest, self._waiting = self._waiting, []  # tokens without text, such as special ones
        return Piece(piece.text, piece.tokens + rest)

    def _decode(self, token: int) -> str:
        # A token's text depends on its neighbours (spaces, characters of several tokens): the difference that it makes
        # to the text of those before it is what it adds.
        self._ids.append(token)
        before, now = self._text(self._start, self._read), self._text(self._start)
        whole = len(now) > len(before) and not now.endswith(_UNFINISHED)
        if not whole and len(self._ids) - self._read < _MAX_PENDING:
            return ""
        self._start, self._read = self._read, len(self._ids)
        return now[len(before) :]

    def _tail(self) -> str:
        tail = self._text(self._start)[len(self._text(self._start, self._read)) :]
        self._start = self._read = len(self._ids)
        return tail

    def _text(self, start: int, end: int | None = None) -> str:
        ids = self._ids[start:end]
        text: str = self._tokenizer.decode(
            ids, skip_special_tokens=not self._keep_special, clean_up_tokenization_spaces=False
        )
        return text

    def _until_stop(self, text: str) -> str:
        self._held += text
        found = [at for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if found:
            self.stopped = True
            sent, self._held = self._held[: min(found)], ""
            return sent
        keep = max((overlap(self._held, stop) for stop in self._stops), default=0)
        sent, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return sent

    def _send(self, text: str) -> Piece:
        self._num_sent += len(text)
        ready = [one for one in self._waiting if one[0] < self._num_sent] if text else []
        self._waiting = self._waiting[len(ready) :]
        return Piece(text, ready)


def overlap(text: str, stop: str) -> int:
    """How many characters at the end of `text` could be the beginning of `stop`."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if stop.startswith(text[-size:])), 0)


class TokenNames:
    """Tokens as OpenAI's log-probabilities name them: as text, and as bytes, which may be a part of a character."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer: Any = tokenizer
        backend = getattr(tokenizer, "backend_tokenizer", None)
        self._letters = _byte_of_letter() if backend is not None and "ByteLevel" in repr(backend.decoder) else {}
        self._added = set(self._tokenizer.get_added_vocab().values())

    def bytes(self, token: int) -> bytes:
        """The bytes that a token stands for; of an id without a token, none."""
        name: str | None = self._tokenizer.convert_ids_to_tokens(token)
        if name is None:
            return b""
        if token in self._added:
            return name.encode()
        if self._letters:
            return b"".join(bytes([self._letters[one]]) if one in self._letters else one.encode() for one in name)
        if len(name) == 6 and name.startswith("<0x"):
            return bytes([int(name[3:5], 16)])
        return name.replace("\u2581", " ").encode()

    def text(self, token: int) -> str:
        """The text that a token stands for."""
        return self.bytes(token).decode(errors="replace")


def _byte_of_letter() -> dict[str, int]:
    """The letters by which byte-level BPE writes bytes: printable ones are themselves, others follow from 256 on."""
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + at): byte for at, byte in enumerate(others)}
