# SPDX-License-Identifier: Apache-2.0
"""Deadlines that uvicorn and starlette do not have: for the head of a request, and for its body."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["TooLong", "body_of", "impatient"]


class TooLong(Exception):
    """A body has more bytes than it may have."""


async def body_of(request: Request, most_bytes: int, deadline_s: float) -> bytes:
    """The body of a request. Raises TooLong, and TimeoutError when it is late."""
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length) > most_bytes:
        raise TooLong
    data = bytearray()
    async with asyncio.timeout(deadline_s):
        async for piece in request.stream():
            data += piece
            if len(data) > most_bytes:
                raise TooLong
    return bytes(data)


def impatient(deadline_s: float) -> type[H11Protocol]:
    """uvicorn waits without end for the head of a request: this closes such a connection."""

    class Impatient(H11Protocol):
        _waiting: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # TCP, or TLS
            super().connection_made(transport)
            self._wait()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            busy = self.cycle is not None and not self.cycle.response_complete
            if busy:
                self._stop_waiting()
            elif self._waiting is None:
                self._wait()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_waiting()
            super().connection_lost(exc)

        def _wait(self) -> None:
            self._waiting = asyncio.get_running_loop().call_later(deadline_s, self._give_up)

        def _give_up(self) -> None:
            self._waiting = None
            if self.cycle is None or self.cycle.response_complete:
                self.transport.close()

        def _stop_waiting(self) -> None:
            if self._waiting is not None:
                self._waiting.cancel()
                self._waiting = None

    return Impatient
