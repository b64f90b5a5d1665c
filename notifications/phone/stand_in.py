"""FCM's HTTP v1 API on loopback, in a process of its own, with phones behind it that can be looked at.

    POST   /v1/projects/{project}/messages:send   as FCM's: checks the body, answers as scripted, delivers
    POST   /token                                 as Google's OAuth 2 endpoint, for a service account's `token_uri`
    GET    /                                      the phones, live
    GET    /phone/devices                         what is on their screens
    GET    /phone/ledger?at_least=N               all that was received, in order; waits until there are N
    GET    /phone/events                          what happens on the screens, as server-sent events
    GET    /phone/watchers?at_least=N             how many read the events; waits until there are N
    PUT    /phone/script/{endpoint}               the answers to come for an endpoint, or for everybody with *
    PUT    /phone/tokens                          how long access tokens live; those that were given end
    DELETE /phone                                 forgets everything

What it knows is gone when it ends, and stays whatever happens to those who send.
"""

import asyncio
import re
import socket
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import orjson
from aiohttp import web

from notifications.firebase.admin import MAX_COLLAPSE_ID_BYTES, MAX_LABEL, MAX_PAYLOAD_BYTES
from notifications.phone.device import Device, Effect, Item, system_of
from notifications.phone.script import Kind, Script, Scripted, ScriptInvalid, invalid, refusal

MAX_LEDGER: Final = 50_000
MAX_WATCHERS: Final = 100
MAX_BEHIND: Final = 1_000
"""Events that a watcher may be behind before the oldest are left out for it."""
MAX_WAIT_SECONDS: Final = 60.0
TOKEN_PREFIX: Final = "stand-in-token-"  # noqa: S105 -- the beginning of one
_PAGE: Final = Path(__file__).with_name("page.html")
_LABEL: Final = re.compile(rf"[a-zA-Z0-9\-_.~%]{{1,{MAX_LABEL}}}")


class StandIn:
    """The state of the stand-in and its HTTP application."""

    def __init__(self) -> None:
        self.devices: dict[str, Device] = {}
        self._script = Script()
        self._ledger: deque[dict[str, Any]] = deque(maxlen=MAX_LEDGER)
        self._received = 0
        self._more = asyncio.Condition()
        self._watchers: set[asyncio.Queue[Mapping[str, Any]]] = set()
        self._tokens: dict[str, float] = {}
        self._tokens_given = 0
        self._token_seconds = 3_600
        self.app = web.Application(client_max_size=65_536)
        self.app.add_routes(
            [
                web.post("/v1/projects/{project}/messages:send", self._send),
                web.post("/token", self._give_token),
                web.get("/", self._page),
                web.get("/phone/devices", self._list_devices),
                web.get("/phone/ledger", self._list_ledger),
                web.get("/phone/events", self._stream),
                web.get("/phone/watchers", self._count_watchers),
                web.put("/phone/script/{endpoint}", self._write_script),
                web.put("/phone/tokens", self._end_tokens),
                web.delete("/phone", self._forget),
            ]
        )

    async def _send(self, request: web.Request) -> web.StreamResponse:
        bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
        body = _object(await request.read())
        message = body.get("message")
        fault = _fault(message)
        if fault is not None or not isinstance(message, dict):
            return _json(*(fault or invalid("message", "is missing")))
        target = "fid" if "fid" in message else "token"
        endpoint = message[target]
        scripted = self._script.next(endpoint) if self._is_live(bearer) else Scripted(kind=Kind.UNAUTHENTICATED)
        number = await self._deliver(message, endpoint, scripted=scripted, bearer=bearer)
        if scripted.seconds:
            await asyncio.sleep(scripted.seconds)
        if scripted.kind is Kind.OK:
            return _json(200, {"name": f"projects/{request.match_info['project']}/messages/{number}"})
        if scripted.kind is Kind.DROPPED:
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        status, answer = refusal(scripted.kind, target)
        return _json(status, answer, retry_after=scripted.retry_after)

    async def _deliver(self, message: dict[str, Any], endpoint: str, *, scripted: Scripted, bearer: str) -> int:
        """Into the ledger, and onto the screen if that is what the script says; the number in the ledger."""
        effect: Effect | None = None
        item: Item | None = None
        device = self.devices.get(endpoint)
        if scripted.delivered:
            if device is None:
                device = self.devices[endpoint] = Device(endpoint=endpoint, system=system_of(message))
            effect, item = device.receive(message)
        self._received += 1
        number = self._received
        entry = {
            "number": number,
            "at": datetime.now(UTC),
            "endpoint": endpoint,
            "answer": scripted.kind,
            "bearer": bearer,
            "effect": effect,
            "message": message,
        }
        self._ledger.append(entry)
        if effect is not None and device is not None and self._watchers:
            self._tell(device, effect, item)
        await self._notify()
        return number

    async def _notify(self) -> None:
        async with self._more:
            self._more.notify_all()

    def _tell(self, device: Device, effect: Effect, item: Item | None) -> None:
        event = {
            "at": datetime.now(UTC),
            "endpoint": device.endpoint,
            "system": device.system,
            "effect": effect,
            "item": None if item is None else asdict(item),
        }
        for queue in self._watchers:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(event)

    def _is_live(self, bearer: str) -> bool:
        """Its own tokens until they end; any other bearer, as no credentials are needed here."""
        if bearer.startswith(TOKEN_PREFIX):
            return self._tokens.get(bearer, 0.0) > asyncio.get_running_loop().time()
        return bool(bearer)

    async def _give_token(self, _request: web.Request) -> web.Response:
        self._tokens_given += 1
        token = f"{TOKEN_PREFIX}{self._tokens_given}"
        self._tokens[token] = asyncio.get_running_loop().time() + self._token_seconds
        return _json(200, {"access_token": token, "expires_in": self._token_seconds, "token_type": "Bearer"})

    async def _page(self, _request: web.Request) -> web.Response:
        return web.Response(text=_PAGE.read_text(encoding="utf-8"), content_type="text/html")

    async def _list_devices(self, _request: web.Request) -> web.Response:
        return _json(200, [_seen(device) for device in self.devices.values()])

    async def _list_ledger(self, request: web.Request) -> web.Response:
        if (refused := await self._waited(request, lambda: self._received)) is not None:
            return refused
        return _json(200, list(self._ledger))

    async def _count_watchers(self, request: web.Request) -> web.Response:
        if (refused := await self._waited(request, lambda: len(self._watchers))) is not None:
            return refused
        return _json(200, len(self._watchers))

    async def _waited(self, request: web.Request, count: Callable[[], int]) -> web.Response | None:
        """Waits, for a while, until there are as many as the request asks for; the refusal if that is not a number."""
        at_least = request.query.get("at_least", "0")
        if not at_least.isdecimal():
            return _json(400, {"problem": f"at_least is {at_least!r}; it should be a whole number"})
        with suppress(TimeoutError):
            async with asyncio.timeout(MAX_WAIT_SECONDS), self._more:
                await self._more.wait_for(lambda: count() >= int(at_least))
        return None

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        if len(self._watchers) >= MAX_WATCHERS:
            return _json(503, {"problem": "too many are watching"})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        queue: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue(MAX_BEHIND)
        self._watchers.add(queue)
        try:
            await response.prepare(request)
            await response.write(b": watching\n\n")
            await self._notify()
            while True:
                await response.write(b"data: " + orjson.dumps(await queue.get()) + b"\n\n")
        except ConnectionResetError:
            return response
        finally:
            self._watchers.discard(queue)

    async def _write_script(self, request: web.Request) -> web.Response:
        try:
            self._script.write(request.match_info["endpoint"], _json_of(await request.read()))
        except ScriptInvalid as error:
            return _json(400, {"problem": str(error)})
        return web.Response(status=204)

    async def _end_tokens(self, request: web.Request) -> web.Response:
        seconds = _object(await request.read()).get("expires_in")
        if not isinstance(seconds, int) or seconds < 1:
            return _json(400, {"problem": "expires_in should be a whole number of seconds from 1 on"})
        self._tokens.clear()
        self._token_seconds = seconds
        return web.Response(status=204)

    async def _forget(self, _request: web.Request) -> web.Response:
        self.devices.clear()
        self._script.forget()
        self._ledger.clear()
        self._received = 0
        self._tokens.clear()
        self._token_seconds = 3_600
        return web.Response(status=204)


async def run_stand_in(sock: socket.socket, *, ready: Callable[[], None]) -> None:
    """Serves on a bound socket until it is cancelled; `ready` is called once it listens."""
    runner = web.AppRunner(StandIn().app, access_log=None, shutdown_timeout=0.5, handler_cancellation=True)
    await runner.setup()
    try:
        await web.SockSite(runner, sock).start()
        ready()
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


def _fault(message: object) -> tuple[int, Mapping[str, Any]] | None:
    """What FCM would find wrong in a message, or None."""
    if not isinstance(message, dict):
        return invalid("message", "is missing")
    targets = [name for name in ("fid", "token", "topic", "condition") if name in message]
    if len(targets) != 1 or targets[0] not in {"fid", "token"}:
        return invalid("message", "exactly one of fid and token is taken here")
    target = message[targets[0]]
    if not isinstance(target, str) or not target:
        return invalid(f"message.{targets[0]}", "Invalid registration")
    for name in ("notification", "data", "android", "apns", "webpush", "fcm_options"):
        if not isinstance(message.get(name, {}), dict):
            return invalid(f"message.{name}", "should be an object")
    data = message.get("data", {})
    if not all(isinstance(value, str) for value in data.values()):
        return invalid("message.data", "values should be strings")
    label = message.get("fcm_options", {}).get("analytics_label", "none")
    if not isinstance(label, str) or not _LABEL.fullmatch(label):
        return invalid("message.fcm_options.analytics_label", "should match its pattern")
    headers = message.get("apns", {}).get("headers", {})
    if not isinstance(headers, dict) or len(str(headers.get("apns-collapse-id", "")).encode()) > MAX_COLLAPSE_ID_BYTES:
        return invalid("message.apns.headers", "apns-collapse-id is too long")
    if len(orjson.dumps([message.get("notification"), data])) > MAX_PAYLOAD_BYTES:
        return invalid("message", "Message too big")
    return None


def _seen(device: Device) -> Mapping[str, Any]:
    return {
        "endpoint": device.endpoint,
        "system": device.system,
        "screen": [asdict(item) for item in device.screen.values()],
        "shown": device.shown,
        "replaced": device.replaced,
        "removed": device.removed,
    }


def _json(status: int, content: object, *, retry_after: str | None = None) -> web.Response:
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    return web.Response(status=status, body=orjson.dumps(content), content_type="application/json", headers=headers)


def _json_of(said: bytes) -> object:
    try:
        return orjson.loads(said)
    except orjson.JSONDecodeError:
        return None


def _object(said: bytes) -> Mapping[str, Any]:
    found = _json_of(said)
    return found if isinstance(found, dict) else {}
