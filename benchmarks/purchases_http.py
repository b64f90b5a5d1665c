"""How many purchases a second one API process takes over HTTP, and how much of a core each of them costs.

A production server (`wallet serve`) answers `recordPurchase` to a client in another process, which holds a
token of `/oauth/token` and keeps 32 connections busy. Since the machine may be shared, what counts is the
processor time of the server's process: purchases per second of it are purchases per second and core.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

import httpx
import uvloop
from rich.console import Console

from benchmarks.measured import machine, percentile, show_and_keep
from domain.money import to_decimal
from domain.store.embedded import open_embedded

ROOT: Final = Path(__file__).parents[1]
CONNECTIONS: Final = 32
MEMBERS: Final = 500
START_SECONDS: Final = 60.0
COLUMNS: Final = ("round", "purchases/s", "p50 ms", "p99 ms", "CPU ms per 1,000", "purchases per CPU second")

_WALLET: Final = (sys.executable, "-c", "from api.command.cli import main; main()")
_SCOPES: Final = "members:enrol,members:read,wallet:read,activity:write"
_ENROL: Final = "mutation ($input: EnrolMemberInput!) { enrolMember(input: $input) { __typename } }"
_RECORD: Final = """
mutation Record($input: PurchaseInput!) {
  recordPurchase(input: $input) {
    __typename
    ... on PurchaseRecorded {
      replayed
      entry { id points explanation { rule points } }
      member { wallet { points { available } } }
    }
    ... on Problem { code message }
  }
}"""
_PLACES: Final = ("store-330", "store-424", "store-429", "store-318")
_CATEGORIES: Final = ("PASTRY", "PRODUCE", "GROCERY", "MEAT", "DRUG GM", "DELI")


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What the client does: so many connections, each with one request after the other, for so long."""

    host: str
    port: int
    token: str
    seconds: float
    connections: int
    run: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One round: purchases a second, latencies in ms, and processor time of the server per purchase."""

    purchases: int
    failed: int
    rate: float
    p50_ms: float
    p99_ms: float
    server_cpu_seconds: float

    @property
    def cpu_ms_per_1000(self) -> float:
        return self.server_cpu_seconds / self.purchases * 1e6

    @property
    def per_cpu_second(self) -> float:
        return self.purchases / self.server_cpu_seconds


def drive(load: Load) -> dict[str, Any]:
    """The client process: `latencies_ms`, `seconds`, and how many `failed`."""
    return uvloop.run(_drive(load))


async def _drive(load: Load) -> dict[str, Any]:
    latencies: list[float] = []
    failed = 0
    begun = time.perf_counter()
    end = begun + load.seconds

    async def connection(number: int) -> None:
        nonlocal failed
        random, count = Random(load.run * 1_000 + number), 0
        reader, writer = await asyncio.open_connection(load.host, load.port)
        while time.perf_counter() < end:
            count += 1
            request = _request(load, _purchase(f"{load.run}-{number}-{count}", random))
            at = time.perf_counter()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            body = await reader.readexactly(_length(head))
            latencies.append((time.perf_counter() - at) * 1000)
            failed += not (head.startswith(b"HTTP/1.1 200") and b'"PurchaseRecorded"' in body)
            if failed == 1:
                print(body.decode(), file=sys.stderr)
        writer.close()

    await asyncio.gather(*(connection(number) for number in range(load.connections)))
    return {"latencies_ms": latencies, "seconds": time.perf_counter() - begun, "failed": failed}


def _purchase(name: str, random: Random) -> dict[str, Any]:
    """The variables of one purchase of one to five lines."""
    lines_minor = [random.randint(100, 2_500) for _ in range(random.randint(1, 5))]
    return {
        "member": {"reference": f"card-{random.randrange(MEMBERS)}"},
        "receipt": f"R-{name}",
        "total": {"amount": to_decimal(sum(lines_minor), "USD"), "currency": "USD"},
        "place": random.choice(_PLACES),
        "lines": [
            {
                "sku": str(random.randint(100_000, 999_999)),
                "category": random.choice(_CATEGORIES),
                "amount": to_decimal(minor, "USD"),
            }
            for minor in lines_minor
        ],
        "idempotencyKey": f"purchase-{name}",
    }


def _request(load: Load, purchase: Mapping[str, Any]) -> bytes:
    body = json.dumps({"query": _RECORD, "variables": {"input": purchase}}).encode()
    return (
        f"POST /graphql HTTP/1.1\r\nHost: {load.host}:{load.port}\r\nAuthorization: Bearer {load.token}\r\n"
        f"Content-Type: application/json\r\nAccept: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    raise AssertionError(head)


@contextmanager
def served(data: Path, command: tuple[str, ...]) -> Iterator[tuple[int, str, str]]:
    """A production server on a new database: its process id, its address, and a partner's token."""
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    with open_embedded(data) as embedded:
        environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("WALLET_")},
            "WALLET_MODE": "production",
            "WALLET_MONGODB_URL": embedded.url,
            "WALLET_PUBLIC_URL": url,
            "WALLET_SECRET": secrets.token_hex(32),
            "WALLET_PROGRAMME": str(ROOT / "programme.yaml"),
        }
        _wallet(environ, "init")
        said = _wallet(environ, "partner", "create", "Till", "--scopes", _SCOPES)
        client_id, client_secret = (line.split()[-1] for line in said.splitlines()[-2:])
        # More than a partner may ask for: what is measured is what the server can do.
        _wallet(environ, "partner", "limit", client_id, "--capacity", "10000000", "--per-second", "10000000")
        process = subprocess.Popen(
            [*command, "serve", "--port", str(port), "--no-worker"],
            cwd=ROOT,
            env=environ,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield process.pid, url, _token(process, url, client_id=client_id, client_secret=client_secret)
        finally:
            process.terminate()
            process.wait()


def _wallet(environ: Mapping[str, str], *arguments: str) -> str:
    done = subprocess.run([*_WALLET, *arguments], cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"wallet {' '.join(arguments)} failed: {done.stderr}")
    return done.stdout


def _token(process: subprocess.Popen[bytes], url: str, *, client_id: str, client_secret: str) -> str:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            answer = httpx.post(
                f"{url}/oauth/token", data={"grant_type": "client_credentials"}, auth=(client_id, client_secret)
            )
        except httpx.TransportError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.1)
            continue
        answer.raise_for_status()
        return str(answer.json()["access_token"])


def enrol(url: str, token: str) -> None:
    """The members whom the purchases name by reference."""
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}) as client:
        for number in range(MEMBERS):
            given = {"reference": f"card-{number}", "idempotencyKey": f"enrol-{number:06}"}
            answer = client.post("/graphql", json={"query": _ENROL, "variables": {"input": given}})
            assert '"MemberEnrolled"' in answer.text, answer.text


def cpu_seconds(process: int) -> float:
    """Processor time that the process used so far, user and system."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(*, rounds: int, seconds: float, command: tuple[str, ...] = _WALLET) -> list[Sample]:
    """A warm-up that does not count, then the rounds."""
    samples = []
    spawn = multiprocessing.get_context("spawn")
    with (
        tempfile.TemporaryDirectory(prefix="http-benchmark-", ignore_cleanup_errors=True) as folder,
        served(Path(folder), command) as (server, url, token),
        spawn.Pool(1) as client,
    ):
        enrol(url, token)
        host, port = url.removeprefix("http://").split(":")
        for number in range(rounds + 1):
            before = cpu_seconds(server)
            load = Load(
                host=host,
                port=int(port),
                token=token,
                seconds=seconds if number else min(seconds, 2.0),
                connections=CONNECTIONS,
                run=number,
            )
            answer = client.apply(drive, (load,))
            ordered = sorted(answer["latencies_ms"])
            samples.append(
                Sample(
                    purchases=len(ordered) - answer["failed"],
                    failed=answer["failed"],
                    rate=(len(ordered) - answer["failed"]) / answer["seconds"],
                    p50_ms=percentile(ordered, 0.5),
                    p99_ms=percentile(ordered, 0.99),
                    server_cpu_seconds=cpu_seconds(server) - before,
                )
            )
    return samples[1:]


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def report(samples: list[Sample], about: Mapping[str, str], console: Console) -> None:
    """Prints the rounds with their medians, and keeps them."""
    rows = [(str(number), *_cells([each])) for number, each in enumerate(samples, 1)]
    rows.append(("median", *_cells(samples)))
    if failed := sum(each.failed for each in samples):
        console.print(f"[red]{failed} requests failed and are not counted.")
    show_and_keep(
        "purchases_http",
        f"recordPurchase over HTTP, {CONNECTIONS} connections, one server process",
        columns=COLUMNS,
        rows=rows,
        rounds=[asdict(each) for each in samples],
        about=about,
        console=console,
    )


def _cells(samples: list[Sample]) -> tuple[str, ...]:
    return (
        f"{statistics.median(each.rate for each in samples):,.0f}",
        f"{statistics.median(each.p50_ms for each in samples):.1f}",
        f"{statistics.median(each.p99_ms for each in samples):.1f}",
        f"{statistics.median(each.cpu_ms_per_1000 for each in samples):,.0f}",
        f"{statistics.median(each.per_cpu_second for each in samples):,.0f}",
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.purchases_http", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--seconds", type=float, default=8.0, help="of each round")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    about = machine() | {"members": str(MEMBERS), "rounds": f"{arguments.rounds} of {arguments.seconds:g} s"}
    report(measure(rounds=arguments.rounds, seconds=arguments.seconds), about, Console())


if __name__ == "__main__":
    main()
