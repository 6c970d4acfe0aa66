"""Limits of a key within a minute: token buckets, one for requests and one for tokens of text."""

from __future__ import annotations

import math
import time

from serving.protocol import RequestError

_MINUTE_S = 60.0


class Bucket:
    """Holds what a key may still use: full at `per_minute`, filled evenly, and in debt after a long answer."""

    def __init__(self, per_minute: int) -> None:
        self.per_minute = per_minute
        self._level = float(per_minute)
        self._at = time.monotonic()

    def wait_s(self, wanted: float) -> float:
        """How long until `wanted` (at most all) may be taken, seconds."""
        now = time.monotonic()
        self._level = min(self.per_minute, self._level + (now - self._at) * self.per_minute / _MINUTE_S)
        self._at = now
        return max(0.0, (min(wanted, self.per_minute) - self._level) * _MINUTE_S / self.per_minute)

    def take(self, amount: float) -> None:
        """Take it, whether it is there or not."""
        self._level -= amount


class Rates:
    """The buckets of all keys."""

    def __init__(self) -> None:
        self._buckets: dict[tuple[str, str], Bucket] = {}

    def begin(self, key: str, requests_per_minute: int | None, tokens_per_minute: int | None) -> None:
        """Count a request, unless the key has used up its minute.

        Tokens are known when an answer ends: a key in debt waits until it is paid.

        Raises:
            RequestError: 429, with the seconds to wait.
        """
        requests = self._bucket(key, "requests", requests_per_minute)
        tokens = self._bucket(key, "tokens", tokens_per_minute)
        for what, bucket in (("requests", requests), ("tokens", tokens)):
            wait_s = bucket.wait_s(1) if bucket is not None else 0.0
            if bucket is not None and wait_s > 0:
                raise RequestError(
                    429, f"This key has used its {bucket.per_minute} {what} a minute.", code="rate_limit_exceeded",
                    retry_after_s=max(1, math.ceil(wait_s)),
                )  # fmt: skip
        if requests is not None:
            requests.take(1)

    def end(self, key: str, num_tokens: int) -> None:
        """Charge what an answer read and wrote."""
        if (bucket := self._buckets.get((key, "tokens"))) is not None:
            bucket.take(num_tokens)

    def _bucket(self, key: str, what: str, per_minute: int | None) -> Bucket | None:
        if per_minute is None:
            self._buckets.pop((key, what), None)
            return None
        bucket = self._buckets.get((key, what))
        if bucket is None or bucket.per_minute != per_minute:
            bucket = self._buckets[key, what] = Bucket(per_minute)
        return bucket
