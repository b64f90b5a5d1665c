"""How long after a purchase is posted the runs whose goal it is are over (SEMANTICS §10.17: within one second).

A worker follows the journal by its change stream, as it does always. Each member has a run that waits; he buys
something; a change stream on the runs tells when his is over. Purchases come one after the other, then many at once.
"""

import argparse
import asyncio
import time
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from random import Random
from typing import Final

import structlog
import uvloop
from pymongo.read_concern import ReadConcern
from rich.console import Console

from benchmarks.ledger import server
from benchmarks.measured import machine, percentile, show_and_keep
from benchmarks.waiting import Opened, fill, opened_office, run_documents
from benchmarks.workload import Till
from domain.commands.joining import joining
from domain.ledger.entry import Entry
from domain.members.member import Member
from domain.store.slots import SLOTS, slot_of
from notifications.run import Run, RunEvent, RunState, run_id
from notifications.worker import Worker

COLUMNS: Final = ("purchases", "how", "p50 ms", "p99 ms", "slowest ms", "within 1 s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    how: str
    delays_ms: list[float]


async def measure(url: str, *, count: int, at_once: int) -> list[Sample]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    async with opened_office(url, "goals") as opened:
        now = opened.clock.now()
        members = [Member(id=f"member-{number:06}", joined_at=now) for number in range(count + at_once)]
        documents = ({"_id": each.id, "slot": slot_of(each.id), "joined_at": now, "profile": {}} for each in members)
        await fill(opened.office.store.members, documents)
        await asyncio.gather(*(opened.ledger.commit(joining(member)) for member in members))
        worker = Worker(opened.office.store, opened.clock, opened.ledger, office=opened.office)
        working = asyncio.create_task(worker.run())
        while len(worker.slots) < SLOTS:  # noqa: ASYNC110 -- a worker offers nothing to wait for
            await asyncio.sleep(0.05)
        await heard(opened, len(members))
        await fill(opened.office.store.runs, run_documents(waiting(member, opened) for member in members))
        samples = [
            Sample(how="one after the other", delays_ms=await delays(opened, members[:count], 1)),
            Sample(how=f"{at_once} at once", delays_ms=await delays(opened, members[count:], at_once)),
        ]
        worker.stop()
        await working
        return samples


async def heard(opened: Opened, count: int) -> None:
    """Returns when the worker has heard that all joined, and what started by that is out of the way."""
    store = opened.office.store
    while await store.recipients.count_documents({"sequence": {"$gte": 1}}) < count:  # noqa: ASYNC110 -- the same
        await asyncio.sleep(0.05)
    await store.runs.delete_many({})


def waiting(member: Member, opened: Opened) -> Run:
    """A run of `welcome` that waits for three days."""
    now, signal = opened.clock.now(), f"{member.id}-joined"
    return Run(
        id=run_id("welcome", member.id, signal),
        member=member.id,
        cascade="welcome",
        version=1,
        signal=signal,
        event="joined",
        sequence=1,
        started_at=now,
        due_at=now + timedelta(days=3),
        step=1,
        is_timed=True,
        history=(RunEvent(at=now, what="started", reason="joined"),),
    )


async def delays(opened: Opened, members: list[Member], at_once: int) -> list[float]:
    """Milliseconds from the acknowledgement of each purchase to the end of the member's run, as another sees it."""
    ended: dict[str, float] = {}
    posted: dict[str, float] = {}
    over = asyncio.Event()
    goal = [{"$match": {"fullDocument.state": RunState.GOAL_REACHED.value}}]

    runs = opened.office.store.runs.with_options(read_concern=ReadConcern("majority"))
    async with await runs.watch(goal, full_document="updateLookup") as changes:

        async def follow() -> None:
            while len(ended) < len(members):
                change = await changes.next()
                ended.setdefault(change["fullDocument"]["member"], time.perf_counter())
                over.set()

        async def buy(member: Member) -> None:
            till = Till(members=(member,), random=Random(member.id))
            till.number = 1_000 * int(member.id.rpartition("-")[2])
            # Some of its purchases want cashback that nobody has here; they are refused.
            while not isinstance((await opened.ledger.commit(till.purchase())).decided, Entry):
                pass
            posted[member.id] = time.perf_counter()

        following = asyncio.create_task(follow())
        for first in range(0, len(members), at_once):
            group = members[first : first + at_once]
            await asyncio.gather(*map(partial(buy), group))
            while not all(member.id in ended for member in group):
                over.clear()
                await over.wait()
        await following
    return sorted(max(0.0, ended[member.id] - posted[member.id]) * 1000 for member in members)


def row(sample: Sample) -> list[str]:
    delays_ms = sample.delays_ms
    return [
        f"{len(delays_ms):,}",
        sample.how,
        f"{percentile(delays_ms, 0.5):,.0f}",
        f"{percentile(delays_ms, 0.99):,.0f}",
        f"{delays_ms[-1]:,.0f}",
        f"{sum(delay <= 1000 for delay in delays_ms) / len(delays_ms):.1%}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.goals", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--purchases", type=int, default=400, help="one after the other")
    parser.add_argument("--at-once", type=int, default=100)
    parser.add_argument("--mongodb-url", help="instead of an embedded server")
    arguments = parser.parse_args()
    with server(arguments.mongodb_url) as url:
        samples = uvloop.run(measure(url, count=arguments.purchases, at_once=arguments.at_once))
    show_and_keep(
        "goals",
        "From a purchase to the end of the run whose goal it is",
        columns=COLUMNS,
        rows=[row(sample) for sample in samples],
        rounds={sample.how: sample.delays_ms for sample in samples},
        about=machine(),
        console=Console(),
    )


if __name__ == "__main__":
    main()
