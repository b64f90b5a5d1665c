"""Subscriptions as server-sent events on `/graphql`: graphql-sse in its "distinct connections" mode.

Each result is an event `next`; `complete` comes only when the operation came to its end by itself. A stream that the
server ends (the token or the session ended, the process stops, the client does not read) ends without it, so that
the client connects again, with another token where it must.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from datetime import datetime
from typing import Any, Final

import orjson
from graphql import OperationType
from starlette.types import Receive, Scope, Send

from api.context import Context
from api.edge.documents import RequestError
from api.edge.errors import failure
from api.edge.live import Ending, Live, Stream
from api.edge.metrics import CLOSED, EVENTS, SUBSCRIPTIONS
from api.edge.operations import Admitted, Operations
from api.edge.request import EVENT_STREAM
from domain.store.cancelling import cancelled
from domain.store.changes import ChangesClosed

HEARTBEAT_SECONDS: Final = 15.0
SEND_SECONDS: Final = 10.0
_HEARTBEAT: Final = b":\n\n"
_COMPLETE: Final = b"event: complete\ndata:\n\n"


class EventStream:
    """The response of an operation that was admitted; a subscription is looked after until `expires_at`.

    Making it raises TooManyStreams.
    """

    def __init__(self, operations: Operations, live: Live, admitted: Admitted, *, expires_at: datetime | None) -> None:
        self._operations = operations
        self._live = live
        self._admitted = admitted
        self._ended = asyncio.Event()
        self._stream: Stream | None = None
        if admitted.operation.kind is OperationType.SUBSCRIPTION:
            assert expires_at is not None, "a subscription of nobody"
            self._stream = Stream(caller=admitted.context.caller, expires_at=expires_at, end=self._end)
            live.open(self._stream)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends events until the operation, the client or the server ends it."""
        del scope
        telling = asyncio.ensure_future(self._tell(send))
        leaving = asyncio.ensure_future(_left(receive))
        ending = asyncio.ensure_future(self._ended.wait())
        try:
            await asyncio.wait([telling, leaving, ending], return_when=asyncio.FIRST_COMPLETED)
        finally:
            if self._stream is not None:
                self._live.leave(self._stream)
            await cancelled(telling, leaving, ending)
        with suppress(Exception):
            async with asyncio.timeout(1.0):
                await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _end(self, _why: Ending) -> None:
        self._ended.set()

    async def _tell(self, send: Send) -> None:
        context = self._admitted.context
        await send({"type": "http.response.start", "status": 200, "headers": _headers(context)})
        # The headers go out at once, with something behind them: some proxies wait for it.
        await _send(send, _HEARTBEAT)
        try:
            await self._tell_results(send, context)
        except ChangesClosed:
            return
        except TimeoutError:
            CLOSED.labels(Ending.SLOW.value).inc()

    async def _tell_results(self, send: Send, context: Context) -> None:
        try:
            if self._stream is None:
                await _send(send, _event((await self._operations.run(self._admitted)).body))
            else:
                await self._tell_events(send)
        except (ChangesClosed, TimeoutError):
            raise
        except RequestError as error:
            await _send(send, _event(error.response(context.request_id)))
        except Exception as error:  # noqa: BLE001 -- the last place before the client
            await _send(send, _event({"errors": [failure(error, request_id=context.request_id)]}))
        await _send(send, _COMPLETE)

    async def _tell_events(self, send: Send) -> None:
        responses = self._operations.subscribe(self._admitted)
        with SUBSCRIPTIONS.labels("sse").track_inprogress():
            async with aclosing(responses):
                async for body in _with_heartbeats(responses):
                    if body is not None:
                        EVENTS.labels("sse").inc()
                    await _send(send, _HEARTBEAT if body is None else _event(body))


async def _with_heartbeats(responses: AsyncGenerator[Any, None]) -> AsyncGenerator[Mapping[str, Any] | None, None]:
    """The bodies as they come, and None whenever none came for a while."""
    coming: asyncio.Future[Any] | None = None
    try:
        while True:
            coming = coming or asyncio.ensure_future(anext(responses, None))
            done, _ = await asyncio.wait([coming], timeout=HEARTBEAT_SECONDS)
            if not done:
                yield None
                continue
            response, coming = coming.result(), None
            if response is None:
                return
            yield response.body
    finally:
        if coming is not None:
            await cancelled(coming)


async def _left(receive: Receive) -> None:
    """Returns when the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send(send: Send, body: bytes) -> None:
    """Raises TimeoutError when the client has not read for a while."""
    async with asyncio.timeout(SEND_SECONDS):
        await send({"type": "http.response.body", "body": body, "more_body": True})


def _event(body: Mapping[str, Any]) -> bytes:
    return b"event: next\ndata: " + orjson.dumps(body) + b"\n\n"


def _headers(context: Context) -> list[tuple[bytes, bytes]]:
    return [
        (b"content-type", f"{EVENT_STREAM}; charset=utf-8".encode()),
        (b"cache-control", b"no-cache, no-transform"),
        (b"x-accel-buffering", b"no"),
        (b"x-request-id", context.request_id.encode()),
    ]
