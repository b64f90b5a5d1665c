"""`reportTransition`: what counts, what is ignored and why, and what is kept of it."""

import asyncio
from typing import Any

from tests.api.shop import Shop, codes, data
from tests.api.test_consents import consent

REPORT = "mutation($input: TransitionInput!) { reportTransition(input: $input) { place ignored } }"


async def report(shop: Shop, member: str, **changes: Any) -> str | None:
    told = {"place": "store-330", "transition": "DWELL", "occurredAt": "2026-07-06T08:29:00Z", **changes}
    answered = (await shop.phone(member, REPORT, {"input": told}))["reportTransition"]
    assert answered["place"] == told["place"]
    ignored: str | None = answered["ignored"]
    return ignored


async def a_member_who_may_be_found(shop: Shop) -> str:
    member = await shop.enrol()
    await consent(shop, member, "LOCATION", True)
    return member


async def signals(shop: Shop, member: str) -> list[tuple[str, Any]]:
    found = await shop.services.store.signals.find({"member": member}).sort("at").to_list()
    return [(each["event"], each["facts"]) for each in found]


async def test_only_a_members_own_session_reports(shop: Shop) -> None:
    told = {"place": "store-330", "transition": "ENTER", "occurredAt": "2026-07-06T08:29:00Z"}

    for token in (await shop.till_token(), await shop.staff_token("staff:members")):
        assert codes(await shop.ask(REPORT, {"input": told}, token=token)) == ["FORBIDDEN"]
    assert await shop.services.store.signals.count_documents({}) == 0


async def test_what_counts_is_told_to_the_cascades_once_and_gives_no_value(shop: Shop) -> None:
    member = await a_member_who_may_be_found(shop)
    posted = await shop.posted()

    assert await report(shop, member, accuracyMetres=150.0) is None
    assert await report(shop, member, accuracyMetres=150.0) is None

    assert await signals(shop, member) == [("place.dwell", {"place": "store-330", "cascades": ["near-store"]})]
    assert await shop.posted() == posted
    (trace,) = await shop.services.store.transitions.find({"member": member}, {"_id": False}).to_list()
    assert set(trace) == {"member", "place", "transition", "counted_at", "kept_until"}


async def test_without_consent_nothing_is_kept(shop: Shop) -> None:
    member = await shop.enrol()

    assert await report(shop, member) == "NO_CONSENT"

    assert await signals(shop, member) == []
    assert await shop.services.store.transitions.count_documents({}) == 0


async def test_a_place_cools_down_by_itself_and_for_each_transition(shop: Shop) -> None:
    member = await a_member_who_may_be_found(shop)
    await report(shop, member)
    await shop.advance("2026-07-07T08:28:00Z")

    assert await report(shop, member, occurredAt="2026-07-07T08:28:59.999Z") == "COOLING_DOWN"
    assert await report(shop, member, occurredAt="2026-07-07T08:28:00Z", place="store-424") is None
    assert await report(shop, member, occurredAt="2026-07-07T08:28:00Z", transition="ENTER") is None
    assert await report(shop, member, occurredAt="2026-07-07T08:29:00Z") is None

    assert len(await signals(shop, member)) == 4


async def test_a_closed_place_starts_nothing(shop: Shop) -> None:
    member = await a_member_who_may_be_found(shop)
    closed = "closed: [2026-07-06]"
    source = (await shop.services.store.programmes.find_one({"_id": 1}) or {})["source"]
    publish = "mutation($s: String!) { publishProgramme(source: $s, expectedVersion: 1) { __typename } }"
    changed = source.replace("closed: [2017-12-25]", closed)
    await shop.staff(publish, {"s": changed}, scopes=("staff:programme",))

    assert await report(shop, member, place="store-429") == "CLOSED"
    assert await report(shop, member, place="store-318") is None


async def test_a_withdrawn_consent_forgets_where_the_member_was(shop: Shop) -> None:
    member = await a_member_who_may_be_found(shop)
    await report(shop, member)

    await consent(shop, member, "LOCATION", False)

    assert await shop.services.store.transitions.count_documents({"member": member}) == 0
    assert await signals(shop, member) == [("consent.withdrawn", {"purpose": "LOCATION"})]
    assert await report(shop, member) == "NO_CONSENT"


async def test_what_is_ignored_leaves_nothing_behind(shop: Shop) -> None:
    member = await a_member_who_may_be_found(shop)

    assert await report(shop, member, occurredAt="2026-07-06T08:14:59Z") == "TOO_OLD"
    assert await report(shop, member, occurredAt="2026-07-06T08:37:00Z") == "IN_FUTURE"
    assert await report(shop, member, accuracyMetres=150.1) == "TOO_INACCURATE"

    assert await signals(shop, member) == []
    assert await shop.services.store.transitions.count_documents({}) == 0


async def test_a_place_that_does_not_exist_and_a_distance_below_zero_are_refused(shop: Shop) -> None:
    member = await a_member_who_may_be_found(shop)
    told = {"place": "store-330", "transition": "DWELL", "occurredAt": "2026-07-06T08:29:00Z"}

    for path, value in (("place", "store-1"), ("accuracyMetres", -1.0)):
        refused = await shop.ask(REPORT, {"input": {**told, path: value}}, token=await shop.member_token(member))

        assert codes(refused) == ["BAD_USER_INPUT"]
        assert path in refused["errors"][0]["message"]
    assert await signals(shop, member) == []


async def test_reports_at_once_count_once(shop: Shop) -> None:
    member = await a_member_who_may_be_found(shop)
    token = await shop.member_token(member)
    told = [
        {"place": "store-330", "transition": "DWELL", "occurredAt": f"2026-07-06T08:{minute}:00Z"}
        for minute in range(20, 28)
    ]

    answers = await asyncio.gather(*(shop.ask(REPORT, {"input": each}, token=token) for each in told))

    assert [data(answer)["reportTransition"]["ignored"] for answer in answers].count(None) == 1
    assert len(await signals(shop, member)) == 1
