"""A goal takes the run's pushes off the screens, whoever dies or is slow on the way (SEMANTICS §10.5)."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from notifications import cascades
from notifications.office import Office
from tests.ledger.conftest import OpenShop
from tests.ledger.shop import Shop
from tests.notifications.customer import customer, phone_of
from tests.notifications.office import catch_up, move, opened_office
from tests.notifications.phones import Phones

GOALS: Final = """
earning:
  - {id: base, event: purchase, award: {points: {per: "1.00", give: 1}}}
cascades:
  - id: nudge
    category: SERVICE
    trigger: {event: purchase}
    goal: {events: [adjust]}
    steps:
      - {send: PUSH, template: first}
      - {wait: PT1H}
      - {send: PUSH, template: second}
      - {wait: P9D}
      - {send: PUSH, template: first}
templates:
  first: {en: {title: First, body: "Come."}}
  second: {en: {title: Second, body: "Come again."}}
"""
SLOTS: Final = range(64)


class Death(BaseException):
    """The process goes no further."""


@pytest.fixture
async def shop(shop_with: OpenShop) -> Shop:
    return await shop_with(GOALS)


@pytest.fixture
async def office(shop: Shop, phones: Phones) -> AsyncIterator[Office]:
    async with opened_office(shop, phones) as opened:
        yield opened


async def the_run(shop: Shop) -> dict[str, Any]:
    (run,) = await shop.store.runs.find().to_list()
    return run


async def test_all_pushes_of_the_run_go_and_nothing_is_left_to_recall(
    shop: Shop, office: Office, phones: Phones
) -> None:
    member = await customer(shop)
    await move(shop, office, timedelta(hours=2))
    assert phones.titles(phone_of(member)) == ["First", "Second"]

    await shop.adjust(member, 5)
    await move(shop, office, timedelta(seconds=1))

    assert phones.titles(phone_of(member)) == []
    run = await the_run(shop)
    assert run["state"] == "GOAL_REACHED"
    assert not {"recall", "recall_at", "recall_tries"} & run.keys()


async def test_a_recall_that_was_cut_short_or_refused_is_done_by_who_comes_next(
    shop: Shop, office: Office, phones: Phones
) -> None:
    member = await customer(shop)
    await move(shop, office, timedelta(minutes=1))
    await shop.adjust(member, 5)

    def die(point: str) -> None:
        if point == "run ended":
            raise Death

    await asyncio.gather(catch_up(replace(office, at=die), now=shop.clock.now()), return_exceptions=True)
    stopped = await the_run(shop)
    phones.script("*", {"kind": "UNAVAILABLE", "times": 1})
    await cascades.work(office, SLOTS, now=shop.clock.now())
    refused = await the_run(shop)
    on_screen = phones.titles(phone_of(member))
    await shop.store.runs.update_one({"_id": refused["_id"]}, {"$set": {"recall_at": shop.long_ago()}})
    await cascades.work(office, SLOTS, now=shop.clock.now())

    assert (stopped["state"], len(stopped["recall"])) == ("GOAL_REACHED", 1)
    assert (refused["recall_tries"], on_screen) == (1, ["First"])
    assert phones.titles(phone_of(member)) == []
    assert "recall" not in await the_run(shop)


async def test_a_goal_that_a_send_finds_recalls_what_went_before(shop: Shop, office: Office, phones: Phones) -> None:
    member = await customer(shop)
    await move(shop, office, timedelta(minutes=1))
    await shop.adjust(member, 5)
    await shop.move_by(hours=2)

    await cascades.work(office, SLOTS, now=shop.clock.now())
    await cascades.work(office, SLOTS, now=shop.clock.now())

    run = await the_run(shop)
    assert (run["state"], run["history"][-1]["reason"]) == ("GOAL_REACHED", "seen in the journal")
    assert phones.titles(phone_of(member)) == []


async def test_a_recall_that_firebase_does_not_take_is_tried_ever_less_often(
    shop: Shop, office: Office, phones: Phones
) -> None:
    member = await customer(shop)
    await move(shop, office, timedelta(minutes=1))
    phones.script("*", {"kind": "UNAVAILABLE", "times": None})
    await shop.adjust(member, 5)
    await catch_up(office, now=shop.clock.now())
    run, waits = await the_run(shop), []

    for _ in range(12):
        waits.append((await the_run(shop))["recall_at"] - datetime.now(UTC))
        await shop.store.runs.update_one({"_id": run["_id"]}, {"$set": {"recall_at": datetime.now(UTC)}})
        await cascades.work(office, SLOTS, now=shop.clock.now())
    shown = phones.titles(phone_of(member))
    phones.script("*")
    await shop.store.runs.update_one({"_id": run["_id"]}, {"$set": {"recall_at": datetime.now(UTC)}})
    await cascades.work(office, SLOTS, now=shop.clock.now())

    assert [wait < timedelta(seconds=10) * 2**tries for tries, wait in enumerate(waits)] == [True] * 12
    assert waits[0] > timedelta(0)
    assert waits[-1] > timedelta(minutes=50)
    assert (shown, phones.titles(phone_of(member))) == (["First"], [])


async def test_a_goal_during_a_send_waits_for_its_answer_and_recalls_it(
    shop: Shop, office: Office, phones: Phones
) -> None:
    member = await customer(shop)
    await catch_up(office, now=shop.clock.now())
    phones.script("*", {"kind": "OK", "seconds": 0.5})
    sending = asyncio.create_task(cascades.work(office, SLOTS, now=shop.clock.now()))
    await asyncio.to_thread(phones.ledger, at_least=1)
    await shop.adjust(member, 5)
    other = replace(office, by="another", locks=type(office.locks)())

    await catch_up(other, now=shop.clock.now())
    meanwhile = await the_run(shop)
    await sending
    await cascades.work(office, SLOTS, now=shop.clock.now())

    run = await the_run(shop)
    assert (meanwhile["state"], len(meanwhile["recall"])) == ("GOAL_REACHED", 1)
    assert [(event["what"], event.get("reason")) for event in run["history"]] == [
        ("started", "purchase"),
        ("goal reached", "adjust"),
        ("sent", "decided before"),
    ]
    assert phones.device(phone_of(member))["removed"] == 1
    assert phones.titles(phone_of(member)) == []
