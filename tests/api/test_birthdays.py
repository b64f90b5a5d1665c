"""The birthday award over HTTP, by the sandbox's clock: once a year, on the member's day (SEMANTICS §9.1)."""

import asyncio
from typing import Any

from domain.ledger.audit import audit
from domain.members.birthday import keep_birthdays
from domain.store.slots import SLOTS
from tests.api.shop import Shop

ACTIVITY = (
    "{ me { wallet { activity(first: 50, kinds: [ACTIVITY]) { nodes { occurredAt points explanation { rule } } } } } }"
)
CHANGE = "mutation($input: ProfileInput!) { updateProfile(input: $input) { __typename } }"


async def birthdays(shop: Shop, member: str) -> list[str]:
    """When the member got 200 points for a birthday, first to last."""
    nodes = (await shop.phone(member, ACTIVITY))["me"]["wallet"]["activity"]["nodes"]
    assert all(node["points"] == 200 and node["explanation"] == [{"rule": "birthday"}] for node in nodes), nodes
    return [node["occurredAt"] for node in reversed(nodes)]


async def change(shop: Shop, member: str, **profile: Any) -> None:
    changed = await shop.phone(member, CHANGE, {"input": profile})
    assert changed == {"updateProfile": {"__typename": "ProfileUpdated"}}


async def test_each_year_from_the_first_instant_of_the_day_where_the_member_lives(shop: Shop) -> None:
    here = await shop.enrol(birthday="1980-07-10")
    there = await shop.enrol(birthday="1980-07-10", timeZone="Pacific/Kiritimati")
    await shop.advance("2026-07-09T09:59:00Z")
    before = [await birthdays(shop, member) for member in (here, there)]

    await shop.advance("2026-07-09T10:00:00Z")
    between = [await birthdays(shop, member) for member in (here, there)]
    await shop.advance("2028-12-31T12:00:00Z")

    assert before == [[], []]
    assert between == [[], ["2026-07-09T10:00:00Z"]]
    assert await birthdays(shop, here) == [f"{year}-07-10T04:00:00Z" for year in (2026, 2027, 2028)]
    assert await birthdays(shop, there) == [f"{year}-07-09T10:00:00Z" for year in (2026, 2027, 2028)]
    assert (await audit(shop.services.store)).ok


async def test_29_february_is_kept_on_28_february_in_common_years(shop: Shop) -> None:
    member = await shop.enrol(birthday="2000-02-29")

    await shop.advance("2029-01-01T00:00:00Z")

    assert await birthdays(shop, member) == [
        "2027-02-28T05:00:00Z",
        "2028-02-29T05:00:00Z",
    ]


async def test_a_birthday_changed_after_this_years_award_counts_from_next_year(shop: Shop) -> None:
    member = await shop.enrol(birthday="1980-07-10")
    await shop.advance("2026-08-01T12:00:00Z")

    await change(shop, member, birthday="1980-09-10")
    await shop.advance("2026-12-31T12:00:00Z")
    this_year = await birthdays(shop, member)
    await shop.advance("2027-12-31T12:00:00Z")

    assert this_year == ["2026-07-10T04:00:00Z"]
    assert await birthdays(shop, member) == ["2026-07-10T04:00:00Z", "2027-09-10T04:00:00Z"]


async def test_a_birthday_changed_before_it_counts_this_year_if_it_is_still_to_come(shop: Shop) -> None:
    later, earlier, gone = [await shop.enrol(birthday="1980-07-10") for _ in range(3)]
    await change(shop, later, birthday="1980-07-20")
    await change(shop, earlier, birthday="1980-07-01")
    await change(shop, gone, birthday=None)

    await shop.advance("2026-12-31T12:00:00Z")

    assert await birthdays(shop, later) == ["2026-07-20T04:00:00Z"]
    assert await birthdays(shop, earlier) == await birthdays(shop, gone) == []


async def test_a_birthday_told_on_the_day_itself_is_kept_at_once_and_a_move_gives_no_second(shop: Shop) -> None:
    member = await shop.enrol()
    await change(shop, member, birthday="1980-07-06")
    await shop.advance("2026-07-06T09:00:00Z")
    told = await birthdays(shop, member)

    await change(shop, member, timeZone="Pacific/Pago_Pago")
    await shop.advance("2026-07-08T09:00:00Z")

    assert told == ["2026-07-06T04:00:00Z"]
    assert await birthdays(shop, member) == told


async def test_who_is_made_by_signing_in_has_birthdays_too(shop: Shop) -> None:
    profile = '{birthday: "1980-07-10"}'
    signed_in = await shop.ask(
        f'mutation {{ sandboxSignIn(subject: "ana", profile: {profile}) {{ ... on Session {{ member {{ id }} }} }} }}'
    )
    member = signed_in["data"]["sandboxSignIn"]["member"]["id"]

    await shop.advance("2026-07-11T09:00:00Z")

    assert await birthdays(shop, member) == ["2026-07-10T04:00:00Z"]


async def test_any_number_that_keep_it_at_once_give_it_once(shop: Shop) -> None:
    member = await shop.enrol(birthday="1980-07-10")
    await shop.clock.move_to(shop.clock.now().replace(day=12))
    ledger, now = shop.services.ledger, shop.clock.now()

    await asyncio.gather(*(keep_birthdays(ledger, range(SLOTS), now=now) for _ in range(8)))
    await asyncio.gather(*(keep_birthdays(ledger, range(SLOTS), now=now) for _ in range(8)))

    assert await birthdays(shop, member) == ["2026-07-10T04:00:00Z"]


async def test_what_falls_due_on_the_way_is_done_in_order(shop: Shop) -> None:
    member = await shop.enrol(birthday="1980-07-10")

    await shop.advance("2027-09-01T12:00:00Z")

    entries = shop.services.store.journal.find({"member": member}).sort("seq", 1)
    done = [(entry["kind"], f"{entry['occurred_at']:%Y-%m-%d}") async for entry in entries]
    assert done == [
        ("JOIN", "2026-07-06"),
        ("ACTIVITY", "2026-07-10"),
        ("EXPIRE", "2026-10-05"),
        ("ACTIVITY", "2027-07-10"),
        ("EXPIRE", "2027-08-01"),
    ]
