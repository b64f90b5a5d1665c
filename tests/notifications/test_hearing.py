"""How a member's signals are heard when whoever heard them dies on the way (SEMANTICS §10.1, §10.3)."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Final

import pytest

from notifications.advance import advance
from notifications.due_runs import send_due
from notifications.hearing import hear_journal
from notifications.office import Office
from tests.ledger.conftest import OpenShop
from tests.ledger.shop import Shop
from tests.notifications.customer import CASCADES, customer, phone_of
from tests.notifications.office import opened_office
from tests.notifications.phones import Phones

ONCE_A_WEEK: Final = """
cascades:
  - id: thanks
    category: TRANSACTIONAL
    trigger: {event: purchase}
    reentry: {cooldown: P7D}
    steps: [{send: PUSH, template: thanks}]
templates:
  thanks: {en: {title: Thanks, body: "Come again."}}
"""


class Death(BaseException):
    """The process goes no further."""


def an_office(shop: Shop, at: Callable[[str], None] = lambda _point: None) -> Office:
    return Office(store=shop.store, clock=shop.clock, programmes=shop.programmes, at=at)


def dies(_point: str) -> None:
    raise Death


async def test_a_cooldown_holds_though_whoever_started_the_run_died_before_that_was_noted(shop_with: OpenShop) -> None:
    shop = await shop_with(ONCE_A_WEEK)
    member, now = await shop.member(), shop.clock.now()
    await shop.buy(member, 12_00)
    with pytest.raises(Death):
        await hear_journal(an_office(shop, dies), [member.id], now=now)

    await hear_journal(an_office(shop), [member.id], now=now)
    await shop.buy(member, 12_00)
    await hear_journal(an_office(shop), [member.id], now=now)

    runs = await shop.store.runs.find({"member": member.id}).sort("history.at", 1).to_list()
    assert [(run["state"], run["history"][0]["what"], run["history"][0].get("reason")) for run in runs] == [
        ("WAITING", "started", "purchase"),
        ("CANCELLED", "not started", "cooling down"),
    ]


LAPSED: Final = """
cascades:
  - id: lapsed
    category: SERVICE
    trigger: {event: lapsed, days: 3}
    steps: [{send: PUSH, template: thanks}]
templates:
  thanks: {en: {title: Thanks, body: "Come again."}}
"""


async def test_dates_of_a_programme_published_just_now_come_though_the_clock_moves_at_once(
    shop_with: OpenShop,
) -> None:
    shop = await shop_with(ONCE_A_WEEK)
    member = await shop.member()
    await shop.buy(member, 12_00)
    await advance(shop.store, shop.clock, shop.ledger, shop.clock.now() + timedelta(days=1), office=an_office(shop))
    await shop.publish(LAPSED)

    await advance(shop.store, shop.clock, shop.ledger, shop.clock.now() + timedelta(days=4), office=an_office(shop))

    assert await shop.store.runs.count_documents({"member": member.id, "event": "lapsed"}) == 1


FROZEN: Final = """
streaks:
  - {id: weekly, event: purchase, period: week, goal: 1, freezes: {max: 2, every: 1}, name: {en: Weeks}}
cascades:
  - id: at-risk
    category: SERVICE
    trigger: {event: streak_at_risk, streak: weekly, before: P1D, at_least: 2}
    steps: [{send: PUSH, template: thanks}]
templates:
  thanks: {en: {title: Thanks, body: "Come again."}}
"""


async def test_a_streak_that_a_freeze_kept_alive_is_at_risk_again_a_week_later(shop_with: OpenShop) -> None:
    shop = await shop_with(FROZEN)
    member, office = await shop.member(), an_office(shop)
    for _ in range(2):
        await shop.buy(member, 12_00)
        await advance(shop.store, shop.clock, shop.ledger, shop.clock.now() + timedelta(days=7), office=office)

    await advance(shop.store, shop.clock, shop.ledger, shop.clock.now() + timedelta(days=40), office=office)

    runs = await shop.store.runs.find({"member": member.id}).sort("started_at", 1).to_list()
    days = [run["started_at"].astimezone(shop.programmes.current.zone).date() for run in runs]
    assert [day - days[0] for day in days] == [timedelta(weeks=number) for number in range(3)]


async def test_an_offer_goes_out_though_whoever_started_its_run_died_before_the_recipient_was_stored(
    shop_with: OpenShop, phones: Phones
) -> None:
    shop = await shop_with(CASCADES)
    member, now = await customer(shop), shop.clock.now()
    with pytest.raises(Death):
        await hear_journal(an_office(shop, dies), [member.id], now=now)
    await shop.store.recipients.delete_many({})

    async with opened_office(shop, phones) as office:
        await asyncio.wait_for(send_due(office, [member.id], now=now), 30)

    assert sorted(phones.titles(phone_of(member))) == ["Offer", "Thanks"]
