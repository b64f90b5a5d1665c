"""The home screen of a member's app, beside a bare graphql-core and Apollo Server with the same shapes from memory.

    ours     the document as the API runs it: valid documents kept, access checked, everything read from the database
    bare     graphql-core's own executor over the same schema and document, parsed before, on dictionaries in memory
    apollo   Apollo Server 5 on Node, the same schema and data in memory, by `executeOperation`, documents kept

The peers read no database, check no access and work nothing out, so they are what executing alone costs. What counts is
processor time of the contestant's process for one query, in rounds that are interleaved; ratios are within a round.
"""

import argparse
import json
import statistics
import subprocess
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any, Final

import structlog
import uvloop
from graphql import build_schema as built
from graphql import execute_sync, parse
from rich.console import Console

from api.access import MemberCaller
from api.context import Context, Services
from api.edge.documents import Documents
from api.schema import build_schema, sdl
from api.services import opened_services
from benchmarks.ledger import PROGRAMME, server
from benchmarks.measured import machine, show_and_keep
from benchmarks.workload import Till
from domain.ledger.command import fingerprint_of
from domain.members.enrolment import Enrolled, enrol
from domain.members.member import Profile
from domain.settings import read_settings

PEER: Final = Path(__file__).parent / "peers" / "apollo"
OURS, BARE, APOLLO = "ours", "bare graphql-core", "Apollo Server 5"
PURCHASES: Final = 60
COLUMNS: Final = ("contestant", "CPU µs a query", "queries/s", "CPU × bare")
HOME: Final = """
query Home {
  me {
    id
    wallet {
      version
      points { available pending held owed lifetimeEarned expiring { amount at } }
      prepaid { available { amount currency } held { amount currency } }
      cashback { available { amount currency } pending { amount currency } }
      bonuses { id worthNow { amount currency } expiresAt }
      activity(first: 10) {
        nodes { id kind title occurredAt points money { pocket amount { amount currency } } }
        pageInfo { hasNextPage endCursor }
      }
    }
    tier { tier { id name benefits } metric next { id name from } toNext validUntil }
    badges { badge { id name levels } level count nextLevelAt }
    streaks { streak name period current longest freezesLeft safe atRiskAt nextMilestone }
    stampCards { card name stamps size completed }
  }
}
"""


class Ours:
    """The API's own way from a document to the answer, for one member."""

    def __init__(self, services: Services, member: str) -> None:
        self._documents = Documents(build_schema(sandbox=True), open_to_all=True)
        self._services = services
        self._member = member

    async def ask(self) -> dict[str, Any]:
        operation = self._documents.select(self._documents.prepare(HOME), None)
        await self._services.clock.refresh()
        context = Context(
            caller=MemberCaller(member_id=self._member),
            request_id="home",
            now=self._services.clock.now(),
            locale="en",
            wallet=self._services,
        )
        self._documents.admit(operation, context.caller)
        response = await self._documents.run(operation, {}, context)
        assert "errors" not in response.body, response.body
        found: dict[str, Any] = response.body["data"]
        return found


async def drive(ask: Callable[[], Awaitable[Any]], seconds: float) -> tuple[int, float]:
    """One query after the other: how many, and the processor time of this process."""
    queries, cpu, end = 0, time.process_time(), time.perf_counter() + seconds
    while time.perf_counter() < end:
        await ask()
        queries += 1
    return queries, time.process_time() - cpu


async def measure(
    url: str, apollo: "subprocess.Popen[str] | None", *, rounds: int, seconds: float
) -> tuple[dict[str, list[tuple[int, float]]], float]:
    """Contestant → (queries, CPU seconds) by round; and how many reads of the database one of our queries takes."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    settings = read_settings(
        {"WALLET_MONGODB_URL": url, "WALLET_DATABASE": "benchmark_home", "WALLET_PROGRAMME": str(PROGRAMME)},
        mode="sandbox",
    )
    async with opened_services(settings, serves=True) as services:
        ours = Ours(services, await a_member(services))
        data = json.loads(json.dumps(await ours.ask()))
        schema, document = built(sdl()), parse(HOME)

        async def bare() -> Any:
            result = execute_sync(schema, document, root_value=data)
            assert result.errors is None, result.errors
            return result.data

        assert await bare() == data
        found: dict[str, list[tuple[int, float]]] = {OURS: [], BARE: []}
        if apollo is not None:
            assert told(apollo, {"sdl": sdl(), "query": HOME, "data": data})["data"] == data
            found[APOLLO] = []
        before = await reads(services)
        for _ in range(100):
            await ours.ask()
        reads_a_query = (await reads(services) - before) / 100
        for number in range(rounds + 1):
            taken = {OURS: await drive(ours.ask, seconds), BARE: await drive(bare, seconds)}
            if apollo is not None:
                answered = told(apollo, {"seconds": seconds})
                taken[APOLLO] = (answered["queries"], answered["cpu_seconds"])
            for name, sample in taken.items():
                if number:
                    found[name].append(sample)
        await services.store.client.drop_database(services.store.database)
    return found, reads_a_query


async def a_member(services: Services) -> str:
    """A member who has shopped for a while."""
    enrolled = await enrol(
        services.ledger,
        client_id="till",
        reference="card-1",
        profile=Profile(),
        key="enrol-card-1",
        fingerprint=fingerprint_of("enrolMember", {"reference": "card-1"}),
        now=datetime.now(UTC),
    )
    assert isinstance(enrolled, Enrolled), enrolled
    till = Till((enrolled.member,), Random(1))
    for _ in range(PURCHASES):
        await services.ledger.commit(till.purchase())
    return enrolled.member.id


async def reads(services: Services) -> float:
    """Queries that the server has answered so far."""
    status = await services.store.client.admin.command("serverStatus")
    counted: float = status["opcounters"]["query"]
    return counted


def told(peer: "subprocess.Popen[str]", request: Mapping[str, Any]) -> Any:
    assert peer.stdin is not None
    assert peer.stdout is not None
    peer.stdin.write(json.dumps(request) + "\n")
    peer.stdin.flush()
    return json.loads(peer.stdout.readline())


def open_apollo(console: Console) -> "subprocess.Popen[str] | None":
    """Apollo in a process of its own, of the lock file's exact versions; None where it cannot be."""
    try:
        if not (PEER / "node_modules" / "@apollo").is_dir():
            subprocess.run(
                ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=PEER, check=True, capture_output=True
            )
        return subprocess.Popen(["node", "run.mjs"], cwd=PEER, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    except (OSError, subprocess.CalledProcessError) as error:
        console.print(f"[yellow]Apollo Server is left out: {error}")
        return None


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.home_screen", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--seconds", type=float, default=2.0, help="of each round and contestant")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--mongodb-url", help="instead of an embedded server")
    arguments = parser.parse_args()
    console, apollo = Console(), None
    try:
        apollo = open_apollo(console)
        with server(arguments.mongodb_url) as url:
            measured = measure(url, apollo, rounds=arguments.rounds, seconds=arguments.seconds)
            found, reads_a_query = uvloop.run(measured)
    finally:
        if apollo is not None:
            apollo.terminate()
            apollo.wait()
    cpu = {name: [seconds / queries * 1e6 for queries, seconds in taken] for name, taken in found.items()}
    rows = [
        (
            name,
            f"{statistics.median(own):,.0f}",
            f"{statistics.median(queries / arguments.seconds for queries, _ in found[name]):,.0f}",
            f"{statistics.median(each / base for each, base in zip(own, cpu[BARE], strict=True)):.2f}",
        )
        for name, own in cpu.items()
    ]
    about = machine() | {
        "rounds": f"{arguments.rounds} of {arguments.seconds:g} s",
        "database reads of ours, a query": f"{reads_a_query:.1f}",
    }
    show_and_keep(
        "home_screen", "The home screen", columns=COLUMNS, rows=rows, rounds=cpu, about=about, console=console
    )


if __name__ == "__main__":
    main()
