"""A process that forgets a member and is killed at every place there is: before each command to the server.

    python -m tests.faults.erasing '{"url": …, "database": …, "members": […]}'

The first member's erasure goes through and is counted. Then a child is forked for each of its commands, with a
member of its own, and kills itself there. Says on its output, one JSON document a line, at which command each died.
"""

import json
import signal
import sys
from typing import Any

from pymongo import monitoring

from domain.ledger.commit import Ledger
from domain.members.erasure import erase
from domain.programme.published import Programmes
from domain.settings import read_settings
from domain.store.clock import SandboxClock
from domain.store.connection import open_store
from tests.faults.jointly import Death, forked


async def erasure(told: dict[str, Any], member: str, death: Death) -> None:
    monitoring.register(death)
    settings = read_settings({}, mode="sandbox", mongodb_url=told["url"], database=told["database"])
    store = await open_store(settings)
    clock = SandboxClock(store)
    await clock.refresh()
    ledger = Ledger(store, clock, await Programmes.open(store))
    death.armed = True
    await erase(ledger, member, confirm="ERASE", now=clock.now())
    death.armed = False
    await ledger.close()
    await store.close()


def main(told: dict[str, Any]) -> None:
    members = iter(told["members"])
    unharmed = Death(None, "")
    assert forked(erasure(told, next(members), unharmed), unharmed) == 0
    number, ended = 0, signal.SIGKILL.value
    while ended == signal.SIGKILL:
        death = Death(number, "before")
        ended = forked(erasure(told, next(members), death), death)
        number += 1


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
