"""How many commands a second the ledger commits, beside two other ways to do the same, on one server in one run.

    ours          the group commit of domain/ledger/batch.py
    transaction   one MongoDB transaction per command, around the same decision and the same documents
    medici        npm's double-entry library for MongoDB, used as its README recommends, in a process of its own

Each is driven by so many callers in a closed loop. The rounds are interleaved, so that a noisy neighbour harms
all alike; what is shown is the median over the rounds, and what counts are the ratios. Every write is
acknowledged by a majority and journaled. Run it with `make bench`; `--help` tells what can be changed.
"""

import argparse
import asyncio
import json
import logging
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, Final, Protocol

import structlog
import uvloop
from pymongo import ReadPreference
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern
from rich.console import Console
from rich.progress import Progress

from benchmarks.measured import machine, percentile, show_and_keep
from benchmarks.workload import MEMBERS, REFUSED_SHARE, SPENDING_SHARE, Till, new_members, opening
from domain.ledger.command import Command, refusal_of, situation_of
from domain.ledger.commit import Ledger
from domain.ledger.entry import Entry, entry_document, refusal_document
from domain.ledger.wallet import apply, wallet_document, wallet_from
from domain.members.member import Member
from domain.programme.published import Programmes, ensure_first
from domain.settings import Settings, read_settings
from domain.store.connection import Store, opened_store
from domain.store.embedded import is_stopped, open_embedded

LEVELS: Final = (1, 8, 32, 128, 512)
OPENED_BEFORE: Final = timedelta(days=30)
WARM_UP_CALLERS: Final = 32
PEER: Final = Path(__file__).parent / "peers" / "medici"
PROGRAMME: Final = Path(__file__).parents[1] / "programme.yaml"
STOP_SECONDS: Final = 30.0

OURS, TRANSACTION, MEDICI = "ours", "transaction", "medici"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One round of one contestant: commands a second, latencies in ms, its own CPU time per command in µs."""

    commands: int
    rate: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    refused: int
    failed: int


class Contestant(Protocol):
    """Can be driven by so many callers for so many seconds."""

    name: str

    async def drive(self, callers: int, seconds: float) -> Sample: ...


@dataclass(slots=True)
class Shifted:
    """The system's clock, set back by `behind`, so that opening balances lie in the past."""

    behind: timedelta

    def now(self) -> datetime:
        now = datetime.now(UTC) - self.behind
        return now.replace(microsecond=now.microsecond // 1000 * 1000)

    async def refresh(self) -> None:
        """Nobody else moves it."""


@dataclass(slots=True)
class Local:
    """A contestant in this process: `commit` does one command and tells whether it was refused."""

    name: str
    commit: Callable[[Command], Awaitable[bool]]
    till: Till

    async def drive(self, callers: int, seconds: float) -> Sample:
        latencies: list[float] = []
        refused = failed = 0
        cpu, begun = time.process_time(), time.perf_counter()
        end = begun + seconds

        async def call() -> None:
            nonlocal refused, failed
            while (at := time.perf_counter()) < end:
                try:
                    refused += await self.commit(self.till.purchase())
                except Exception:  # noqa: BLE001 -- whatever it was, the command was not done; the table says so
                    failed += 1
                latencies.append((time.perf_counter() - at) * 1000)

        await asyncio.gather(*(call() for _ in range(callers)))
        elapsed, used = time.perf_counter() - begun, time.process_time() - cpu
        return _sample(latencies, seconds=elapsed, cpu_seconds=used, refused=refused, failed=failed)


@dataclass(slots=True)
class Peer:
    """A contestant in a process of its own, asked and answering in lines of JSON."""

    name: str
    process: asyncio.subprocess.Process

    async def drive(self, callers: int, seconds: float) -> Sample:
        answer = await self.ask({"callers": callers, "seconds": seconds})
        return _sample(
            answer["latencies_ms"],
            seconds=answer["seconds"],
            cpu_seconds=answer["cpu_seconds"],
            refused=answer["refused"],
            failed=answer["failed"],
        )

    async def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
        line = await self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended with {await self.process.wait()}; see above.")
        answer: dict[str, Any] = json.loads(line)
        return answer


@asynccontextmanager
async def ours(url: str, members: Sequence[Member]) -> AsyncIterator[Local]:
    """Our commit, on wallets with value in them."""
    async with opened_ledger(url, OURS, members) as (_, ledger, _):

        async def commit(command: Command) -> bool:
            return not isinstance((await ledger.commit(command)).decided, Entry)

        yield Local(OURS, commit, Till(tuple(members), Random(1)))


@asynccontextmanager
async def transaction(url: str, members: Sequence[Member]) -> AsyncIterator[Local]:
    """The same as one transaction per command."""
    async with opened_ledger(url, TRANSACTION, members) as (store, _, programmes):
        each = OneByOne(store, programmes)
        yield Local(TRANSACTION, each.commit, Till(tuple(members), Random(1)))


@dataclass(frozen=True, slots=True)
class OneByOne:
    """Commits each command in a transaction of its own: claims, wallet, decision, journal, wallet.

    The driver retries a transaction that met another one on the same wallet.
    """

    store: Store
    programmes: Programmes

    async def commit(self, command: Command) -> bool:
        """Whether it was refused."""

        async def body(session: AsyncClientSession) -> bool:
            return await self._body(command, session)

        async with self.store.client.start_session() as session:
            return await session.with_transaction(
                body,
                read_concern=ReadConcern("snapshot"),
                write_concern=WriteConcern(w="majority", j=True),
                read_preference=ReadPreference.PRIMARY,
            )

    async def _body(self, command: Command, session: AsyncClientSession) -> bool:
        now, programme = Shifted(timedelta()).now(), self.programmes.current
        assert command.check is not None
        assert command.check(programme, now) is None
        document = await self.store.wallets.find_one({"_id": command.member}, session=session)
        assert document is not None, command.member
        wallet = wallet_from(document)
        decided = command.decide(situation_of(command, wallet, programme, now=now))
        claims = [
            {"_id": claim, "member": command.member, "key": command.stored_key, "at": now} for claim in command.claims
        ]
        await self.store.claims.insert_many(claims, ordered=False, session=session)
        if isinstance(decided, Entry):
            after = apply(wallet, decided)
            await self.store.journal.insert_one(entry_document(decided), session=session)
            await self.store.wallets.replace_one(
                {"_id": after.member, "seq": wallet.sequence}, wallet_document(after), session=session
            )
            return False
        await self.store.journal.insert_one(refusal_document(refusal_of(command, decided, now)), session=session)
        return True


@asynccontextmanager
async def medici(url: str, members: int) -> AsyncIterator[Peer]:
    """The npm library, installed and driven by node."""
    process = await asyncio.create_subprocess_exec(
        "node",
        *("run.mjs", url, str(SPENDING_SHARE), str(REFUSED_SHARE)),
        cwd=PEER,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=64 * 2**20,
    )
    try:
        peer = Peer(MEDICI, process)
        await peer.ask({"members": members})
        yield peer
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def install_medici(console: Console) -> bool:
    """Installs the exact versions of the lock file; False, with a word why, where that cannot be."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        console.print("[yellow]node or npm is missing: medici is left out.")
        return False
    if (PEER / "node_modules" / "medici").is_dir():
        return True
    command = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
    done = subprocess.run(command, cwd=PEER, capture_output=True, text=True, check=False)
    if done.returncode:
        console.print(f"[yellow]npm ci failed: medici is left out.\n{done.stderr.strip()[-500:]}")
    return done.returncode == 0


@contextmanager
def server(url: str | None) -> Iterator[str]:
    """The address of the server that was given, or of an embedded one on a folder that is removed afterwards."""
    if url is not None:
        yield url
        return
    with tempfile.TemporaryDirectory(prefix="ledger-benchmark-", ignore_cleanup_errors=True) as folder:
        with open_embedded(Path(folder)) as embedded:
            yield embedded.url
        deadline = time.monotonic() + STOP_SECONDS
        while not is_stopped(Path(folder)) and time.monotonic() < deadline:
            time.sleep(0.05)


@asynccontextmanager
async def opened_ledger(
    url: str, name: str, members: Sequence[Member], *, source: str | None = None
) -> AsyncIterator[tuple[Store, Ledger, Programmes]]:
    """A database of its own, empty but for the programme (`source`, or the example) and the members' wallets."""
    async with opened_store(_settings(url, f"benchmark_{name}")) as store:
        clock = Shifted(OPENED_BEFORE)
        await ensure_first(store, source or PROGRAMME.read_text(encoding="utf-8"), now=clock.now())
        programmes = await Programmes.open(store)
        ledger = Ledger(store, clock, programmes)
        try:
            for step in zip(*(opening(member) for member in members), strict=True):
                await asyncio.gather(*(ledger.commit(command) for command in step))
            clock.behind = timedelta()
            await ledger.settle(member.id for member in members)
            yield store, ledger, programmes
        finally:
            await ledger.close()
            await store.client.drop_database(store.database)


def _settings(url: str, database: str) -> Settings:
    return read_settings({"WALLET_MODE": "sandbox", "WALLET_MONGODB_URL": url, "WALLET_DATABASE": database})


def _sample(latencies_ms: Sequence[float], *, seconds: float, cpu_seconds: float, refused: int, failed: int) -> Sample:
    ordered, commands = sorted(latencies_ms), len(latencies_ms)
    return Sample(
        commands=commands,
        rate=(commands - failed) / seconds,
        p50_ms=percentile(ordered, 0.5),
        p99_ms=percentile(ordered, 0.99),
        cpu_us=cpu_seconds / commands * 1e6,
        refused=refused,
        failed=failed,
    )


Samples = dict[int, dict[str, list[Sample]]]
"""Callers → contestant → its rounds."""


async def measure(
    contestants: Sequence[Contestant], levels: Sequence[int], *, rounds: int, seconds: float, console: Console
) -> Samples:
    """All rounds, each at every level with every contestant, who take turns in going first."""
    samples: Samples = {callers: {each.name: [] for each in contestants} for callers in levels}
    for contestant in contestants:
        await contestant.drive(WARM_UP_CALLERS, min(1.0, seconds))
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("rounds", total=rounds * len(levels) * len(contestants))
        for number in range(rounds):
            first = number % len(contestants)
            for callers in levels:
                for contestant in (*contestants[first:], *contestants[:first]):
                    progress.update(task, description=f"{contestant.name}, {callers} callers")
                    samples[callers][contestant.name].append(await contestant.drive(callers, seconds))
                    progress.advance(task)
    return samples


COLUMNS: Final = ("callers", "by", "commands/s", "p50 ms", "p99 ms", "CPU µs", "ours is")


def rows_of(samples: Samples) -> list[list[str]]:
    """A row for each level and contestant: the medians of its rounds, and how many times ours is as fast.

    `CPU µs` is what the contestant's own process used for a command; the server's time is not in it.
    """
    rows = []
    for callers, by_name in samples.items():
        for name, rounds in by_name.items():
            times = f"{ratio(by_name, name):.1f} ×" if OURS in by_name and name != OURS else ""
            rows.append(
                [
                    str(callers),
                    name,
                    f"{statistics.median(each.rate for each in rounds):,.0f}",
                    f"{statistics.median(each.p50_ms for each in rounds):.1f}",
                    f"{statistics.median(each.p99_ms for each in rounds):.1f}",
                    f"{statistics.median(each.cpu_us for each in rounds):,.0f}",
                    times,
                ]
            )
    return rows


def ratio(by_name: Mapping[str, Sequence[Sample]], other: str) -> float:
    """Our commands a second over the other's, as the median over the rounds."""
    return statistics.median(
        mine.rate / theirs.rate for mine, theirs in zip(by_name[OURS], by_name[other], strict=True)
    )


def report(
    name: str,
    title: str,
    *,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    samples: Samples,
    about: Mapping[str, str],
    console: Console,
) -> None:
    """Prints the rows and keeps them with the samples; what failed is said, and not counted."""
    failed = sum(each.failed for by_name in samples.values() for rounds in by_name.values() for each in rounds)
    if failed:
        console.print(f"[red]{failed} failed and are not counted.")
    figures = {
        str(callers): {of: [asdict(each) for each in rounds] for of, rounds in by_name.items()}
        for callers, by_name in samples.items()
    }
    show_and_keep(
        name,
        title,
        columns=columns,
        rows=rows,
        rounds=figures,
        about=about,
        console=console,
        last_of_section=rows[-1][1],
    )


async def run(arguments: argparse.Namespace, url: str, console: Console) -> None:
    members = new_members(arguments.members, datetime.now(UTC) - OPENED_BEFORE)
    about = machine()
    async with AsyncExitStack() as stack:
        contestants: list[Contestant] = []
        async with opened_store(_settings(url, "benchmark")) as store:
            about["mongod"] = (await store.client.server_info())["version"]
        if OURS in arguments.only:
            contestants.append(await stack.enter_async_context(ours(url, members)))
        if TRANSACTION in arguments.only:
            contestants.append(await stack.enter_async_context(transaction(url, members)))
        if MEDICI in arguments.only and install_medici(console):
            contestants.append(await stack.enter_async_context(medici(url, arguments.members)))
            about |= _versions_of_medici()
        about["members"] = str(arguments.members)
        about["rounds"] = f"{arguments.rounds} of {arguments.seconds:g} s, interleaved"
        samples = await measure(
            contestants, arguments.callers, rounds=arguments.rounds, seconds=arguments.seconds, console=console
        )
    report(
        "ledger",
        "Commands a second, medians over the rounds",
        columns=COLUMNS,
        rows=rows_of(samples),
        samples=samples,
        about=about,
        console=console,
    )


def _versions_of_medici() -> dict[str, str]:
    node = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True)
    locked = json.loads((PEER / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    return {
        "medici": locked["node_modules/medici"]["version"],
        "mongoose": locked["node_modules/mongoose"]["version"],
        "node": node.stdout.strip(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ledger", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--callers", type=int, nargs="+", default=LEVELS, help="callers in a closed loop")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--members", type=int, default=MEMBERS)
    every = (OURS, TRANSACTION, MEDICI)
    parser.add_argument("--only", nargs="+", choices=every, default=every, help="leave the others out")
    parser.add_argument("--mongodb-url", help="a server to use in place of an embedded one; it is filled and emptied")
    arguments = parser.parse_args()
    console = Console()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with server(arguments.mongodb_url) as url, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(arguments, url, console))


if __name__ == "__main__":
    main()
