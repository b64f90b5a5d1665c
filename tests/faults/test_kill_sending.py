"""A worker killed with SIGKILL at every place of a send: no run is lost, caps hold, each step is seen once at most.

After each death another worker comes, which finds what all the dead ones left, and dies at the next place. The last
one lives and finishes. What counts is what stood on the phones (SEMANTICS §10.16).
"""

import asyncio
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from domain.members.consent import ConsentPurpose, set_consent
from domain.members.member import Member
from domain.settings import Settings
from notifications.control import CascadeState, set_state
from notifications.run import RunState
from notifications.signal import Signal, emit
from tests.faults.sending import SIGNAL_STORED
from tests.ledger.conftest import OpenShop
from tests.ledger.shop import Shop
from tests.notifications.customer import CASCADES, customer, phone_of
from tests.notifications.phones import Phones
from tests.notifications.test_recall import GOALS

ROOT: Final = Path(__file__).parents[2]
SECONDS: Final = 120
HTTP_SENT: Final = "HTTP sent"
POINTS: Final = (
    SIGNAL_STORED,
    "run created",
    "due",
    "claimed",
    "cap reserved",
    "rendered",
    "attempting",
    HTTP_SENT,
    "answer read",
    "accepted",
    "next wait stored",
)
OFFERS: Final = """
earning:
  - {id: base, event: purchase, award: {points: {per: "1.00", give: 1}}}
messaging:
  caps: [{id: weekly, category: MARKETING, channel: PUSH, count: 1, per: P7D}]
cascades:
  - id: first
    category: MARKETING
    trigger: {event: purchase}
    when: entry.points < 20
    goal: {events: [adjust]}
    steps: [{send: PUSH, template: first, grace: PT4H}]
  - id: second
    category: MARKETING
    trigger: {event: purchase}
    when: entry.points >= 20
    steps: [{send: PUSH, template: second}]
templates:
  first: {en: {title: First, body: "Bread."}}
  second: {en: {title: Second, body: "Milk."}}
"""
BOTH_SENT: Final = [("started", None), ("sent by PUSH", 0), ("waits", 1), ("sent by PUSH", 2), ("done", None)]
SENT: Final = [("started", None), ("sent by PUSH", 0), ("done", None)]
NOT_SENT: Final = [("started", None), ("not sent", 0), ("done", None)]
"""Whole histories: what was decided, at which step."""
NEAR: Final = """
cascades:
  - {id: near, category: SERVICE, trigger: {event: place.enter}, steps: [{send: PUSH, template: near}]}
templates:
  near: {en: {title: Near, body: "We are open."}}
"""
AT_HAND: Final = POINTS.index("attempting")
"""From here on the message may have gone, so workers die there a second time, at another run's message."""


@dataclass(kw_only=True)
class Workers:
    """One worker at a time, all forked from one process."""

    process: asyncio.subprocess.Process

    async def start(self, point: str | None, time: int = 1) -> int:
        """The process's number."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"point": point, "time": time}).encode() + b"\n")
        started: int = (await self._said())["started"]
        return started

    async def ended(self) -> int:
        """The exit code of the one that was started."""
        code: int = (await self._said())["ended"]
        return code

    async def _said(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        async with asyncio.timeout(SECONDS):
            said: dict[str, Any] = json.loads(await self.process.stdout.readline())
        return said


@asynccontextmanager
async def forking(settings: Settings, phones: Phones) -> AsyncIterator[Workers]:
    told = {"url": settings.mongodb_url, "database": settings.database, "phones": phones.url}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.faults.sending", json.dumps(told)),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        process_group=0,
    )
    try:
        yield Workers(process=process)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        await process.communicate()


async def until_all_runs_are(shop: Shop, wanted: dict[str, Any], count: int) -> None:
    deadline = time.monotonic() + SECONDS
    while await shop.store.runs.count_documents(wanted) != count:
        assert time.monotonic() < deadline, await shop.store.runs.find().to_list()
        await asyncio.sleep(0.1)


@pytest.mark.slow
async def test_a_worker_killed_at_every_place_of_a_send_loses_no_run_and_shows_no_message_twice(
    shop_with: OpenShop, settings: Settings, phones: Phones
) -> None:
    shop = await shop_with(CASCADES)
    members: list[Member] = []

    async with forking(settings, phones) as workers:
        for point, time_ in [*((point, 1) for point in POINTS), *((point, 2) for point in POINTS[AT_HAND:])]:
            members.append(await customer(shop))
            received = len(phones.ledger())
            if point == HTTP_SENT:
                phones.script("*", {"seconds": 60, "times": None})
            pid = await workers.start(point, time_)
            if point == HTTP_SENT:
                await asyncio.to_thread(phones.ledger, at_least=received + time_)
                os.kill(pid, signal.SIGKILL)
            assert await workers.ended() == -signal.SIGKILL, point
            phones.script("*")
        last = await workers.start(None)
        await until_all_runs_are(shop, {"state": RunState.DONE.value}, 2 * len(members))
        await shop.move_to(shop.clock.now() + timedelta(hours=1))
        await until_all_runs_are(shop, {"state": RunState.DONE.value}, 3 * len(members))
        os.kill(last, signal.SIGTERM)
        assert await workers.ended() == 0

    for member in members:
        device = phones.device(phone_of(member))
        titles = Counter(item["title"] for item in device["screen"])
        assert set(device["shown"].values()) == {1}
        assert (titles["Thanks"], titles["Later"]) == (1, 1)
        runs = await shop.store.runs.find({"member": member.id}).to_list()
        told = {run["cascade"]: [(event["what"], event.get("step")) for event in run["history"]] for run in runs}
        assert told.pop("receipt") == BOTH_SENT
        assert sorted(told.values()) == [NOT_SENT, SENT]
        offers = [event for run in runs if run["cascade"] != "receipt" for event in run["history"]]
        reasons = {event["what"]: event.get("reason") for event in offers}
        assert reasons["not sent"] == "capped: daily"
        assert titles["Offer"] == 1 or (titles["Offer"] == 0 and reasons["sent by PUSH"] == "ambiguous")
        assert await shop.store.inbox.count_documents({"member": member.id}) == 3
    decided = {delivery for run in await shop.store.runs.find().to_list() for delivery in deliveries(run)}
    assert {entry["message"]["data"]["delivery_id"] for entry in phones.ledger()} <= decided


@pytest.mark.slow
async def test_a_signal_that_stands_in_the_store_starts_once_though_who_heard_it_was_killed(
    shop_with: OpenShop, settings: Settings, phones: Phones
) -> None:
    shop = await shop_with(NEAR)
    member, now = await customer(shop), shop.clock.now()
    await set_consent(shop.store, member.id, ConsentPurpose.LOCATION, is_granted=True, version="1", now=now)
    await emit(shop.store, Signal(id="s", member=member.id, event="place.enter", at=now, facts={"cascades": ["near"]}))

    async with forking(settings, phones) as workers:
        for point, started in ((SIGNAL_STORED, 0), ("run created", 1), ("claimed", 1)):
            await workers.start(point)
            assert await workers.ended() == -signal.SIGKILL
            assert await shop.store.runs.count_documents({}) == started, point
        last = await workers.start(None)
        await until_all_runs_are(shop, {"state": RunState.DONE.value}, 1)
        os.kill(last, signal.SIGTERM)
        assert await workers.ended() == 0

    (run,) = await shop.store.runs.find().to_list()
    assert [(event["what"], event.get("step")) for event in run["history"]] == SENT
    assert phones.device(phone_of(member))["shown"] == {run["delivery"]: 1}
    assert await shop.store.signals.count_documents({"pending": True}) == 0


@pytest.mark.slow
async def test_a_push_is_recalled_though_the_worker_is_killed_between_the_goal_and_the_recall(
    shop_with: OpenShop, settings: Settings, phones: Phones
) -> None:
    shop = await shop_with(GOALS)

    async with forking(settings, phones) as workers:
        member = await customer(shop)
        first = await workers.start("run ended")
        await until_all_runs_are(shop, {"sent": 1}, 1)
        shown = phones.titles(phone_of(member))
        await shop.adjust(member, 5)
        assert await workers.ended() == -signal.SIGKILL
        left = await shop.store.runs.count_documents({"state": RunState.GOAL_REACHED.value, "recall_at": {"$ne": None}})
        last = await workers.start(None)
        await until_all_runs_are(shop, {"recall_at": {"$exists": False}}, 1)
        os.kill(last, signal.SIGTERM)
        assert await workers.ended() == 0

    assert first != last
    assert (shown, left) == (["First"], 1)
    assert phones.titles(phone_of(member)) == []


@pytest.mark.slow
async def test_a_place_that_nobody_sent_on_is_free_again_though_who_took_it_was_killed(
    shop_with: OpenShop, settings: Settings, phones: Phones
) -> None:
    shop = await shop_with(OFFERS)
    members: dict[str, Member] = {}

    async with forking(settings, phones) as workers:
        for why in ("goal", "consent", "stopped"):
            member = members[why] = await customer(shop)
            await workers.start("cap reserved")
            assert await workers.ended() == -signal.SIGKILL
            match why:
                case "goal":
                    await shop.adjust(member, 5)
                case "consent":
                    await wants_offers(shop, member, is_granted=False)
                case _:
                    await set_state(shop.store, "first", CascadeState.STOPPED, now=shop.clock.now())
        last = await workers.start(None)
        await until_all_runs_are(shop, {"cascade": "first", "state": {"$ne": RunState.WAITING.value}}, len(members))
        for member in members.values():
            await wants_offers(shop, member, is_granted=True)
            await shop.buy(member, 30_00)
        await until_all_runs_are(shop, {"cascade": "second", "state": RunState.DONE.value}, len(members))
        os.kill(last, signal.SIGTERM)
        assert await workers.ended() == 0

    assert [phones.titles(phone_of(member)) for member in members.values()] == [["Second"]] * 3


async def wants_offers(shop: Shop, member: Member, *, is_granted: bool) -> None:
    purpose, now = ConsentPurpose.MARKETING, shop.clock.now()
    await set_consent(shop.store, member.id, purpose, is_granted=is_granted, version="1", now=now)


def deliveries(run: dict[str, Any]) -> set[str]:
    return {event["delivery"] for event in run["history"] if event.get("delivery")}
