"""GraphQL over WebSocket at `/graphql/ws`: the protocol graphql-transport-ws, for every kind of operation.

`connection_init` brings the access token as `{"Authorization": "Bearer …"}`; a native client may send the header
instead. What is open is closed with 4403 when the token ends or its session is ended: get another token, connect
again, and go on from the version that was seen last. Nothing is kept for a client that does not read: when it has not
taken a message within some seconds it is closed. No page's origin is asked after: nothing goes by cookies, and a page
of another site has no token to send.
"""

import asyncio
import uuid
from collections.abc import Mapping
from contextlib import aclosing, suppress
from datetime import datetime
from typing import Any, Final

import orjson
from graphql import OperationType
from starlette.types import Receive, Scope, Send

from api.access import Anonymous, Caller
from api.context import Context, Services
from api.edge.documents import RequestError, Response
from api.edge.errors import failure
from api.edge.limits import MAX_BODY_BYTES
from api.edge.live import Ending, Live, Stream, TooManyStreams
from api.edge.metrics import CLOSED, EVENTS, SOCKETS, SUBSCRIPTIONS
from api.edge.operations import Admitted, Operations
from api.edge.request import HttpRefusal, parameters_of, preferred_language
from domain.store.cancelling import cancelled
from domain.store.changes import ChangesClosed

PROTOCOL: Final = "graphql-transport-ws"
INIT_SECONDS: Final = 10.0
SEND_SECONDS: Final = 10.0
GOODBYE_SECONDS: Final = 1.0
MAX_OPERATIONS: Final = 20
MAX_WAITING_SOCKETS: Final = 1_000
"""Connections that have not said who they are yet."""
MAX_ID: Final = 100
BAD_REQUEST: Final = 4400
UNAUTHORIZED: Final = 4401
FORBIDDEN: Final = 4403
WRONG_PROTOCOL: Final = 4406
INIT_TIMEOUT: Final = 4408
ID_TAKEN: Final = 4409
TOO_MANY: Final = 4429
INTERNAL: Final = 4500
TRY_AGAIN_LATER: Final = 1013
RESTART: Final = 1012
_CODES: Final[Mapping[Ending, tuple[int, str]]] = {
    Ending.TOKEN: (FORBIDDEN, "Forbidden: the access token has ended"),
    Ending.SESSION: (FORBIDDEN, "Forbidden: the session was ended"),
    Ending.SLOW: (TRY_AGAIN_LATER, "Messages were not read in time"),
    Ending.SHUTDOWN: (RESTART, "Service restart"),
    Ending.ERROR: (INTERNAL, "Internal server error"),
}


class Closed(Exception):  # noqa: N818 -- says what happens
    """The connection is to be closed with this code and reason."""

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        self.reason = reason
        super().__init__(reason)


class GraphQLSocketEndpoint:
    """The ASGI application at `/graphql/ws`."""

    def __init__(self, operations: Operations, services: Services, live: Live) -> None:
        self._operations = operations
        self._services = services
        self._live = live
        self._waiting = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "websocket", scope["type"]
        await receive()
        if PROTOCOL not in scope.get("subprotocols", ()):
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.close", "code": WRONG_PROTOCOL, "reason": "Subprotocol not acceptable"})
            return
        await send({"type": "websocket.accept", "subprotocol": PROTOCOL})
        socket = _Socket(self._operations, self._services, self._live, scope=scope, receive=receive, send=send)
        SOCKETS.inc()
        try:
            await self._begin(socket)
            await socket.serve()
        except Closed as closed:
            await socket.close(closed.code, closed.reason)
        except asyncio.CancelledError:
            if not socket.is_given_up:
                raise
        finally:
            await socket.end()
            SOCKETS.dec()

    async def _begin(self, socket: "_Socket") -> None:
        if self._waiting >= MAX_WAITING_SOCKETS:
            raise Closed(TRY_AGAIN_LATER, "Too many connections wait")
        self._waiting += 1
        try:
            async with asyncio.timeout(INIT_SECONDS):
                await socket.begin()
        except TimeoutError:
            raise Closed(INIT_TIMEOUT, "Connection initialisation timeout") from None
        finally:
            self._waiting -= 1


class _Socket:
    """One connection: who it speaks for, and the operations that run on it, by the client's ids."""

    __slots__ = (
        "_address",
        "_authorization",
        "_closing",
        "_ending",
        "_live",
        "_locale",
        "_operations",
        "_receive",
        "_running",
        "_send_message",
        "_services",
        "_stream",
        "_task",
        "is_given_up",
    )

    def __init__(
        self, operations: Operations, services: Services, live: Live, *, scope: Scope, receive: Receive, send: Send
    ) -> None:
        self._operations = operations
        self._services = services
        self._live = live
        self._receive = receive
        self._send_message = send
        self._running: dict[str, asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._stream: Stream | None = None
        self._closing: asyncio.Task[None] | None = None
        self._task = asyncio.current_task()
        self.is_given_up = False
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        self._authorization = headers.get("authorization")
        self._locale = preferred_language(headers.get("accept-language"))
        self._address = scope["client"][0] if scope.get("client") else None

    async def begin(self) -> None:
        """Waits for connection_init, and acknowledges it if its token holds. Raises Closed."""
        while (message := await self._next()) is not None and message["type"] in {"ping", "pong"}:
            await self._pong(message)
        if message is None:
            raise Closed(BAD_REQUEST, "The client has left")
        if message["type"] != "connection_init":
            raise Closed(UNAUTHORIZED, "Unauthorized: send connection_init first")
        payload = message.get("payload") or {}
        if not isinstance(payload, dict):
            raise Closed(BAD_REQUEST, "The payload of connection_init is an object")
        given = payload.get("Authorization", payload.get("authorization"))
        self._authorization = given if isinstance(given, str) else self._authorization
        language = payload.get("Accept-Language", payload.get("acceptLanguage"))
        self._locale = preferred_language(language) if isinstance(language, str) else self._locale
        caller, expires_at = await self._caller()
        if expires_at is None:
            raise Closed(FORBIDDEN, "Forbidden: connection_init needs a valid access token")
        stream = Stream(caller=caller, expires_at=expires_at, end=self._end_by_server)
        try:
            self._live.open(stream)
        except TooManyStreams:
            raise Closed(TOO_MANY, "Too many connections of this caller") from None
        self._stream = stream
        await self._send({"type": "connection_ack"})

    async def serve(self) -> None:
        """Takes messages until the client leaves. Raises Closed."""
        while (message := await self._next()) is not None:
            match message["type"]:
                case "ping" | "pong":
                    await self._pong(message)
                case "connection_init":
                    raise Closed(TOO_MANY, "Too many initialisation requests")
                case "subscribe":
                    self._subscribe(message)
                case "complete":
                    self._complete(str(message.get("id")))
                case _:
                    raise Closed(BAD_REQUEST, "Unknown type of message")

    async def close(self, code: int, reason: str) -> bool:
        """Says goodbye, if the client still listens."""
        with suppress(Exception):
            async with asyncio.timeout(GOODBYE_SECONDS):
                await self._send_message({"type": "websocket.close", "code": code, "reason": reason})
                return True
        return False

    async def end(self) -> None:
        """Ends all that runs on the connection."""
        self._task = None
        if self._stream is not None:
            self._live.leave(self._stream)
        await asyncio.gather(cancelled(*self._running.values()), *self._ending)
        if self._closing is not None:
            await asyncio.gather(self._closing, return_exceptions=True)

    def _end_by_server(self, why: Ending) -> None:
        """Closes from our side: the next message that is received is then that the client has left."""
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._end_with(*_CODES[why]))

    async def _end_with(self, code: int, reason: str) -> None:
        """Says goodbye; a client that does not even take that is left without."""
        if not await self.close(code, reason) and self._task is not None:
            self.is_given_up = True
            self._task.cancel()

    def _subscribe(self, message: Mapping[str, Any]) -> None:
        identifier, payload = message.get("id"), message.get("payload")
        if not isinstance(identifier, str) or not 1 <= len(identifier) <= MAX_ID or not isinstance(payload, dict):
            raise Closed(BAD_REQUEST, "subscribe needs an id and a payload")
        if identifier in self._running:
            raise Closed(ID_TAKEN, f"Subscriber for {identifier} already exists")
        if len(self._running) >= MAX_OPERATIONS:
            raise Closed(TOO_MANY, f"More than {MAX_OPERATIONS} operations at once")
        task = asyncio.get_running_loop().create_task(self._operate(identifier, payload))
        self._running[identifier] = task

    def _complete(self, identifier: str) -> None:
        """The client wants no more of that operation; nothing goes out for it from now on."""
        task = self._running.pop(identifier, None)
        if task is not None:
            ending = asyncio.get_running_loop().create_task(cancelled(task))
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)

    async def _operate(self, identifier: str, payload: Mapping[str, Any]) -> None:
        """One operation from its subscribe to its complete; what it fails with is told, and never raised."""
        request_id = uuid.uuid4().hex
        try:
            if await self._answer(identifier, payload, request_id):
                await self._tell(identifier, type="complete")
        except RequestError as error:
            await self._refuse(identifier, error.response(request_id)["errors"])
        except HttpRefusal as refusal:
            told = {"message": refusal.message, "extensions": {"code": refusal.code, "requestId": request_id}}
            await self._refuse(identifier, [told])
        except ChangesClosed:
            self._end_by_server(Ending.SHUTDOWN)
        except Closed:
            pass
        except Exception as error:  # noqa: BLE001 -- the last place before the client
            await self._refuse(identifier, [failure(error, request_id=request_id)])
        finally:
            if self._running.get(identifier) is asyncio.current_task():
                del self._running[identifier]

    async def _answer(self, identifier: str, payload: Mapping[str, Any], request_id: str) -> bool:
        """Whether the operation came to its end; what was refused has been told instead."""
        caller, _ = await self._caller()
        context = Context(
            caller=caller,
            request_id=request_id,
            now=self._services.clock.now(),
            locale=self._locale,
            wallet=self._services,
        )
        admitted = await self._operations.admit(parameters_of(payload), context, address=self._address)
        if admitted.operation.kind is OperationType.SUBSCRIPTION:
            await self._stream_events(identifier, admitted)
            return True
        response = await self._operations.run(admitted)
        if not response.executed:
            await self._refuse(identifier, response.body["errors"])
            return False
        await self._next_event(identifier, response)
        return True

    async def _stream_events(self, identifier: str, admitted: Admitted) -> None:
        with SUBSCRIPTIONS.labels("ws").track_inprogress():
            responses = self._operations.subscribe(admitted)
            async with aclosing(responses):
                async for response in responses:
                    EVENTS.labels("ws").inc()
                    await self._next_event(identifier, response)

    async def _next_event(self, identifier: str, response: Response) -> None:
        await self._tell(identifier, type="next", payload=response.body)

    async def _refuse(self, identifier: str, errors: list[Mapping[str, Any]]) -> None:
        with suppress(Closed):
            await self._tell(identifier, type="error", payload=errors)

    async def _tell(self, identifier: str, **message: Any) -> None:
        """Says something of the operation that runs. Raises Closed when the client wants no more of it."""
        if self._running.get(identifier) is not asyncio.current_task():
            raise Closed(TRY_AGAIN_LATER, "The client wants no more of it")
        await self._send({"id": identifier, **message})

    async def _caller(self) -> tuple[Caller, datetime | None]:
        """Whom the connection's token speaks for now."""
        await self._services.clock.refresh()
        now = self._services.clock.now()
        caller, expires_at = await self._services.tokens.caller_until(self._authorization, now)
        return (caller, expires_at) if not isinstance(caller, Anonymous) else (caller, None)

    async def _pong(self, message: Mapping[str, Any]) -> None:
        if message["type"] == "ping":
            await self._send({"type": "pong", **({"payload": message["payload"]} if "payload" in message else {})})

    async def _next(self) -> dict[str, Any] | None:
        """The client's next message; None when it has left. Raises Closed for anything else."""
        received = await self._receive()
        if received["type"] == "websocket.disconnect":
            return None
        text = received.get("text")
        if text is None or len(text) > MAX_BODY_BYTES:
            raise Closed(BAD_REQUEST, f"Messages are texts of at most {MAX_BODY_BYTES} characters")
        try:
            message = orjson.loads(text)
        except orjson.JSONDecodeError:
            raise Closed(BAD_REQUEST, "Messages are JSON") from None
        if not isinstance(message, dict) or not isinstance(message.get("type"), str):
            raise Closed(BAD_REQUEST, "A message has a type")
        return message

    async def _send(self, message: Mapping[str, Any]) -> None:
        """Raises Closed when the client is gone, or has not read for a while."""
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await self._send_message({"type": "websocket.send", "text": orjson.dumps(message).decode()})
        except TimeoutError:
            if self._closing is None:
                CLOSED.labels(Ending.SLOW.value).inc()
            self._end_by_server(Ending.SLOW)
            raise Closed(TRY_AGAIN_LATER, "slow") from None
        except Exception as error:
            raise Closed(RESTART, "gone") from error
