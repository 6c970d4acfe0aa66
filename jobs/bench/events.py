"""Server-sent events out of the bytes of an answer."""

from __future__ import annotations

_MAX_EVENT_BYTES = 1 << 20


class Events:
    """Gathers pieces of bytes, however they are cut, into the data of whole events."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []

    def feed(self, piece: bytes) -> list[bytes]:
        """The data of each event that this piece completes; comments and names of events are left out.

        Raises:
            ValueError: an event is larger than a mebibyte.
        """
        *lines, self._rest = (self._rest + piece).split(b"\n")
        complete = []
        for line in lines:
            text = line.rstrip(b"\r")
            if text.startswith(b"data:"):
                self._data.append(text[5:].removeprefix(b" "))
            elif not text and self._data:
                complete.append(b"\n".join(self._data))
                self._data = []
        if len(self._rest) + sum(map(len, self._data)) > _MAX_EVENT_BYTES:
            raise ValueError("an event is larger than 1 MiB")
        return complete
