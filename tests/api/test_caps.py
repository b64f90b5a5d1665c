"""Frequency caps over the members' days and over windows that roll, skipped and waited for (SEMANTICS §10.10)."""

import asyncio
from datetime import datetime, timedelta
from typing import Any, Final

from notifications.due_runs import send_due
from notifications.hearing import hear_journal
from notifications.office import Office
from tests.api.post import a_cascade, consents, inbox, later, publish, push, runs, said, tell, the_run, with_phone
from tests.api.shop import Shop
from tests.notifications.phones import Phones

DAY: Final = {"id": "day", "category": "MARKETING", "channel": "PUSH", "count": 1, "per": "day"}
WEEK: Final = {"id": "week", "category": "MARKETING", "channel": "PUSH", "count": 3, "per": "P7D"}


def an_offer(identifier: str, *steps: dict[str, Any], **keys: Any) -> dict[str, Any]:
    return a_cascade(identifier, *steps, category="MARKETING", **keys)


async def a_customer(post: Shop, **profile: Any) -> str:
    member = await post.enrol(**profile)
    await with_phone(post, member)
    await consents(post, member)
    return member


async def test_a_day_is_the_members_own_and_the_others_do_not_count(post: Shop, phones: Phones) -> None:
    await publish(
        post,
        an_offer("offer"),
        a_cascade("notice"),
        a_cascade("receipt", category="TRANSACTIONAL"),
        an_offer("mail", {"send": "EMAIL", "template": "mail"}),
        messaging={"caps": [DAY]},
    )
    zones = {"Pacific/Auckland": "2026-07-06T12:00Z", "America/New_York": "2026-07-07T04:00Z"}
    members = {zone: await a_customer(post, timeZone=zone, email="a@example.com") for zone in zones}
    for activities in (("offer", "notice", "receipt", "mail"), ("offer",)):
        for member in members.values():
            for activity in activities:
                await tell(post, member, activity)
        await later(post, minutes=1)
    for zone, midnight in zones.items():
        await post.advance((datetime.fromisoformat(midnight) - timedelta(minutes=2)).isoformat())
        await tell(post, members[zone], "offer")
        await later(post, minutes=2, seconds=1)
        await tell(post, members[zone], "offer")
        await later(post, minutes=1)

    for member in members.values():
        offers = [said(run)[0] for run in reversed(await runs(post, member, "offer"))]
        assert offers == ["sent by PUSH", "not sent: capped: day", "not sent: capped: day", "sent by PUSH"]
        assert sorted(await inbox(post, member)) == ["mail", "notice", "offer", "offer", "receipt"]


async def test_a_window_rolls_and_what_waits_goes_when_there_is_room(post: Shop) -> None:
    waits = push("waits", capped="wait")
    too_long = push("too-long", capped="wait", expires="P1D")
    await publish(
        post, an_offer("offer"), an_offer("late", waits), an_offer("short", too_long), messaging={"caps": [WEEK]}
    )
    member = await a_customer(post)
    for _ in range(3):
        await tell(post, member, "offer")
        await later(post, days=1)
    for activity in ("offer", "late", "short"):
        await tell(post, member, activity)
    await later(post, minutes=1)

    offers = [said(run)[0] for run in reversed(await runs(post, member, "offer"))]
    waiting, short = await the_run(post, member, "late"), await the_run(post, member, "short")
    await later(post, days=4, minutes=1)

    assert offers == [*["sent by PUSH"] * 3, "not sent: capped: week"]
    assert said(waiting) == ["deferred: capped: week"]
    sent_at = [run["history"][1]["at"] for run in await runs(post, member, "offer") if said(run)[0] == "sent by PUSH"]
    first_at = datetime.fromisoformat(sent_at[-1])
    assert datetime.fromisoformat(waiting["dueAt"]) == first_at + timedelta(days=7)
    assert said(short) == ["not sent: capped: week", "done"]
    assert said(await the_run(post, member, "late")) == ["deferred: capped: week", "sent by PUSH", "done"]


async def test_a_place_comes_back_only_if_the_message_certainly_was_not_sent(post: Shop, phones: Phones) -> None:
    refused = ({"kind": "UNREGISTERED"}, {"kind": "SENDER_ID_MISMATCH"})
    unknown = ({"kind": "UNAVAILABLE"}, {"kind": "DROPPED"}, {"kind": "INTERNAL"})
    await publish(post, an_offer("offer"), messaging={"caps": [DAY]})
    members = [await a_customer(post) for _ in (*refused, *unknown)]
    for member, answer in zip(members, (*refused, *unknown), strict=True):
        phones.script(f"fid-{member}", answer)
        await tell(post, member, "offer")
    await later(post, minutes=1)

    for member in members:
        await with_phone(post, member, endpoint=f"new-{member}")
        await tell(post, member, "offer")
    await later(post, minutes=1)

    second = [said((await runs(post, member, "offer"))[0])[0] for member in members]
    assert second == [*["sent by PUSH"] * 2, *["not sent: capped: day"] * 3]


async def test_a_message_that_goes_on_another_day_counts_on_that_day(post: Shop, phones: Phones) -> None:
    cap = {**DAY, "category": "SERVICE"}
    hours = {"from": "22:00", "until": "08:00"}
    await publish(post, a_cascade("held"), a_cascade("next"), messaging={"caps": [cap], "quiet_hours": hours})
    member = await a_customer(post, timeZone="Europe/Ljubljana")
    phones.script(f"fid-{member}", {"kind": "QUOTA_OF_DEVICE", "retry_after": "120"})
    await post.advance("2026-07-06T19:59:00Z")
    await tell(post, member, "held")
    await post.advance("2026-07-07T07:00:00Z")
    await tell(post, member, "next")
    await later(post, minutes=1)

    assert said(await the_run(post, member, "held")) == [
        "deferred: to be tried again: QUOTA_EXCEEDED",
        "deferred: quiet hours",
        *("sent by PUSH", "done"),
    ]
    assert said(await the_run(post, member, "next")) == ["not sent: capped: day", "done"]


async def test_a_message_that_waits_to_be_tried_again_has_no_place_meanwhile(post: Shop, phones: Phones) -> None:
    await publish(post, an_offer("offer"), an_offer("next"), messaging={"caps": [DAY]})
    member = await a_customer(post)
    phones.script(f"fid-{member}", {"kind": "QUOTA_OF_DEVICE", "retry_after": "3600"})
    await tell(post, member, "offer")
    await later(post, seconds=1)
    phones.script(f"fid-{member}")
    await with_phone(post, member, endpoint=f"new-{member}")
    await tell(post, member, "next")
    await later(post, hours=2)

    tried = "deferred: to be tried again: QUOTA_EXCEEDED"
    assert said(await the_run(post, member, "offer")) == [tried, "not sent: capped: day", "done"]
    assert said(await the_run(post, member, "next")) == [tried, "sent by PUSH", "done"]
    assert [phones.titles(f"{phone}-{member}") for phone in ("fid", "new")] == [["next"], ["next"]]


async def test_two_who_send_at_once_have_one_place_between_them(post: Shop, phones: Phones) -> None:
    offers = [an_offer(f"offer-{n}", push("offer"), trigger={"event": "activity.go"}) for n in range(3)]
    await publish(post, *offers, messaging={"caps": [DAY]})
    members = [await a_customer(post) for _ in range(6)]
    for member in members:
        await tell(post, member, "go")
    first = post.services.office
    second = Office(store=first.store, clock=first.clock, programmes=first.programmes, carriers=first.carriers)

    now = post.clock.now()
    await asyncio.gather(*(hear_journal(office, members, now=now) for office in (first, second)))
    await asyncio.gather(*(send_due(office, members, now=now) for office in (first, second)))
    await later(post, minutes=1)

    assert len(phones.ledger()) == len(members)
    for member in members:
        told = sorted([said(await the_run(post, member, offer["id"]))[0] for offer in offers])
        assert told == ["not sent: capped: day", "not sent: capped: day", "sent by PUSH"]
