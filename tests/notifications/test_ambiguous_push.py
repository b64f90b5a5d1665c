"""What may have been delivered: sent again if it answers the member, not if it only wants something of him."""

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from notifications.worker import advance
from tests.ledger.conftest import OpenShop
from tests.notifications.customer import CASCADES, customer, phone_of
from tests.notifications.office import opened_office
from tests.notifications.phones import Phones


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
