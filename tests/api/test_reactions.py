"""What a member does with a message, and what becomes of the run that sent it (SEMANTICS §10.4, §10.6)."""

import asyncio
from typing import Any, Final

from tests.api.post import (
    a_cascade,
    delivery_in,
    inbox,
    later,
    publish,
    push,
    report,
    runs,
    said,
    tell,
    the_run,
    with_phone,
)
from tests.api.shop import Shop, codes
from tests.notifications.phones import Phones

FOR_THE_SILENT: Final = a_cascade(
    "silent",
    push("first"),
    {"wait": "P1D", "until": "reaction"},
    push("second", **{"if": "no_reaction"}),
    {"wait": "P2D", "until": "reaction"},
    push("third", **{"if": "no_reaction"}),
)
BRANCHED: Final = a_cascade(
    "branched",
    push("hello"),
    {"wait": "P1D", "until": "reaction"},
    {"branch": "reaction", "then": [push("thanks"), {"end": True}], "else": [push("waiting")]},
    push("bye"),
)
MARK: Final = "mutation($ids: [ID!]!) { markRead(ids: $ids) }"


async def a_member(post: Shop, *activities: str) -> str:
    member = await post.enrol()
    await with_phone(post, member)
    for activity in activities:
        await tell(post, member, activity)
    return member


async def test_opening_and_reading_are_reactions_and_nothing_else_is(post: Shop) -> None:
    await publish(post, FOR_THE_SILENT, BRANCHED)
    members = {kind: await a_member(post, "silent", "branched") for kind in ("RECEIVED", "DISPLAYED", "DISMISSED")}
    members |= {kind: await a_member(post, "silent", "branched") for kind in ("OPENED", "READ")}
    await later(post, minutes=1)

    for kind, member in members.items():
        for cascade in ("silent", "branched"):
            delivery = delivery_in(await the_run(post, member, cascade))
            if kind == "READ":
                await post.phone(member, MARK, {"ids": [delivery]})
            else:
                assert await report(post, member, delivery, kind) is False
    await later(post, minutes=1)
    woken = {kind: await inbox(post, member) for kind, member in members.items()}
    await later(post, days=4)

    for kind, member in members.items():
        reacted = kind in {"OPENED", "READ"}
        at_once = ["first", "hello", "thanks"] if reacted else ["first", "hello"]
        after = at_once if reacted else ["bye", "first", "hello", "second", "third", "waiting"]
        assert (sorted(woken[kind]), sorted(await inbox(post, member))) == (at_once, after), kind
    run = await the_run(post, members["READ"], "silent")
    assert said(run)[2] == "reaction: inbox.read"


async def test_a_late_report_is_noted_and_undoes_nothing_and_a_second_one_says_nothing_new(post: Shop) -> None:
    await publish(post, FOR_THE_SILENT)
    member = await a_member(post, "silent")
    await later(post, days=1, minutes=1)
    first, second = [delivery_in(await the_run(post, member, "silent"), number) for number in (0, 1)]

    late = [await report(post, member, first), await report(post, member, first, "DISPLAYED")]
    await later(post, minutes=1)
    waiting = await the_run(post, member, "silent")
    in_time = [await report(post, member, second), await report(post, member, second)]
    await later(post, minutes=1)
    after = await report(post, member, second)
    await post.phone(member, MARK, {"ids": [first]})
    await later(post, minutes=1)

    assert (late, in_time, after) == ([True, True], [False, False], True)
    assert (waiting["state"], said(waiting)[-1]) == ("WAITING", "late reaction: delivery.opened")
    assert said(await the_run(post, member, "silent")) == [
        *("sent by PUSH", "waits", "sent by PUSH", "waits", "late reaction: delivery.opened"),
        *("reaction: delivery.opened", "not sent: reaction", "done", "late reaction: inbox.read"),
    ]
    assert await inbox(post, member) == ["second", "first"]


async def test_messages_sent_together_are_reacted_to_by_opening_any(post: Shop) -> None:
    await publish(
        post,
        a_cascade(
            "pair", push("one"), push("two"), {"wait": "P1D", "until": "reaction"}, push("last", **{"if": "reaction"})
        ),
    )
    member = await a_member(post, "pair")
    await later(post, minutes=1)

    late = await report(post, member, delivery_in(await the_run(post, member, "pair"), 0))
    await later(post, minutes=1)

    assert late is False
    assert await inbox(post, member) == ["last", "two", "one"] or await inbox(post, member) == ["last", "one", "two"]


async def test_nobody_reports_what_he_did_not_get(post: Shop) -> None:
    await publish(post, FOR_THE_SILENT)
    member, other = await a_member(post, "silent"), await a_member(post)
    await later(post, minutes=1)
    delivery = delivery_in(await the_run(post, member, "silent"))
    asked = """mutation($d: ID!) {
      reportDelivery(delivery: $d, event: OPENED, at: "2026-07-06T08:31:00Z") { late }
    }"""

    refused = [
        await post.ask(asked, {"d": identifier}, token=await post.member_token(whose))
        for identifier, whose in ((delivery, other), ("d-unknown", member))
    ]
    marked = await post.phone(other, MARK, {"ids": [delivery]})
    await later(post, minutes=1)

    assert [codes(answer) for answer in refused] == [["BAD_USER_INPUT"]] * 2
    assert marked == {"markRead": 0}
    assert said(await the_run(post, member, "silent")) == ["sent by PUSH", "waits"]


async def test_a_message_that_reaches_no_phone_is_reacted_to_in_the_inbox(post: Shop) -> None:
    await publish(post, FOR_THE_SILENT)
    member = await post.enrol()
    await tell(post, member, "silent")
    await later(post, minutes=1)
    delivery = delivery_in(await the_run(post, member, "silent"))

    await post.phone(member, MARK, {"ids": [delivery]})
    await later(post, days=4)

    assert said(await the_run(post, member, "silent")) == [
        *("not sent: unreachable: PUSH", "waits", "reaction: inbox.read"),
        *("not sent: reaction", "not sent: reaction", "done"),
    ]


async def test_a_reaction_counts_while_another_phone_of_the_member_is_still_tried(post: Shop, phones: Phones) -> None:
    await publish(post, FOR_THE_SILENT)
    member = await a_member(post)
    other = await with_phone(post, member, endpoint="slow-phone")
    phones.script(other, {"kind": "UNAVAILABLE", "retry_after": "3600"})
    await tell(post, member, "silent")
    await later(post, minutes=1)
    delivery = delivery_in(await the_run(post, member, "silent"))

    late = await report(post, member, delivery)
    await later(post, days=4)

    assert late is False
    assert phones.titles(other) == ["first"]
    assert said(await the_run(post, member, "silent")) == [
        *("deferred: to be tried again: UNAVAILABLE", "reaction: delivery.opened", "sent by PUSH"),
        *("not sent: reaction", "not sent: reaction", "done"),
    ]


async def test_a_message_may_be_opened_on_one_phone_before_another_has_answered(post: Shop, phones: Phones) -> None:
    await publish(post, FOR_THE_SILENT)
    member = await a_member(post)
    phones.script(await with_phone(post, member, endpoint="slow-phone"), {"seconds": 2})
    await tell(post, member, "silent")

    sending = asyncio.create_task(later(post, minutes=1))
    received = await asyncio.to_thread(phones.ledger, at_least=2)
    late = await report(post, member, received[0]["message"]["data"]["delivery_id"])
    await sending
    await later(post, days=4)

    assert late is False
    assert said(await the_run(post, member, "silent"))[-3:] == ["not sent: reaction", "not sent: reaction", "done"]


async def test_opening_a_message_may_start_a_cascade_and_be_anothers_goal(post: Shop) -> None:
    goal: dict[str, Any] = {"goal": {"events": ["inbox.read"]}}
    await publish(
        post,
        a_cascade("silent", push("first")),
        a_cascade("opener", push("opened"), trigger={"event": "delivery.opened"}, reentry="once"),
        a_cascade("until-read", {"wait": "P1D"}, push("unread"), **goal),
    )
    member = await a_member(post, "silent", "until-read")
    await later(post, minutes=1)
    delivery = delivery_in(await the_run(post, member, "silent"))

    for _ in range(2):
        await report(post, member, delivery)
    await later(post, minutes=1)
    started = await runs(post, member, "opener")
    await post.phone(member, MARK, {"ids": [delivery]})
    await later(post, days=2)

    assert len(started) == 1
    assert sorted(await inbox(post, member)) == ["first", "opened"]
    ended = await the_run(post, member, "until-read")
    assert (ended["state"], said(ended)) == ("GOAL_REACHED", ["waits", "goal reached: inbox.read"])
