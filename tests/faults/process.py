"""What a process of its own does on the database of a test until it kills itself, at one exact place.

`killed` is {"command", "collection", "when"}: the process sends itself SIGKILL just before such a command is
sent to the server (`before`), or as soon as its answer is there (`after`).
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from pymongo import monitoring

from domain.ledger.command import Command
from domain.ledger.commit import Ledger
from domain.members.member import Member, member_by_id
from domain.programme.published import Programmes
from domain.settings import Settings
from domain.store.clock import SandboxClock
from domain.store.connection import open_store
from notifications.worker import Worker
from tests.forked import Line, told_to_stop
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


def command_of(shop: Shop, member: Member, given: Mapping[str, Any]) -> Command:
    if "adjust" in given:
        return shop.adjustment(member, given["adjust"], key=given["key"])
    return shop.purchase(member, given["total_minor"], key=given["key"], receipt=given["receipt"])


async def commit_all(
    _line: Line, *, settings: Settings, killed: Mapping[str, str], member: str, commands: Sequence[Mapping[str, Any]]
) -> None:
    """Commits the member's commands at once, and dies of it."""
    async with _opened(settings, killed) as shop:
        found = await member_by_id(shop.store, member)
        assert found is not None
        await shop.all(command_of(shop, found, given) for given in commands)


async def work(line: Line, *, settings: Settings, killed: Mapping[str, str] | None, lease_seconds: float) -> None:
    """Runs a worker until it is killed or told to stop."""
    async with _opened(settings, killed) as shop:
        worker = Worker(shop.store, shop.clock, shop.ledger, lease_seconds=lease_seconds)
        running = asyncio.create_task(worker.run())
        await told_to_stop(line)
        worker.stop()
        await running


@asynccontextmanager
async def _opened(settings: Settings, killed: Mapping[str, str] | None) -> AsyncIterator[Shop]:
    if killed is not None:
        monitoring.register(Death(**killed))
    store = await open_store(settings)
    clock = SandboxClock(store)
    await clock.refresh()
    programmes = await Programmes.open(store)
    ledger = Ledger(store, clock, programmes)
    yield Shop(store=store, clock=clock, programmes=programmes, ledger=ledger)
    await ledger.close()
    await store.close()
