"""The whole API behind a real socket, and clients that stay connected to it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import httpx
import orjson
import uvicorn
from starlette.applications import Starlette
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from api.command.serve import http_config
from domain.settings import Settings

CHANGED = """subscription Changed($since: Long) {
  walletChanged(sinceVersion: $since) {
    version entry { sequence points balanceAfter { points } } wallet { version points { available } }
  }
}"""


@asynccontextmanager
async def serving(app: Starlette, settings: Settings) -> AsyncIterator[str]:
    """The address, such as 127.0.0.1:4321, of a server as `wallet serve` runs it."""
    server = uvicorn.Server(http_config(app, settings, port=0))
    running = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 -- uvicorn offers nothing to wait for
        await asyncio.sleep(0.01)
    host, port = server.servers[0].sockets[0].getsockname()
    try:
        yield f"{host}:{port}"
    finally:
        server.should_exit = True
        await app.state.live.close()
        await running


@dataclass(frozen=True, kw_only=True)
class Phone:
    """A client that speaks graphql-transport-ws."""

    socket: ClientConnection

    async def send(self, kind: str, **fields: Any) -> None:
        await self.socket.send(orjson.dumps({"type": kind, **fields}).decode())

    async def next(self) -> dict[str, Any]:
        """The server's next message."""
        message: dict[str, Any] = orjson.loads(await asyncio.wait_for(self.socket.recv(), 60))
        return message

    async def subscribe(self, query: str, variables: dict[str, Any] | None = None, *, id: str = "1") -> None:  # noqa: A002
        await self.send("subscribe", id=id, payload={"query": query, "variables": variables or {}})

    async def change(self) -> dict[str, Any]:
        """The next WalletChange."""
        message = await self.next()
        assert message["type"] == "next", message
        changed: dict[str, Any] = message["payload"]["data"]["walletChanged"]
        return changed

    async def closed(self) -> tuple[int | None, str | None]:
        """Why the server closed the connection."""
        await asyncio.wait_for(self.socket.wait_closed(), 60)
        return self.socket.close_code, self.socket.close_reason


@asynccontextmanager
async def phone(address: str, token: str | None) -> AsyncIterator[Phone]:
    """A connection that is acknowledged, or none at all without a token: then nothing has been sent."""
    async with connect(f"ws://{address}/graphql/ws", subprotocols=[Subprotocol("graphql-transport-ws")]) as socket:
        client = Phone(socket=socket)
        if token is not None:
            await client.send("connection_init", payload={"Authorization": f"Bearer {token}"})
            assert (await client.next())["type"] == "connection_ack"
        yield client


@asynccontextmanager
async def events(
    address: str, token: str, query: str, variables: dict[str, Any] | None = None
) -> AsyncIterator[AsyncIterator[tuple[str, Any]]]:
    """The server-sent events of a subscription, as (event, data)."""
    headers = {"Accept": "text/event-stream", "Authorization": f"Bearer {token}"}
    body = {"query": query, "variables": variables or {}}
    async with (
        httpx.AsyncClient(base_url=f"http://{address}", timeout=60) as client,
        client.stream("POST", "/graphql", json=body, headers=headers) as response,
    ):
        assert response.status_code == 200
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        yield _parsed(response)


async def _parsed(response: httpx.Response) -> AsyncIterator[tuple[str, Any]]:
    event = ""
    with suppress(httpx.RemoteProtocolError):
        async for line in response.aiter_lines():
            name, _, value = line.partition(":")
            if name == "event":
                event = value.strip()
            elif name == "data":
                yield event, orjson.loads(value.strip() or "null")
