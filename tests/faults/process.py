"""A process of its own that works on the database of a test and is killed, by itself, at one exact place.

    python -m tests.faults.process '{"url": …, "database": …, "killed": …, "member": …, "commands": […]}'

`killed` is {"command", "collection", "when"}: the process sends itself SIGKILL just before such a command is
sent to the server (`before`), or as soon as its answer is there (`after`). With `commands` it commits them all
at once; without it runs a worker until it is killed or told to stop by a line on its input.
"""

import asyncio
import json
import os
import signal
import sys
from typing import Any

from pymongo import monitoring

from domain.ledger.command import Command
from domain.ledger.commit import Ledger
from domain.members.member import Member, member_by_id
from domain.programme.published import Programmes
from domain.settings import read_settings
from domain.store.clock import SandboxClock
from domain.store.connection import open_store
from notifications.worker import Worker
from tests.ledger.shop import Shop


class Death(monitoring.CommandListener):
    """Kills its process at the place."""

    def __init__(self, *, command: str, collection: str, when: str) -> None:
        self.command = command
        self.collection = collection
        self.when = when
        self.sent: set[int] = set()

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        if event.command_name == self.command and event.command[self.command] == self.collection:
            if self.when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            self.sent.add(event.request_id)

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        if event.request_id in self.sent:
            os.kill(os.getpid(), signal.SIGKILL)

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        del event


def command_of(shop: Shop, member: Member, given: dict[str, Any]) -> Command:
    if "adjust" in given:
        return shop.adjustment(member, given["adjust"], key=given["key"])
    return shop.purchase(member, given["total_minor"], key=given["key"], receipt=given["receipt"])


async def main(told: dict[str, Any]) -> None:
    if told.get("killed"):
        monitoring.register(Death(**told["killed"]))
    settings = read_settings({}, mode="sandbox", mongodb_url=told["url"], database=told["database"])
    store = await open_store(settings)
    clock = SandboxClock(store)
    await clock.refresh()
    programmes = await Programmes.open(store)
    ledger = Ledger(store, clock, programmes)
    if told.get("commands"):
        member = await member_by_id(store, told["member"])
        assert member is not None
        shop = Shop(store=store, clock=clock, programmes=programmes, ledger=ledger)
        await shop.all(command_of(shop, member, given) for given in told["commands"])
    else:
        worker = Worker(store, clock, ledger, lease_seconds=told["lease_seconds"])
        running = asyncio.create_task(worker.run())
        await asyncio.to_thread(sys.stdin.readline)
        worker.stop()
        await running
    await ledger.close()
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
