"""Two `wallet worker` processes, and one place of a cap for a member's messages: one of them goes (SEMANTICS §10.10).

On the first morning both work. On the second one of them is frozen while it sends and wakes when the other has taken
over its members, whose other messages it is at.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest

from domain.settings import Settings
from domain.store.slots import LEASE_SECONDS, SLOTS
from notifications.run import RunState
from tests.ledger.conftest import OpenShop
from tests.ledger.shop import Shop
from tests.notifications.customer import customer, phone_of
from tests.notifications.phones import Phones

ROOT: Final = Path(__file__).parents[2]
SECONDS: Final = 90
MEMBERS: Final = 40
OFFERS: Final = ("bread", "milk", "eggs")
OFFER: Final = """
  - id: {name}
    category: MARKETING
    trigger: {{event: purchase}}
    steps:
      - {{send: PUSH, template: {name}, at: "10:00"}}
      - {{wait: P1D}}
      - {{send: PUSH, template: {name}, at: "10:00"}}
"""
PROGRAMME: Final = f"""
earning:
  - {{id: base, event: purchase, award: {{points: {{per: "1.00", give: 1}}}}}}
messaging:
  caps: [{{id: daily, category: MARKETING, channel: PUSH, count: 1, per: day}}]
cascades: {"".join(OFFER.format(name=name) for name in OFFERS)}
templates:
  {{{", ".join(f"{name}: {{en: {{title: {name}, body: Fresh.}}}}" for name in OFFERS)}}}
"""
MORNINGS: Final = (datetime(2026, 3, 3, 9, tzinfo=UTC), datetime(2026, 3, 4, 9, tzinfo=UTC))
"""Ten o'clock in Ljubljana."""


@contextmanager
def worker(settings: Settings, phones: Phones) -> Iterator[subprocess.Popen[bytes]]:
    variables = {
        "WALLET_MODE": "sandbox",
        "WALLET_MONGODB_URL": settings.mongodb_url or "",
        "WALLET_DATABASE": settings.database,
        "WALLET_FCM_URL": phones.url,
    }
    command = [sys.executable, "-c", "from api.command.cli import main; main()", "worker"]
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **variables})
    try:
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        assert process.wait(SECONDS) == 0


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    deadline = time.monotonic() + SECONDS
    while not await holds():
        assert time.monotonic() < deadline, "it never came"
        await asyncio.sleep(0.05)


async def shares(shop: Shop) -> list[int]:
    """How many slots each worker holds."""
    owners = Counter(
        [lease["owner"] async for lease in shop.store.leases.find({"owner": {"$ne": None}, "fence": {"$gt": 0}})]
    )
    return sorted(owners.values())


async def decided(shop: Shop) -> int:
    """How many messages were sent, or were not."""
    runs = await shop.store.runs.find({}, {"history": True}).to_list()
    return sum(event["what"] in {"sent by PUSH", "not sent"} for run in runs for event in run["history"])


@pytest.mark.slow
async def test_two_worker_processes_send_exactly_what_the_cap_lets_them(
    shop_with: OpenShop, settings: Settings, phones: Phones
) -> None:
    shop = await shop_with(PROGRAMME)
    members = [await customer(shop) for _ in range(MEMBERS)]
    messages = MEMBERS * len(OFFERS)

    async def are_waiting() -> bool:
        return await shop.store.runs.count_documents({"step": 0, "is_timed": True}) == messages

    async def both_have_half() -> bool:
        return await shares(shop) == [SLOTS // 2] * 2

    with worker(settings, phones) as first, worker(settings, phones):
        await until(both_have_half)
        await until(are_waiting)
        await shop.move_to(MORNINGS[0])

        async def are_decided() -> bool:
            return await decided(shop) == messages

        await until(are_decided)
        went = Counter(entry["message"]["fid"] for entry in phones.ledger())
        await shop.move_to(MORNINGS[1])
        await asyncio.to_thread(phones.ledger, at_least=MEMBERS + 1)
        first.send_signal(signal.SIGSTOP)
        await asyncio.sleep(LEASE_SECONDS + 1)
        first.send_signal(signal.SIGCONT)

        async def are_done() -> bool:
            return await shop.store.runs.count_documents({"state": RunState.DONE.value}) == messages

        await until(are_done)

    assert set(went.values()) == {1}
    assert set(went) == {phone_of(member) for member in members}
    assert Counter(entry["message"]["fid"] for entry in phones.ledger()) == dict.fromkeys(went, 2)
    histories = [run["history"] for run in await shop.store.runs.find().to_list()]
    told = Counter((event["what"], event.get("reason")) for history in histories for event in history)
    assert told["sent by PUSH", None] == 2 * MEMBERS
    assert told["not sent", "capped: daily"] == 2 * (messages - MEMBERS)
