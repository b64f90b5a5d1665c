"""Workers that send, each killed at one named place on the way; the last one lives.

    python -m tests.faults.sending '{"url": …, "database": …, "phones": …}'

Each line of the input is one worker: {"point", "time"} has it kill itself when it comes to the point for the n-th
time; without a point it lives until it is told to stop by a signal. Says on its output which process it is, and
how that ended. The workers are forked, which spares each of them the imports.
"""

import asyncio
import json
import os
import signal
import sys
from typing import Any

import structlog
from pymongo import monitoring

from domain.ledger.commit import Ledger
from domain.programme.published import Programmes
from domain.settings import read_settings
from domain.store.clock import SandboxClock
from domain.store.connection import open_store
from notifications.channel import Channel
from notifications.firebase.bearer import FixedBearer
from notifications.firebase.carrier import FirebaseCarrier
from notifications.firebase.rate import Rate
from notifications.office import Office
from notifications.worker import Worker
from tests.faults.process import Death

LEASE_SECONDS = 1.0
SIGNAL_STORED = "signal stored"
"""Not a point of the engine's: nothing was done about the signal yet."""


class DeathAtPoint:
    """Kills its process at the point."""

    def __init__(self, point: str | None, time: int) -> None:
        self.point = point
        self.left = time

    def at(self, point: str) -> None:
        if point == self.point:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


async def work(told: dict[str, Any], death: DeathAtPoint) -> None:
    if death.point == SIGNAL_STORED:
        monitoring.register(Death(command="insert", collection="runs", when="before"))
    settings = read_settings({}, mode="sandbox", mongodb_url=told["url"], database=told["database"])
    store = await open_store(settings)
    clock = SandboxClock(store)
    await clock.refresh()
    programmes = await Programmes.open(store)
    ledger = Ledger(store, clock, programmes)
    carrier = FirebaseCarrier(url=told["phones"], project="test", bearer=FixedBearer("test"), rate=Rate(10_000.0))
    office = Office(
        store=store,
        clock=clock,
        programmes=programmes,
        carriers={Channel.PUSH: carrier},
        claim_seconds=LEASE_SECONDS,
        at=death.at,
    )
    worker = Worker(store, clock, ledger, office=office, lease_seconds=LEASE_SECONDS)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
    await worker.run()
    await carrier.close()
    await ledger.close()
    await store.close()


def forked(told: dict[str, Any], death: DeathAtPoint) -> int:
    child = os.fork()
    if child == 0:
        asyncio.run(work(told, death))
        os._exit(0)
    return child


def say(**told: Any) -> None:
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


def main(told: dict[str, Any]) -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    for line in sys.stdin:
        wanted = json.loads(line)
        child = forked(told, DeathAtPoint(wanted["point"], wanted["time"]))
        say(started=child)
        say(ended=os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
