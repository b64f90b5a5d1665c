"""The switches of cascades: written at once by several, and what comes of runs that slipped past them."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pymongo import MongoClient

from domain.settings import Settings
from domain.store.connection import Document, Store
from notifications import cascades
from notifications.control import ALL, CascadeState, set_state, switches
from notifications.delivery import DeliveryEvent, take_delivery_report
from notifications.office import SWITCHES_SECONDS, Office
from tests.ledger.conftest import OpenShop
from tests.ledger.shop import Shop
from tests.notifications.customer import CASCADES, customer, phone_of
from tests.notifications.office import catch_up, move, opened_office
from tests.notifications.phones import Phones

NOW = datetime(2026, 7, 6, 12, tzinfo=UTC)
LIVE, PAUSED, STOPPED = CascadeState.LIVE, CascadeState.PAUSED, CascadeState.STOPPED
HOUR = timedelta(hours=1)

WAITING = """
earning:
  - {id: base, event: purchase, award: {points: {per: "1.00", give: 1}}}
cascades:
  - id: slow
    category: SERVICE
    trigger: {event: purchase}
    steps: [{send: PUSH, template: thanks}, {wait: P2D, until: reaction}, {send: PUSH, template: later}]
templates:
  thanks: {en: {title: Thanks, body: "You have {points, number} points."}}
  later: {en: {title: Later, body: "Come again."}}
"""


@pytest.fixture
async def shop(shop_with: OpenShop) -> Shop:
    return await shop_with(CASCADES)


@pytest.fixture
async def office(shop: Shop, phones: Phones) -> AsyncIterator[Office]:
    async with opened_office(shop, phones) as opened:
        yield opened


async def runs_of(shop: Shop, cascade: str) -> list[dict[str, Any]]:
    return await shop.store.runs.find({"cascade": cascade}).to_list()


async def test_whoever_switches_at_once_the_last_pause_is_open_if_and_only_if_it_is_paused(store: Store) -> None:
    wanted = [PAUSED, LIVE, PAUSED, STOPPED, LIVE, PAUSED] * 5

    await asyncio.gather(
        *(set_state(store, "offer", state, now=NOW + number * HOUR) for number, state in enumerate(wanted))
    )

    known = await switches(store)
    pauses = known.pauses["offer"]
    assert pauses
    assert all(ends is not None for _, ends in pauses[:-1])
    assert (pauses[-1][1] is None) == (known.states["offer"] is PAUSED)


async def test_pauses_are_spans_and_the_same_state_again_changes_none(store: Store) -> None:
    for hour, state in enumerate([PAUSED, PAUSED, LIVE, LIVE, PAUSED, STOPPED, STOPPED, LIVE]):
        await set_state(store, "offer", state, now=NOW + hour * HOUR)

    known = await switches(store)

    assert known.pauses["offer"] == ((NOW, NOW + 2 * HOUR), (NOW + 4 * HOUR, NOW + 5 * HOUR))
    assert known.held_seconds("offer", since=NOW + HOUR, now=NOW + 9 * HOUR) == 2 * 3600
    assert known.state("offer") is LIVE
    assert known.stopped_at["offer"] == NOW + 5 * HOUR


async def test_a_run_that_slipped_past_the_stop_is_ended_when_it_is_due(
    shop: Shop, office: Office, phones: Phones
) -> None:
    member = await customer(shop)
    await catch_up(office, now=shop.clock.now())
    before = await shop.store.runs.find().to_list()
    await set_state(shop.store, ALL, STOPPED, now=shop.clock.now())
    for run in before:
        await shop.store.runs.replace_one({"_id": run["_id"]}, run)

    await move(shop, office, HOUR)

    ended = await shop.store.runs.find().to_list()
    assert [(run["state"], run["history"][-1]["reason"]) for run in ended] == [("CANCELLED", "stopped")] * 3
    assert phones.titles(phone_of(member)) == []


async def test_a_run_that_slipped_past_the_stop_is_ended_though_its_cascade_is_live_again(
    shop: Shop, office: Office, phones: Phones
) -> None:
    member = await customer(shop)
    await catch_up(office, now=shop.clock.now())
    before = await runs_of(shop, "receipt")
    await set_state(shop.store, "receipt", STOPPED, now=shop.clock.now())
    await set_state(shop.store, "receipt", LIVE, now=shop.clock.now())
    await shop.store.runs.replace_one({"_id": before[0]["_id"]}, before[0])
    await move(shop, office, HOUR)
    await shop.buy(member, 5_00)

    await move(shop, office, HOUR / 2)

    ended, live = await runs_of(shop, "receipt")
    assert (ended["state"], ended["history"][-1]["reason"]) == ("CANCELLED", "stopped")
    assert live["state"] == "WAITING"
    assert phones.titles(phone_of(member)).count("Thanks") == 1


@pytest.mark.parametrize("state", [PAUSED, STOPPED])
async def test_a_message_that_was_claimed_before_the_switch_does_not_go_after_it(
    shop: Shop, office: Office, phones: Phones, settings: Settings, state: CascadeState
) -> None:
    member = await customer(shop)
    await catch_up(office, now=shop.clock.now())
    claimed = asyncio.Event()

    def switch(point: str) -> None:
        if point == "claimed" and not claimed.is_set():
            claimed.set()
            with MongoClient[Document](settings.mongodb_url) as client:
                client[settings.database].cascade_states.insert_one({"_id": ALL, "state": state.value})
            time.sleep(SWITCHES_SECONDS)

    await cascades.work(replace(office, at=switch), range(64), now=shop.clock.now())
    while_off = phones.titles(phone_of(member))
    await set_state(shop.store, ALL, LIVE, now=shop.clock.now())
    await move(shop, office, timedelta(seconds=1))

    assert claimed.is_set()
    assert while_off == []
    reasons = {run["history"][-1].get("reason") for run in await shop.store.runs.find().to_list()}
    if state is PAUSED:
        assert "Thanks" in phones.titles(phone_of(member))
    else:
        assert (phones.titles(phone_of(member)), reasons) == ([], {"stopped"})


async def test_all_paused_lets_a_stopped_cascade_end_and_nothing_else_go(
    shop: Shop, office: Office, phones: Phones
) -> None:
    member = await customer(shop)
    await catch_up(office, now=shop.clock.now())
    before = await runs_of(shop, "receipt")
    await set_state(shop.store, "receipt", STOPPED, now=shop.clock.now())
    await shop.store.runs.replace_one({"_id": before[0]["_id"]}, before[0])
    await set_state(shop.store, ALL, PAUSED, now=shop.clock.now())

    await move(shop, office, HOUR)

    states = {run["cascade"]: run["state"] for run in await shop.store.runs.find().to_list()}
    assert states == {"receipt": "CANCELLED", "offer": "WAITING", "other": "WAITING"}
    assert phones.titles(phone_of(member)) == []


async def test_a_reaction_during_a_pause_ends_the_wait_when_the_pause_is_over(
    shop_with: OpenShop, phones: Phones
) -> None:
    shop = await shop_with(WAITING)
    member = await customer(shop)
    async with opened_office(shop, phones) as office:
        await move(shop, office, HOUR)
        await set_state(shop.store, "slow", PAUSED, now=shop.clock.now())
        await move(shop, office, HOUR)
        (run,) = await runs_of(shop, "slow")
        opened_at = shop.clock.now()
        await take_delivery_report(
            shop.store, member.id, run["delivery"], DeliveryEvent.OPENED, told_at=opened_at, now=opened_at
        )
        await move(shop, office, 5 * HOUR)
        await set_state(shop.store, "slow", LIVE, now=shop.clock.now())
        await move(shop, office, timedelta(minutes=1))

    (run,) = await runs_of(shop, "slow")
    assert run["state"] == "DONE"
    assert phones.titles(phone_of(member)) == ["Thanks", "Later"]
