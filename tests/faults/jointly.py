"""A process that commits jointly and is killed at every place there is: before and after each command to the server.

    python -m tests.faults.jointly '{"url": …, "database": …, "act": "gift", "cases": [[sender, receiver], …]}'

`act` is `gift`, `redeem` (a member and a reward) or `top_up` (a member). The first case goes through and is counted.
Then a child is forked for each of its commands, twice, with a case of its own, and kills itself there. Says on its
output, one JSON document a line, at which command each died, and which session it left open.
"""

import asyncio
import json
import os
import signal
import sys
from base64 import b64encode
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

from pymongo import monitoring

from domain.ledger.commit import Ledger
from domain.ledger.entry import Entry
from domain.ledger.outcome import Outcome
from domain.members.member import Member, member_by_id
from domain.payments.top_up import top_up_at_till
from domain.programme.published import Programmes
from domain.settings import read_settings
from domain.store.clock import SandboxClock
from domain.store.connection import open_store
from tests.ledger.shop import Shop
from tests.ledger.spending import give, redeem
from tests.ledger.till import top_up

POINTS: Final = 30
CASH_MINOR: Final = 30_00
KEY: Final = "the-one-key"


class Death(monitoring.CommandListener):
    """Counts commands once it is armed, and kills its process at the n-th."""

    def __init__(self, number: int | None, when: str) -> None:
        self.number = number
        self.when = when
        self.names: list[str] = []
        self.fatal: int | None = None
        self.armed = False

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        if not self.armed:
            return
        self.names.append(event.command_name)
        if len(self.names) - 1 == self.number:
            session = event.command.get("lsid", {}).get("id")
            say(died=event.command_name, when=self.when, session=None if session is None else encoded(session))
            if self.when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            self.fatal = event.request_id

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        if event.request_id == self.fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        if event.request_id == self.fatal:
            os.kill(os.getpid(), signal.SIGKILL)


def encoded(identifier: Any) -> str:
    return b64encode(bytes(identifier)).decode()


def say(**told: Any) -> None:
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


async def act(shop: Shop, act: str, case: Sequence[str]) -> Outcome:
    """What the case's member does, under a key of his own."""
    member = await member_by_id(shop.store, case[0])
    assert isinstance(member, Member)
    match act:
        case "gift":
            receiver = await member_by_id(shop.store, case[1])
            assert isinstance(receiver, Member)
            return await give(shop, member, receiver, POINTS, key=KEY)
        case "redeem":
            return await redeem(shop, member, case[1], key=KEY)
        case _:
            at_till = top_up(shop, member, CASH_MINOR, receipt=f"receipt of {member.id}")
            decide = at_till.decide
            assert isinstance(decide, partial)
            wanted = replace(at_till, key=f"{KEY} of {member.id}", load=None)
            return await top_up_at_till(shop.ledger, decide.args[0], wanted)


async def run(told: dict[str, Any], case: list[str], death: Death) -> None:
    monitoring.register(death)
    settings = read_settings({}, mode="sandbox", mongodb_url=told["url"], database=told["database"])
    store = await open_store(settings)
    clock = SandboxClock(store)
    await clock.refresh()
    programmes = await Programmes.open(store)
    shop = Shop(store=store, clock=clock, programmes=programmes, ledger=Ledger(store, clock, programmes))
    death.armed = True
    outcome = await act(shop, told["act"], case)
    death.armed = False
    assert isinstance(outcome.decided, Entry)
    await shop.ledger.close()
    await store.close()


def forked(doing: Coroutine[Any, Any, None], death: Death) -> int:
    """How the child that did it ended."""
    child = os.fork()
    if child == 0:
        asyncio.run(doing)
        say(commands=death.names)
        os._exit(0)
    doing.close()
    return os.waitpid(child, 0)[1]


def main(told: dict[str, Any]) -> None:
    cases = iter(told["cases"])
    unharmed = Death(None, "")
    assert forked(run(told, next(cases), unharmed), unharmed) == 0
    number, ended = 0, signal.SIGKILL.value
    while ended == signal.SIGKILL:
        for when in ("before", "after"):
            death = Death(number, when)
            ended = forked(run(told, next(cases), death), death)
        number += 1


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
