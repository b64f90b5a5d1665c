"""Connections whose client does not read, or does not say all, are cut off, so that nothing is held for them.

uvicorn waits for ever for a client to take what was written, also once it has closed. Here a connection on which less
than `LEAST_READ_BYTES` went out within `STALLED_SECONDS` is aborted. A slow client that reads on is left alone.
It waits for ever for the rest of a request as well. Here a request is whole within `REQUEST_SECONDS`.
"""

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

STALLED_SECONDS: Final = 10.0
LEAST_READ_BYTES: Final = 4_096
REQUEST_SECONDS: Final = 20.0
"""For at most 64 KiB, from when the connection is made, or the request before is answered and this one begins."""


class ImpatientTransport:
    """A transport that aborts when what was written is not read; in all else it is the one that it has."""

    __slots__ = ("_due", "_real", "_taken", "_waiting", "_written")

    def __init__(self, real: asyncio.Transport) -> None:
        self._real = real
        self._waiting: asyncio.TimerHandle | None = None
        self._written = 0
        self._taken = 0
        self._due = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def write(self, data: bytes) -> None:
        self._written += len(data)
        self._real.write(data)

    def close(self) -> None:
        """Closes once all is read, or nobody reads."""
        self._real.close()
        self.watch()

    def watch(self) -> None:
        """Looks from now on whether what was written is read, until it is."""
        if self._waiting is None and (size := self._real.get_write_buffer_size()):
            self._due, self._taken = self._written, self._written - size
            self._waiting = asyncio.get_running_loop().call_later(STALLED_SECONDS, self._look)

    def leave(self) -> None:
        """The connection is over."""
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _look(self) -> None:
        self._waiting = None
        taken = self._written - self._real.get_write_buffer_size()
        if taken < min(self._due, self._taken + LEAST_READ_BYTES):
            self._real.abort()
        else:
            self.watch()


class _Impatient(asyncio.Protocol):
    """What both protocols share. An upgraded connection keeps the transport that it had."""

    transport: ImpatientTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        known = isinstance(transport, ImpatientTransport)
        super().connection_made(transport if known else ImpatientTransport(transport))  # type: ignore[arg-type]

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport.leave()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self.transport.watch()


class ImpatientHttp(_Impatient, HttpToolsProtocol):  # type: ignore[misc]
    """HTTP/1.1."""

    _arriving: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._wait_for_request()

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait_no_more()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._wait_for_request()

    def on_message_complete(self) -> None:
        self._wait_no_more()
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        self._wait_no_more()
        super().handle_websocket_upgrade()

    def _wait_for_request(self) -> None:
        self._wait_no_more()
        self._arriving = asyncio.get_running_loop().call_later(REQUEST_SECONDS, self._give_up)

    def _wait_no_more(self) -> None:
        if self._arriving is not None:
            self._arriving.cancel()
            self._arriving = None

    def _give_up(self) -> None:
        if self.pipeline:
            # It is we who do not read on: a request before this one is not answered yet.
            self._wait_for_request()
        else:
            self.transport.abort()


class ImpatientWebSockets(_Impatient, WebSocketsSansIOProtocol):  # type: ignore[misc]
    """WebSocket."""
