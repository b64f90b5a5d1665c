"""Whose turn raises is set aside, harms nobody else, and is taken up again; long journals and many runs are no bar."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from prometheus_client import REGISTRY

from domain.members.member import Member
from domain.store.clock import SandboxClock
from notifications import cascades
from notifications.office import Office
from notifications.setback import member_on_record
from notifications.signal import Signal, emit
from notifications.worker import Worker
from tests.ledger.conftest import OpenShop
from tests.ledger.shop import Shop
from tests.notifications.customer import customer, phone_of
from tests.notifications.office import catch_up, move, opened_office
from tests.notifications.phones import Phones
from tests.notifications.test_worker import eventually

TWO: Final = """
earning:
  - {id: base, event: purchase, award: {points: {per: "1.00", give: 1}}}
cascades:
  - id: first
    category: SERVICE
    trigger: {event: purchase}
    goal: {events: [activity.visit]}
    priority: 10
    steps: [{send: PUSH, template: first}, {wait: P30D}]
  - id: second
    category: SERVICE
    trigger: {event: purchase}
    steps: [{send: PUSH, template: second}]
templates:
  first: {en: {title: First, body: "Come."}}
  second: {en: {title: Second, body: "Come again."}}
"""
SLOTS: Final = range(64)
SECOND: Final = timedelta(seconds=1)


@pytest.fixture
async def shop(shop_with: OpenShop) -> Shop:
    return await shop_with(TWO)


@pytest.fixture
async def office(shop: Shop, phones: Phones) -> AsyncIterator[Office]:
    async with opened_office(shop, phones) as opened:
        yield opened


async def spoil(shop: Shop, member: Member) -> None:
    """The member's runs cannot be read any more."""
    await shop.store.runs.update_many({"member": member.id, "cascade": "first"}, {"$set": {"arm": "UNHEARD_OF"}})


async def mend(shop: Shop, member: Member) -> None:
    """They can be read again, and whoever waited has waited for long enough."""
    await shop.store.runs.update_many({"member": member.id}, {"$set": {"arm": "TREATED"}})
    await shop.store.recipients.update_many({"retry_at": {"$exists": True}}, {"$set": {"retry_at": shop.long_ago()}})


def alarms(kind: str) -> float:
    return REGISTRY.get_sample_value("wallet_alarms_total", {"kind": kind}) or 0.0


async def test_a_member_whose_signals_raise_harms_no_other_and_is_heard_once_he_can_be(
    shop: Shop, office: Office, phones: Phones
) -> None:
    broken, sound = await customer(shop), await customer(shop)
    await move(shop, office, SECOND)
    await spoil(shop, broken)
    for member in (broken, sound):
        await shop.buy(member, 5_00)
        await emit(
            shop.store,
            Signal(
                id=f"s-{member.id}", member=member.id, event="inbox.read", at=shop.clock.now(), facts={"delivery": "x"}
            ),
        )
    before = alarms("member_set_aside")

    await move(shop, office, SECOND)
    aside = await shop.store.recipients.find({"retry_at": {"$exists": True}}).to_list()
    titles = phones.titles(phone_of(sound))
    alarmed = alarms("member_set_aside") - before
    await mend(shop, broken)
    await cascades.work(office, SLOTS, now=shop.clock.now())
    await move(shop, office, SECOND)

    assert titles == ["First", "Second"] * 2
    assert [(each["_id"], each["failures"]) for each in aside] == [(broken.id, 1)]
    assert alarmed == 1
    assert phones.titles(phone_of(broken)) == ["First", "Second"] * 2
    assert await shop.store.recipients.count_documents({"failures": {"$exists": True}}) == 0
    assert await shop.store.signals.count_documents({"pending": True}) == 0


async def test_each_setback_waits_twice_as_long_up_to_an_hour(shop: Shop) -> None:
    waits: list[int] = []

    for _ in range(12):
        async with member_on_record(shop.store, "m1", doing="hearing"):
            raise ValueError
        recipient = await shop.store.recipients.find_one({"_id": "m1"})
        assert recipient is not None
        waits.append(round((recipient["retry_at"] - datetime.now(UTC)).total_seconds()))

    assert waits == [10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600, 3600]


async def test_a_run_whose_sending_raises_lets_the_members_others_go_and_goes_when_it_can(
    shop: Shop, office: Office, phones: Phones
) -> None:
    member = await customer(shop)
    await catch_up(office, now=shop.clock.now())
    first: dict[str, Any] = {"member": member.id, "cascade": "first"}
    await shop.store.runs.update_one(first, {"$set": {"step": -7}})
    before = alarms("run_set_aside")

    await move(shop, office, SECOND)
    titles = phones.titles(phone_of(member))
    aside = await shop.store.runs.find_one(first)
    await shop.store.runs.update_one(first, {"$set": {"step": 0, "aside_until": shop.long_ago()}})
    await move(shop, office, SECOND)

    assert titles == ["Second"]
    assert aside is not None
    assert (aside["failures"], aside["history"][-1]["what"], aside["history"][-1]["reason"]) == (
        1,
        "failed",
        "IndexError",
    )
    assert alarms("run_set_aside") - before == 1
    assert phones.titles(phone_of(member)) == ["Second", "First"]
    done = await shop.store.runs.find_one(first)
    assert done is not None
    assert not {"failures", "aside_until"} & done.keys()


async def test_a_worker_goes_on_with_the_others_while_a_member_is_set_aside(
    shop: Shop, office: Office, phones: Phones
) -> None:
    broken, sound = await customer(shop), await customer(shop)
    await move(shop, office, SECOND)
    await spoil(shop, broken)
    clock = SandboxClock(shop.store)
    await clock.refresh()
    worker = Worker(shop.store, clock, shop.another_ledger(), office=office, lease_seconds=2)
    running = asyncio.create_task(worker.run())
    await shop.buy(broken, 5_00)

    async def is_aside() -> bool:
        return await shop.store.recipients.count_documents({"_id": broken.id, "failures": {"$gte": 1}}) == 1

    async def is_sent() -> bool:
        return len(phones.titles(phone_of(sound))) == 4

    await eventually(is_aside)
    await shop.buy(sound, 5_00)
    await eventually(is_sent, seconds=5)
    worker.stop()
    await running

    assert phones.titles(phone_of(broken)) == ["First", "Second"]


async def test_more_entries_and_live_runs_than_a_page_are_all_heard_in_one_turn(shop: Shop, office: Office) -> None:
    member = await customer(shop)
    await catch_up(office, now=shop.clock.now())
    run = await shop.store.runs.find_one({"cascade": "first"})
    assert run is not None
    await shop.store.runs.insert_many([{**run, "_id": f"{run['_id']}{number}"} for number in range(230)])
    await shop.all(shop.adjustment(member, 1) for _ in range(600))
    await emit(
        shop.store,
        Signal(id="goal", member=member.id, event="activity.visit", at=shop.clock.now(), facts={"delivery": "x"}),
    )

    await catch_up(office, now=shop.clock.now())

    heard = await shop.store.recipients.find_one({"_id": member.id})
    assert heard is not None
    assert heard["sequence"] == 602
    assert await shop.store.runs.count_documents({"cascade": "first", "state": "GOAL_REACHED"}) == 231


async def test_more_due_runs_of_a_member_than_a_batch_all_go_on(shop: Shop, office: Office) -> None:
    await customer(shop)
    await catch_up(office, now=shop.clock.now())
    run = await shop.store.runs.find_one({"cascade": "first"})
    assert run is not None
    at_wait = {**run, "step": 1}
    await shop.store.runs.insert_many([{**at_wait, "_id": f"{run['_id']}{number}"} for number in range(230)])

    await move(shop, office, SECOND)

    assert await shop.store.runs.count_documents({"cascade": "first", "history.what": "waits"}) == 231


async def test_of_members_who_are_read_together_only_the_one_who_cannot_be_read_is_set_aside(
    shop: Shop, office: Office, phones: Phones
) -> None:
    sound, broken = await customer(shop), await customer(shop)
    await catch_up(office, now=shop.clock.now())
    await spoil(shop, broken)

    await move(shop, office, SECOND)

    assert sorted(phones.titles(phone_of(sound))) == ["First", "Second"]
    assert phones.titles(phone_of(broken)) == []
    aside = await shop.store.recipients.find({"failures": {"$gte": 1}}).to_list()
    assert [recipient["_id"] for recipient in aside] == [broken.id]
