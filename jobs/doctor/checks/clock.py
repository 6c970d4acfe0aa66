"""The clock: synchronized, as far as this machine can know."""

from __future__ import annotations

import ctypes
import struct
import time
from collections.abc import Iterator

from jobs.doctor.finding import Finding, Subject

AREA = "clock"
_UNSYNCHRONIZED, _FAILED = 0x40, -1
_STATUS_AT = 5 * ctypes.sizeof(ctypes.c_long)
"""Bytes before `status` in Linux' `struct timex`: `modes`, padded, and four numbers."""
_MAXERROR_AT = 3 * ctypes.sizeof(ctypes.c_long)
_MOST_S = 1.0
_WRITTEN = 1_763_000_000
"""When this was written, Unix time (November 2025): no honest clock shows less."""


def check(subject: Subject) -> Iterator[Finding]:  # noqa: ARG001
    """See `AREA`."""
    if time.time() < _WRITTEN:
        yield Finding(
            "time", "problem", time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
            "set the clock: certificates, tokens and files' times depend on it",
        )  # fmt: skip
    buffer = ctypes.create_string_buffer(512)
    # With `modes` 0 the kernel only tells, and needs no privilege.
    if ctypes.CDLL(None).adjtimex(buffer) == _FAILED:
        yield Finding("synchronized", "not applicable", "the kernel does not tell (a container may not ask)")
        return
    (status,) = struct.unpack_from("=i", buffer, _STATUS_AT)
    (error_us,) = struct.unpack_from("@l", buffer, _MAXERROR_AT)
    alone = bool(status & _UNSYNCHRONIZED)
    found = "no NTP service has set it" if alone else f"set by NTP, at most {error_us / 1e6:.3f} s off"
    yield Finding(
        "synchronized", "warning" if alone or error_us > _MOST_S * 1e6 else "ok", found,
        "on one machine no harm; in a cluster install chrony on every node: times of logs and metrics are compared",
    )  # fmt: skip
