"""How much memory idle subscriptions take in one process, and how long a change takes to all who listen.

A sandbox (`wallet serve`) holds WebSocket connections, each with a `walletChanged` that hears nothing; then every
member's wallet changes once, and each connection notes when it heard of it.
"""

import argparse
import asyncio
import json
import resource
import subprocess
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import uvloop
from rich.console import Console
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from benchmarks.measured import machine, percentile, show_and_keep
from domain.store.embedded import open_embedded
from tests.wallet_command import PROGRAMME, free_port, wallet_command

OF_EACH: Final = 10
AT_ONCE: Final = 20
COLUMNS: Final = ("subscriptions", "members", "RSS before MiB", "RSS after MiB", "KiB each", "p50 ms", "p99 ms")
_CHANGED: Final = "subscription { walletChanged { version wallet { points { available } } } }"
_SIGN_IN: Final = (
    "mutation($s: String!) { sandboxSignIn(subject: $s) { ... on Session { accessToken member { id } } } }"
)
_ADJUST: Final = "mutation($i: AdjustInput!) { adjustBalance(input: $i) { __typename } }"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Memory of the server's process before and with the subscriptions, and the delays of one change to each."""

    subscriptions: int
    members: int
    before_bytes: int
    after_bytes: int
    p50_ms: float
    p99_ms: float


def resident_bytes(process: int) -> int:
    """The resident memory of a process."""
    for line in Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(process)


async def measure(address: str, process: int, *, subscriptions: int) -> Sample:
    """Opens the subscriptions and changes every wallet once."""
    limits = httpx.Limits(max_connections=8)
    async with httpx.AsyncClient(base_url=f"http://{address}", limits=limits, timeout=60) as client:
        staff = (await _ask(client, 'mutation { sandboxStaffToken(scopes: ["staff:adjust"]) }'))["sandboxStaffToken"]
        members = []
        for number in range(-(-subscriptions // OF_EACH)):
            signed_in = await _ask(client, _SIGN_IN, {"s": f"subject-{number}"})
            members.append((signed_in["sandboxSignIn"]["member"]["id"], signed_in["sandboxSignIn"]["accessToken"]))
        before = resident_bytes(process)
        sockets = await _opened(address, [token for _, token in members for _ in range(OF_EACH)][:subscriptions])
        await asyncio.sleep(3)
        after = resident_bytes(process)
        changed: dict[str, float] = {}
        heard = [
            asyncio.create_task(_heard(socket, members[number // OF_EACH][0], changed))
            for number, socket in enumerate(sockets)
        ]
        for number, (member, _) in enumerate(members):
            given = {"member": member, "points": 1, "reason": "Benchmark", "idempotencyKey": f"bench-{number:06}"}
            changed[member] = time.perf_counter()
            await _ask(client, _ADJUST, {"i": given}, token=staff)
        delays = sorted(await asyncio.gather(*heard))
        await asyncio.gather(*(socket.close() for socket in sockets))
    return Sample(
        subscriptions=subscriptions,
        members=len(members),
        before_bytes=before,
        after_bytes=after,
        p50_ms=percentile(delays, 0.5),
        p99_ms=percentile(delays, 0.99),
    )


async def _opened(address: str, tokens: list[str]) -> list[ClientConnection]:
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(token: str) -> ClientConnection:
        async with turn:
            socket = await connect(
                f"ws://{address}/graphql/ws", subprotocols=[Subprotocol("graphql-transport-ws")], compression=None
            )
            payload = {"Authorization": f"Bearer {token}"}
            await socket.send(json.dumps({"type": "connection_init", "payload": payload}))
            await socket.recv()
            await socket.send(json.dumps({"type": "subscribe", "id": "1", "payload": {"query": _CHANGED}}))
            return socket

    return await asyncio.gather(*(one(token) for token in tokens))


async def _heard(socket: ClientConnection, member: str, changed: dict[str, float]) -> float:
    """After how many ms the connection heard of the change, counted from when it was asked for."""
    message = json.loads(await socket.recv())
    assert message["type"] == "next", message
    return (time.perf_counter() - changed[member]) * 1000


async def _ask(
    client: httpx.AsyncClient, query: str, variables: dict[str, Any] | None = None, *, token: str | None = None
) -> dict[str, Any]:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    while True:
        answer = await client.post("/graphql", json={"query": query, "variables": variables or {}}, headers=headers)
        if answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
            await asyncio.sleep(int(answer.headers["retry-after"]))
            continue
        found = answer.json()
        assert "errors" not in found, found
        data: dict[str, Any] = found["data"]
        return data


def run(*, subscriptions: int) -> Sample:
    """On a server and a database of its own."""
    port = free_port()
    files = subscriptions * 2 + 1_000
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, max(files, resource.getrlimit(resource.RLIMIT_NOFILE)[1])))
    with (
        tempfile.TemporaryDirectory(prefix="subscriptions-", ignore_cleanup_errors=True) as folder,
        open_embedded(Path(folder)) as embedded,
        wallet_command(embedded.url, "subscriptions") as wallet,
        wallet.serving("--programme", str(PROGRAMME), "--no-worker", port=port) as process,
    ):
        assert isinstance(process, subprocess.Popen)
        return uvloop.run(measure(f"127.0.0.1:{port}", process.pid, subscriptions=subscriptions))


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.subscriptions", description=(__doc__ or "").split("\n", maxsplit=1)[0]
    )
    parser.add_argument("--subscriptions", type=int, default=5_000)
    sample = run(subscriptions=parser.parse_args().subscriptions)
    grown = sample.after_bytes - sample.before_bytes
    row = (
        f"{sample.subscriptions:,}",
        f"{sample.members:,}",
        f"{sample.before_bytes / 2**20:.0f}",
        f"{sample.after_bytes / 2**20:.0f}",
        f"{grown / sample.subscriptions / 1024:.1f}",
        f"{sample.p50_ms:.0f}",
        f"{sample.p99_ms:.0f}",
    )
    show_and_keep(
        "subscriptions",
        "Idle subscriptions in one process, and one change to each",
        columns=COLUMNS,
        rows=[row],
        rounds=[asdict(sample)],
        about=machine(),
        console=Console(),
    )


if __name__ == "__main__":
    main()
