"""The command `wallet` as real processes, on a database of their own on the tests' server."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
from pymongo import MongoClient

ROOT: Final = Path(__file__).parents[1]
PROGRAMME: Final = ROOT / "programme.yaml"
SAMPLE: Final = ROOT / "sample" / "receipts-2017-sample.jsonl.gz"
READY_SECONDS: Final = 180
STOP_SECONDS: Final = 60
HTTP: Final = httpx.Client(timeout=60, limits=httpx.Limits(max_keepalive_connections=0))
"""Asks such a server, on a new connection each time. `httpx.get` makes a context for TLS each time, too: twenty
milliseconds, beside which the question is nothing."""
RUN_SECONDS: Final = 3600
"""Against a command that hangs. A year of receipts takes minutes, on a busy machine many."""


@dataclass(frozen=True, kw_only=True)
class WalletCommand:
    """Runs `wallet` with these variables and no others of its kind."""

    variables: Mapping[str, str]

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            cwd=ROOT,
            env=self.environment(**variables),
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            check=False,
        )

    @contextmanager
    def serving(self, *arguments: str, port: int, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
        """A server that answers; it is killed at the end if it has not stopped before."""
        process = subprocess.Popen(
            self.command("serve", "--port", str(port), *arguments), cwd=ROOT, env=self.environment(**variables)
        )
        try:
            wait_until_ready(port, process)
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(STOP_SECONDS)
                finally:
                    process.kill()
                    process.wait()

    def till(self) -> tuple[str, str]:
        """The client id and the secret of a new partner."""
        made = self.run(
            "partner", "create", "Till", "--scopes", "members:enrol,members:read,activity:write,wallet:read"
        )
        assert made.returncode == 0, made.stderr
        client_id, secret = (line.split()[-1] for line in made.stdout.splitlines())
        return client_id, secret

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-c", "from api.command.cli import main; main()", *arguments]

    def environment(self, **variables: str) -> dict[str, str]:
        others = {name: value for name, value in os.environ.items() if not name.startswith("WALLET_")}
        return {**others, "PYTHONPATH": str(ROOT), **self.variables, **variables}


@contextmanager
def wallet_command(server_url: str, database: str) -> Iterator[WalletCommand]:
    """The command in a sandbox on a fresh database, which is dropped at the end."""
    with MongoClient[dict[str, Any]](server_url) as client:
        client.drop_database(database)
        yield WalletCommand(
            variables={"WALLET_MODE": "sandbox", "WALLET_MONGODB_URL": server_url, "WALLET_DATABASE": database}
        )
        client.drop_database(database)


def wait_until_ready(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, f"the server ended with {process.returncode}"
        with suppress(httpx.TransportError):
            if HTTP.get(f"http://127.0.0.1:{port}/ready").status_code == 200:
                return
        time.sleep(0.05)
    raise AssertionError("the server is not ready")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
