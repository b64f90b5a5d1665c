"""A client that opens a stream and does not read, or does not say all, is closed, and nothing is kept for it."""

import asyncio
import socket
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterator, MutableMapping
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Final, cast

import orjson
import pytest
import uvicorn
from prometheus_client import REGISTRY

import api.edge.slow_clients
import api.edge.sse
import api.edge.ws
from api.command.serve import http_config
from api.edge.slow_clients import ImpatientTransport
from tests.api.edge.live import CHANGED, events, phone, serving
from tests.api.shop import Shop, a_purchase

EVERYTHING = """subscription {
  walletChanged(sinceVersion: 0) { a: entry { ...E } b: entry { ...E } c: entry { ...E } d: entry { ...E } }
}
fragment E on Entry { id title hash postings { source destination asset amount } explanation { rule text points } }
"""


@asynccontextmanager
async def serving_little_by_little(shop: Shop) -> AsyncIterator[tuple[str, int, uvicorn.Server]]:
    """A server whose sockets hold a few KiB, so that a client who does not read is noticed soon."""
    server = uvicorn.Server(http_config(shop.app, shop.services.settings, port=0))
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
        listening.bind(("127.0.0.1", 0))
        running = asyncio.create_task(server.serve(sockets=[listening]))
        while not server.started:  # noqa: ASYNC110 -- uvicorn offers nothing to wait for
            await asyncio.sleep(0.01)
        try:
            yield (*listening.getsockname(), server)
        finally:
            server.should_exit = True
            await shop.app.state.live.close()
            await running


@contextmanager
def lazy_client(host: str, port: int) -> Iterator[socket.socket]:
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2_048)
        client.settimeout(10)
        client.connect((host, port))
        yield client


def as_events(client: socket.socket, token: str) -> None:
    body = orjson.dumps({"query": EVERYTHING})
    head = (
        "POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: text/event-stream\r\n"
        f"Authorization: Bearer {token}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    client.sendall(head.encode() + body)


def over_a_socket(client: socket.socket, token: str) -> None:
    head = (
        "GET /graphql/ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {b64encode(b'k' * 16).decode()}\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n"
    )
    client.sendall(head.encode())
    assert client.recv(1_024).startswith(b"HTTP/1.1 101 ")
    said: list[dict[str, Any]] = [{"type": "connection_init", "payload": {"Authorization": f"Bearer {token}"}}]
    said += [{"type": "subscribe", "id": str(number), "payload": {"query": EVERYTHING}} for number in range(4)]
    client.sendall(b"".join(frame(orjson.dumps(each)) for each in said))


def frame(text: bytes) -> bytes:
    """A masked text frame (RFC 6455 §5.2), with a mask of zeros."""
    return b"\x81" + bytes([0x80 | 126]) + len(text).to_bytes(2) + b"\0" * 4 + text


def closed_as_slow() -> float:
    return REGISTRY.get_sample_value("wallet_graphql_subscriptions_closed_total", {"reason": "slow"}) or 0.0


@pytest.mark.parametrize("begin", [as_events, over_a_socket])
async def test_a_client_that_does_not_read_is_closed_and_nothing_is_held_for_it(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, begin: Callable[[socket.socket, str], None]
) -> None:
    monkeypatch.setattr(api.edge.sse, "SEND_SECONDS", 0.2)
    monkeypatch.setattr(api.edge.ws, "SEND_SECONDS", 0.2)
    monkeypatch.setattr(api.edge.slow_clients, "STALLED_SECONDS", 0.4)
    member = await shop.enrol()
    await asyncio.gather(*(shop.record(a_purchase(member)) for _ in range(100)))
    before = closed_as_slow()
    async with serving_little_by_little(shop) as (host, port, server):
        with lazy_client(host, port) as client:
            await asyncio.to_thread(begin, client, await shop.member_token(member))
            async with asyncio.timeout(90):
                while closed_as_slow() == before:  # noqa: ASYNC110 -- nothing to wait for
                    await asyncio.sleep(0.01)
                while server.server_state.connections or server.server_state.tasks:  # noqa: ASYNC110 -- likewise
                    await asyncio.sleep(0.01)

    assert closed_as_slow() == before + 1
    assert REGISTRY.get_sample_value("wallet_graphql_sockets") == 0


async def test_a_client_that_takes_no_goodbye_is_left_without_it(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api.edge.ws, "SEND_SECONDS", 0.1)
    monkeypatch.setattr(api.edge.ws, "GOODBYE_SECONDS", 0.1)
    token = await shop.member_token(await shop.enrol())
    said = [
        {"type": "connection_init", "payload": {"Authorization": f"Bearer {token}"}},
        {"type": "subscribe", "id": "1", "payload": {"query": "{ me { id } }"}},
    ]
    heard = iter(
        [
            {"type": "websocket.connect"},
            *({"type": "websocket.receive", "text": orjson.dumps(each).decode()} for each in said),
        ]
    )
    blocked = asyncio.Event()

    async def receive() -> dict[str, Any]:
        for each in heard:
            return each
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: MutableMapping[str, Any]) -> None:
        if b"next" in message.get("text", "").encode() or message["type"] == "websocket.close":
            blocked.set()
            await asyncio.Event().wait()

    scope = {"type": "websocket", "path": "/graphql/ws", "subprotocols": ["graphql-transport-ws"], "headers": []}

    async with asyncio.timeout(60):
        await shop.app(scope | {"root_path": "", "client": ("127.0.0.1", 1)}, receive, send)

    assert blocked.is_set()
    assert REGISTRY.get_sample_value("wallet_graphql_sockets") == 0


class Buffer:
    """As much of a transport as is asked here: what was written and not taken yet."""

    def __init__(self) -> None:
        self.held = 0
        self.is_aborted = False

    def write(self, data: bytes) -> None:
        self.held += len(data)

    def get_write_buffer_size(self) -> int:
        return self.held

    def abort(self) -> None:
        self.is_aborted = True


async def test_a_client_that_reads_on_is_left_alone_though_as_much_is_always_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(api.edge.slow_clients, "STALLED_SECONDS", 60.0)
    buffer = Buffer()
    transport = ImpatientTransport(cast("asyncio.Transport", buffer))
    transport.write(b"x" * 100_000)
    transport.watch()

    while_reading = []
    for _ in range(5):
        buffer.held -= 10_000
        transport.write(b"x" * 10_000)
        transport._look()
        while_reading.append(buffer.is_aborted)
    transport.write(b"x" * 10_000)
    buffer.held -= 1_000
    transport._look()
    transport.leave()

    assert while_reading == [False] * 5
    assert buffer.is_aborted


QUERY: Final = b'{"query": "{ programme { name } }"}'
REQUEST: Final = (
    b"POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 35\r\n\r\n" + QUERY
)


@pytest.mark.parametrize("said", [b"", REQUEST[:9], REQUEST[:-36], REQUEST[:-1], REQUEST + REQUEST[:-1]])
async def test_a_client_that_does_not_say_all_is_closed(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    monkeypatch.setattr(api.edge.slow_clients, "REQUEST_SECONDS", 0.2)
    async with serving(shop.app, shop.services.settings) as address, asyncio.timeout(60):
        reading, writing = await asyncio.open_connection(*address.split(":"))
        writing.write(said)

        with suppress(ConnectionResetError):
            while await reading.read(1_024):
                pass
        writing.close()


async def test_a_client_that_said_all_is_heard_for_as_long_as_it_likes(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api.edge.slow_clients, "REQUEST_SECONDS", 0.2)
    member = await shop.enrol()
    token = await shop.member_token(member)
    async with (
        serving(shop.app, shop.services.settings) as address,
        phone(address, token) as on_a_socket,
        events(address, token, CHANGED, {"since": 0}) as as_events,
    ):
        assert (await anext(as_events))[1]["data"]["walletChanged"]["version"] == 1
        await on_a_socket.subscribe(CHANGED, {"since": 0})
        assert (await on_a_socket.change())["version"] == 1
        await asyncio.sleep(0.5)

        await shop.record(a_purchase(member, "10.00"))

        assert (await anext(as_events))[1]["data"]["walletChanged"]["version"] == 2
        assert (await on_a_socket.change())["version"] == 2
