"""How long a report takes over a year of a million entries, and how fast they are counted.

Entries as the journal holds them, but for what no report reads, are put into a database of their own; a worker's
counting takes them in from a scan, as it does after its position was lost; then reports are asked for over a day, a
month and the year, each several times.
"""

import argparse
import statistics
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any, Final

import uvloop
from pymongo import WriteConcern
from rich.console import Console

from benchmarks.ledger import PROGRAMME, server
from benchmarks.measured import machine, show_and_keep
from domain.ledger.accounts import following
from domain.programme.published import Programmes, ensure_first
from domain.reports.counting import Counting
from domain.reports.report import report
from domain.settings import read_settings
from domain.store.codec import to_bson
from domain.store.connection import Store, opened_store
from domain.store.slots import SLOTS, slot_of

YEAR: Final = date(2025, 1, 1)
BATCH: Final = 5_000
PLACES: Final = ("store-330", "store-424", "store-429", "store-318")
COLUMNS: Final = ("period", "entries", "members", "ms, median", "ms, slowest")
PERIODS: Final = (
    ("a day", date(2025, 6, 2), date(2025, 6, 3)),
    ("a month", date(2025, 6, 1), date(2025, 7, 1)),
    ("the year", YEAR, date(2026, 1, 1)),
)


def entries(count: int, members: int) -> Iterator[dict[str, Any]]:
    """A JOIN for each member, then purchases of the year, in time."""
    random = Random(1)
    start = datetime(YEAR.year, 1, 1, 12, tzinfo=UTC)
    ids = [f"member-{number:06}" for number in range(members)]
    sequences = dict.fromkeys(ids, 0)
    for number in range(count):
        is_join = number < members
        member = ids[number] if is_join else random.choice(ids)
        sequences[member] += 1
        total_minor = 0 if is_join else random.randint(100, 9_000)
        points = 100 if is_join else total_minor // 100
        posting = {"source": "programme/points", "destination": "member/available", "asset": "points", "amount": points}
        yield {
            "_id": f"{member}.{sequences[member]}",
            "member": member,
            "slot": slot_of(member),
            "seq": sequences[member],
            "key": f"system|{number}",
            "kind": "JOIN" if is_join else "PURCHASE",
            "occurred_at": start + timedelta(minutes=number * 525_600 // count),
            "posted_at": start + timedelta(minutes=number * 525_600 // count),
            "programme_version": 1,
            "postings": [posting] if points else [],
            "changes": {"lifetime_points": points},
            **(
                {}
                if is_join
                else {"place": random.choice(PLACES), "purchase": {"total_minor": total_minor, "currency": "USD"}}
            ),
        }


async def fill(store: Store, count: int, members: int) -> None:
    journal = store.journal.with_options(write_concern=WriteConcern(w=1, j=False))
    batch: list[dict[str, Any]] = []
    for entry in entries(count, members):
        batch.append(to_bson(entry))
        if len(batch) == BATCH:
            await journal.insert_many(batch, ordered=False)
            batch = []
    if batch:
        await journal.insert_many(batch, ordered=False)


async def measure(url: str, *, count: int, members: int, times: int) -> tuple[float, dict[str, list[float]]]:
    """Seconds of counting everything anew, and milliseconds of each report by period."""
    settings = read_settings(
        {"WALLET_MODE": "sandbox", "WALLET_MONGODB_URL": url, "WALLET_DATABASE": "benchmark_report"}
    )
    taken: dict[str, list[float]] = {name: [] for name, _, _ in PERIODS}
    async with opened_store(settings) as store:
        await ensure_first(store, PROGRAMME.read_text(encoding="utf-8"), now=datetime.now(UTC))
        programmes = await Programmes.open(store)
        await fill(store, count, members)
        print(f"{count:,} entries are in the journal", flush=True)
        begun = time.perf_counter()
        async with following(store, dict.fromkeys(range(SLOTS), 1), beside=Counting(store, programmes)) as journal:
            counting_seconds = time.perf_counter() - begun
            await journal.count(await journal.arrived())
        print(f"counted in {counting_seconds:,.0f} s", flush=True)
        for _ in range(times):
            for name, since, until in PERIODS:
                begun = time.perf_counter()
                found = await report(store, programmes, since=since, until=until)
                taken[name].append((time.perf_counter() - begun) * 1000)
                assert found.members == members or until < date(2026, 1, 1), found.members
        await store.client.drop_database(store.database)
    return counting_seconds, taken


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--members", type=int, default=50_000)
    parser.add_argument("--times", type=int, default=5, help="each report is asked for so often")
    parser.add_argument("--mongodb-url", help="instead of an embedded server")
    arguments = parser.parse_args()
    with server(arguments.mongodb_url) as url:
        seconds, taken = uvloop.run(
            measure(url, count=arguments.entries, members=arguments.members, times=arguments.times)
        )
    rows = [
        (
            name,
            f"{arguments.entries:,}",
            f"{arguments.members:,}",
            f"{statistics.median(each):,.0f}",
            f"{max(each):,.0f}",
        )
        for name, each in taken.items()
    ]
    about = machine() | {
        "counting anew": f"{seconds:,.0f} s for all entries ({arguments.entries / seconds:,.0f} a second)"
    }
    show_and_keep("report", "Reports", columns=COLUMNS, rows=rows, rounds=taken, about=about, console=Console())


if __name__ == "__main__":
    main()
