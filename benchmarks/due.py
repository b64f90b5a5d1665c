"""What it costs to find and claim what is due among 1,000 that wait and among a million (SEMANTICS §6.3, §10.1).

Three kinds of work of a worker that holds all slots: taking the first of every kind (the agenda), finding the members
whose runs are due and claiming a send of each, and finding the members to whom a date comes. The same number is due in
both sizes; the rest waits for later. Then a paused cascade holds as many more that are overdue, 100,000 at most.
`examined` are the documents that the server looked at for each that it returned.
"""

import argparse
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

import structlog
import uvloop
from rich.console import Console

from benchmarks.ledger import server
from benchmarks.measured import machine, show_and_keep
from benchmarks.waiting import fill, member_name, opened_office, run_documents, waiting_run
from domain.store.connection import Document
from domain.store.slots import SLOTS, slot_of
from notifications.agenda import MESSAGES, agenda
from notifications.control import CascadeState, set_state
from notifications.due_runs import due_members
from notifications.office import Office, claim_run
from notifications.run import Claim, Run, delivery_id, run_id

DUE: Final = 200
LATER: Final = timedelta(days=30)
PAUSED: Final = "win-back"
MOST_PAUSED: Final = 100_000
COLUMNS: Final = ("work", "waiting", "ms", "× the smaller", "index", "examined / returned")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """`milliseconds` of each time; `index` and documents are those of `explain`, where it was asked."""

    work: str
    waiting: int
    milliseconds: list[float]
    index: str = "–"
    examined: int | None = None
    returned: int | None = None


def recipients(count: int, *, now: datetime) -> Iterator[Document]:
    """Members with a date: the first ones now, the others some day."""
    for number in range(count):
        due_at = now if number < DUE else now + LATER * (number / count)
        member = member_name(number)
        yield {
            "_id": member,
            "slot": slot_of(member),
            "places": {},
            "sequence": 1,
            "version": 1,
            "due_at": due_at,
            "told": [],
            "started": {},
            "revision": 1,
        }


def runs(count: int, *, now: datetime) -> Iterator[Run]:
    for number in range(count):
        yield waiting_run(number, now=now, due_at=now if number < DUE else now + LATER * (number / count))


def paused_runs(count: int, *, now: datetime) -> Iterator[Run]:
    """Overdue for up to a day."""
    for number in range(count):
        run = waiting_run(number, now=now, due_at=now - timedelta(days=1) * (number / count))
        yield replace(run, id=run_id(PAUSED, run.member, run.signal), cascade=PAUSED)


async def timed(work: Callable[[], Awaitable[Any]], times: int) -> list[float]:
    took = []
    for _ in range(times):
        began = time.perf_counter()
        await work()
        took.append((time.perf_counter() - began) * 1000)
    return took


async def explained(office: Office, collection: str, now: datetime) -> tuple[str, int, int]:
    """The index that finds what is due, the documents examined, and those returned."""
    query = {"slot": {"$in": list(range(SLOTS))}, "due_at": {"$exists": True, "$lte": now}}
    find = {"find": collection, "filter": query, "sort": {"due_at": 1}, "limit": DUE}
    told = await office.store.database.command("explain", find, verbosity="executionStats")
    statistics_ = told["executionStats"]
    return _index(told["queryPlanner"]["winningPlan"]), statistics_["totalDocsExamined"], statistics_["nReturned"]


def _index(plan: Any) -> str:
    """The name of the index that the plan stands on, or COLLSCAN."""
    if isinstance(plan, dict):
        if plan.get("stage") in {"IXSCAN", "COLLSCAN"}:
            return str(plan.get("indexName", "COLLSCAN"))
        return next((found for value in plan.values() if (found := _index(value))), "")
    if isinstance(plan, list):
        return next((found for value in plan if (found := _index(value))), "")
    return ""


async def claims(office: Office, now: datetime) -> list[float]:
    """Milliseconds of each claim of the runs that are due."""
    taken = []
    for number in range(DUE):
        run = waiting_run(number, now=now, due_at=now)
        claim = Claim(
            step=0,
            delivery=delivery_id(run.id, 0),
            channel="PUSH",
            template="earned-1",
            claimed_at=now,
            expires_at=now + LATER,
            by=office.by,
        )
        began = time.perf_counter()
        assert await claim_run(office, replace(run, claim=claim))
        taken.append((time.perf_counter() - began) * 1000)
    return taken


async def measure(url: str, *, waiting: int, times: int) -> list[Sample]:
    async with opened_office(url, f"due_{waiting}") as opened:
        office, now = opened.office, opened.clock.now()
        await fill(office.store.runs, run_documents(runs(waiting, now=now)))
        await fill(office.store.recipients, recipients(waiting, now=now))
        print(f"{waiting:,} runs and {waiting:,} dates wait", flush=True)
        slots = range(SLOTS)

        async def first() -> None:
            assert await agenda(office.store, slots, until=now, version=1, kinds=MESSAGES)

        async def due() -> None:
            assert len(await due_members(office, slots, until=now)) == DUE

        async def dates() -> None:
            came = {"slot": {"$in": list(slots)}, "due_at": {"$exists": True, "$lte": now}}
            found = office.store.recipients.find(came, {"_id": True}).sort("due_at", 1).limit(DUE)
            assert len(await found.to_list()) == DUE

        first_ms, due_ms, dates_ms = [await timed(work, times) for work in (first, due, dates)]
        found = [await explained(office, each.name, now) for each in (office.store.runs, office.store.recipients)]
        claim_ms = await claims(office, now)
        await fill(office.store.runs, run_documents(paused_runs(min(waiting, MOST_PAUSED), now=now)))
        await set_state(office.store, PAUSED, CascadeState.PAUSED, now=now)
        paused_ms = await timed(due, times)
        return [
            Sample(work="the first of every kind", waiting=waiting, milliseconds=first_ms),
            _found(f"find {DUE} due runs", waiting, due_ms, found[0]),
            Sample(work="claim one", waiting=waiting, milliseconds=claim_ms),
            _found(f"find {DUE} dates that came", waiting, dates_ms, found[1]),
            Sample(work=f"find {DUE} due runs beside paused ones", waiting=waiting, milliseconds=paused_ms),
        ]


def _found(work: str, waiting: int, milliseconds: list[float], told: tuple[str, int, int]) -> Sample:
    index, examined, returned = told
    return Sample(
        work=work, waiting=waiting, milliseconds=milliseconds, index=index, examined=examined, returned=returned
    )


def rows_of(small: list[Sample], large: list[Sample]) -> list[list[str]]:
    rows = []
    for one, other in zip(small, large, strict=True):
        base = statistics.median(one.milliseconds)
        for each in (one, other):
            median = statistics.median(each.milliseconds)
            rows.append(
                [
                    each.work,
                    f"{each.waiting:,}",
                    f"{median:,.1f}",
                    f"{median / base:.2f}",
                    each.index,
                    "–" if each.examined is None else f"{each.examined} / {each.returned}",
                ]
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.due", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--waiting", type=int, default=1_000_000)
    parser.add_argument("--times", type=int, default=50)
    parser.add_argument("--mongodb-url", help="instead of an embedded server")
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    with server(arguments.mongodb_url) as url:
        small = uvloop.run(measure(url, waiting=1_000, times=arguments.times))
        large = uvloop.run(measure(url, waiting=arguments.waiting, times=arguments.times))
    show_and_keep(
        "due",
        "What is due among what waits",
        columns=COLUMNS,
        rows=rows_of(small, large),
        rounds=[asdict(each) for each in (*small, *large)],
        about=machine(),
        console=Console(),
    )


if __name__ == "__main__":
    main()
