"""What may have been delivered: sent again if it answers the member, not if it only wants something of him."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

import pytest

from notifications import cascades
from notifications.advance import advance
from notifications.delivery import delivery_of
from notifications.recall import note_sent
from notifications.recipient import recipient_of
from tests.ledger.conftest import OpenShop
from tests.notifications.customer import CASCADES, customer, phone_of
from tests.notifications.office import catch_up, opened_office
from tests.notifications.phones import Phones

OFFER: Final = """
earning:
  - {id: base, event: purchase, award: {points: {per: "1.00", give: 1}}}
messaging:
  caps: [{id: daily, category: MARKETING, channel: PUSH, count: 1, per: day}]
cascades:
  - id: offer
    category: MARKETING
    trigger: {event: purchase}
    goal: {events: [adjust]}
    steps: [{send: PUSH, template: offer}]
templates:
  offer: {en: {title: Offer, body: "Bread."}}
"""
SLOTS: Final = range(64)


@pytest.mark.parametrize(
    ("answer", "is_delivered"),
    [
        ({"kind": "UNAVAILABLE", "delivers": True}, True),
        ({"kind": "UNAVAILABLE"}, False),
        ({"kind": "DROPPED", "delivers": True}, True),
        ({"kind": "DROPPED"}, False),
        ({"kind": "OK", "seconds": 60}, True),
    ],
    ids=["503 but delivered", "503", "dropped after receipt", "dropped", "no answer in time"],
)
async def test_what_is_ambiguous_goes_again_only_where_it_answers_the_member_and_is_seen_once(
    shop_with: OpenShop, phones: Phones, answer: dict[str, Any], is_delivered: bool
) -> None:
    shop = await shop_with(CASCADES)
    member = await customer(shop)

    async with opened_office(shop, phones) as office:
        phones.script("*", {**answer, "times": None})
        await advance(shop.store, shop.clock, shop.ledger, shop.clock.now() + timedelta(seconds=1), office=office)
        phones.script("*")
        await advance(shop.store, shop.clock, shop.ledger, shop.clock.now() + timedelta(minutes=1), office=office)

    sent = Counter(entry["message"]["notification"]["title"] for entry in phones.ledger())
    device = phones.device(phone_of(member))
    assert sent == {"Thanks": 2, "Offer": 1}
    assert set(device["shown"].values()) == {1}
    assert Counter(phones.titles(phone_of(member))) == ({"Thanks": 1, "Offer": 1} if is_delivered else {"Thanks": 1})
    runs = await shop.store.runs.find({"cascade": {"$in": ["offer", "other"]}}).to_list()
    said = sorted((event["what"], event.get("reason")) for run in runs for event in run["history"][1:-1])
    assert said == [("not sent", "capped: daily"), ("sent by PUSH", "ambiguous")]


class Death(BaseException):
    """The process goes no further."""


async def test_a_marketing_message_whose_sender_died_counts_as_sent_once_and_stands_so_in_the_store(
    shop_with: OpenShop, phones: Phones
) -> None:
    shop = await shop_with(OFFER)
    member = await customer(shop)

    def die(point: str) -> None:
        if point == "answer read":
            raise Death

    async with opened_office(shop, phones) as office:
        await catch_up(office, now=shop.clock.now())
        with pytest.raises(Death):
            await cascades.work(replace(office, at=die), SLOTS, now=shop.clock.now())
        for _ in range(2):
            await cascades.work(office, SLOTS, now=shop.clock.now())

    (run,) = await shop.store.runs.find().to_list()
    (delivery,) = await shop.store.deliveries.find().to_list()
    assert [(event["what"], event.get("reason")) for event in run["history"]] == [
        ("started", "purchase"),
        ("sent by PUSH", "ambiguous"),
        ("done", None),
    ]
    assert (run["sent"], [attempt["state"] for attempt in delivery["attempts"]]) == (1, ["AMBIGUOUS"])
    assert len(phones.ledger()) == 1
    places = (await recipient_of(shop.store, member.id)).places
    assert [place.delivery for place in places["daily"]] == [delivery["_id"]]


async def test_a_goal_ends_what_was_to_be_tried_again_and_gives_its_place_back(
    shop_with: OpenShop, phones: Phones
) -> None:
    shop = await shop_with(OFFER)
    member = await customer(shop)
    async with opened_office(shop, phones) as office:
        phones.script("*", {"kind": "QUOTA_OF_DEVICE", "times": None})
        await catch_up(office, now=shop.clock.now())
        await cascades.work(office, SLOTS, now=shop.clock.now())
        (before,) = await shop.store.runs.find().to_list()
        await shop.adjust(member, 5)
        await shop.move_by(minutes=5)

        await cascades.work(office, SLOTS, now=shop.clock.now())

    (after,) = await shop.store.runs.find().to_list()
    assert (before["state"], before["history"][-1]["what"]) == ("WAITING", "deferred")
    assert (after["state"], after["history"][-1]["what"]) == ("GOAL_REACHED", "goal reached")
    assert "sent by PUSH" not in [event["what"] for event in after["history"]]
    assert (await recipient_of(shop.store, member.id)).places["daily"] == ()


async def test_a_message_that_went_after_it_was_given_up_is_on_record_and_once(
    shop_with: OpenShop, phones: Phones
) -> None:
    shop = await shop_with(OFFER)
    await customer(shop)
    async with opened_office(shop, phones) as office:
        await advance(shop.store, shop.clock, shop.ledger, shop.clock.now() + timedelta(seconds=1), office=office)
        (run,) = await shop.store.runs.find().to_list()
        sent = await delivery_of(shop.store, run["delivery"])
        assert sent is not None
        given_up = {"what": "not sent", "reason": "unreachable: PUSH"}
        await shop.store.runs.update_one(
            {"_id": run["_id"]}, {"$set": {"history.1": {**run["history"][1], **given_up}}}
        )

        for _ in range(2):
            await note_sent(office, run["_id"], sent, reason="decided before", now=shop.clock.now())

    (run,) = await shop.store.runs.find().to_list()
    assert [event["what"] for event in run["history"]] == ["started", "not sent", "done", "sent"]
