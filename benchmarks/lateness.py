"""How late 10,000 messages go out that fall due within one minute, by one worker (SEMANTICS §10.17: 99 % within 1 s).

Their instants are spread evenly. Late is from the instant that a run is due to when FCM's stand-in, a process of its
own, has its message. What a message takes of the database is counted beside it, and what all of them take at once.
"""

import argparse
import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import httpx
import structlog
import uvloop
from pymongo import monitoring
from rich.console import Console

from benchmarks.ledger import server
from benchmarks.measured import machine, percentile, show_and_keep
from benchmarks.waiting import Opened, fill, members, opened_office, phones_of, run_documents, waiting_run
from notifications.phone.process import running_phones
from notifications.run import delivery_id
from notifications.worker import Worker

AHEAD: Final = timedelta(seconds=5)
COLUMNS: Final = ("messages", "within", "p50 ms", "p99 ms", "slowest ms", "within 1 s", "commands a message", "CPU ms")


@dataclass
class Commands(monitoring.CommandListener):
    """How many commands the process sent to the database, by name."""

    sent: Counter[str] = field(default_factory=Counter)

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        self.sent[event.command_name] += 1

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        pass

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Lateness of each message, in order; `commands` are those of the worker, `cpu_seconds` its process's."""

    seconds: float
    late_ms: list[float]
    commands: dict[str, int]
    cpu_seconds: float


async def measure(opened: Opened, phones: str, commands: Commands, *, count: int, seconds: float) -> Sample:
    """Makes the runs, has them sent, and reads from the stand-in when each message came. 0 seconds is all at once."""
    office, now = opened.office, opened.clock.now()
    await fill(office.store.members, members(count, now))
    await fill(office.store.devices, phones_of(count, now))
    begin = opened.clock.now() + AHEAD + timedelta(seconds=count / 4_000)
    runs = [
        waiting_run(number, now=now, due_at=begin + timedelta(seconds=seconds * number / count))
        for number in range(count)
    ]
    await fill(office.store.runs, run_documents(runs))
    assert opened.clock.now() < begin, "the runs took too long to make"
    worker = Worker(office.store, opened.clock, opened.ledger, office=office)
    working = asyncio.create_task(worker.run())
    await asyncio.sleep(max(0.0, (begin - opened.clock.now()).total_seconds() - 0.5))
    commands.sent.clear()
    cpu = time.process_time()
    async with httpx.AsyncClient(base_url=phones, timeout=90) as client:
        ledger: list[dict[str, Any]] = []
        while len(ledger) < count:
            ledger = (await client.get("/phone/ledger", params={"at_least": count})).json()
        await client.delete("/phone")
    cpu, sent = time.process_time() - cpu, dict(commands.sent)
    worker.stop()
    await working
    due = {delivery_id(run.id, 0): run.due_at for run in runs}
    late = [
        (datetime.fromisoformat(entry["at"]) - at).total_seconds() * 1000
        for entry in ledger
        if (at := due[entry["message"]["data"]["delivery_id"]]) is not None
    ]
    for collection in (office.store.members, office.store.devices, office.store.runs):
        await collection.delete_many({})
    return Sample(seconds=seconds, late_ms=sorted(late), commands=sent, cpu_seconds=cpu)


def row(sample: Sample) -> list[str]:
    count = len(sample.late_ms)
    return [
        f"{count:,}",
        f"{sample.seconds:g} s",
        f"{percentile(sample.late_ms, 0.5):,.0f}",
        f"{percentile(sample.late_ms, 0.99):,.0f}",
        f"{sample.late_ms[-1]:,.0f}",
        f"{sum(late <= 1000 for late in sample.late_ms) / count:.1%}",
        f"{sum(sample.commands.values()) / count:.1f}",
        f"{sample.cpu_seconds / count * 1000:.1f}",
    ]


def figures(sample: Sample) -> dict[str, Any]:
    shares = {f"p{share:g}": percentile(sample.late_ms, share / 100) for share in (10, 50, 90, 99, 99.9, 100)}
    return {"seconds": sample.seconds, "commands": sample.commands, "cpu_s": sample.cpu_seconds, "late_ms": shares}


async def run(url: str, phones: str, commands: Commands, arguments: argparse.Namespace) -> list[Sample]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    wanted = [(arguments.messages, arguments.seconds), (min(arguments.messages, 2_000), 0.0)]
    async with opened_office(url, "lateness", phones=phones) as opened:
        return [await measure(opened, phones, commands, count=count, seconds=seconds) for count, seconds in wanted]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lateness", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=60.0, help="within which they fall due")
    parser.add_argument("--mongodb-url", help="instead of an embedded server")
    arguments = parser.parse_args()
    commands = Commands()
    monitoring.register(commands)
    with server(arguments.mongodb_url) as url, running_phones() as phones:
        samples = uvloop.run(run(url, phones, commands, arguments))
    show_and_keep(
        "lateness",
        "How late messages go out",
        columns=COLUMNS,
        rows=[row(sample) for sample in samples],
        rounds=[figures(sample) for sample in samples],
        about=machine(),
        console=Console(),
    )


if __name__ == "__main__":
    main()
