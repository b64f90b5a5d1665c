"""What Firebase answers, row by row, and what a member, his phones and the run see of it (SEMANTICS §10.8)."""

from datetime import datetime, timedelta
from typing import Any, Final

from tests.api.post import a_cascade, consents, inbox, later, publish, push, said, tell, the_run, with_phone
from tests.api.shop import Shop
from tests.notifications.phones import Phones

DEVICES: Final = "{ me { devices { id } } }"
AFTER: Final = timedelta(seconds=5)


async def phones_of(post: Shop, member: str) -> int:
    """How many the member has."""
    return len((await post.phone(member, DEVICES))["me"]["devices"])


async def a_member(post: Shop, *answers: dict[str, Any], phones: Phones, platform: str = "ANDROID") -> str:
    """One whose phone is answered for with those, then with all being well."""
    member = await post.enrol()
    phones.script(await with_phone(post, member, platform=platform), *answers)
    await consents(post, member)
    return member


async def alarms(post: Shop, kind: str) -> float:
    """How often that was raised, as Prometheus is told."""
    lines = (await post.http.get("/metrics")).text.splitlines()
    return sum(float(each.split()[-1]) for each in lines if each.startswith(f'wallet_alarms_total{{kind="{kind}"}}'))


async def test_an_endpoint_that_is_no_more_is_deleted_and_one_of_another_sender_is_set_aside(
    post: Shop, phones: Phones
) -> None:
    await publish(post, a_cascade("news", push("one"), {"wait": "PT1H"}, push("two")))
    gone, invalid, foreign = [
        await a_member(post, {"kind": kind}, phones=phones)
        for kind in ("UNREGISTERED", "INVALID_REGISTRATION", "SENDER_ID_MISMATCH")
    ]
    for member in (gone, invalid, foreign):
        await tell(post, member, "news")
    await later(post, hours=2)
    left = [await phones_of(post, member) for member in (gone, invalid, foreign)]
    asked = len(phones.ledger())

    for member in (gone, foreign):
        await with_phone(post, member)
        await tell(post, member, "news")
    await later(post, minutes=1)

    assert (left, asked) == ([0, 0, 1], 3)
    assert said(await the_run(post, invalid, "news")) == [
        *("not sent: unreachable: PUSH", "waits", "not sent: unreachable: PUSH", "done"),
    ]
    assert [phones.titles(f"fid-{member}") for member in (gone, invalid, foreign)] == [["one"], [], ["one"]]
    assert sorted(await inbox(post, invalid)) == ["one", "two"]


async def test_a_message_that_firebase_refuses_is_stopped_for_everybody_until_another_version(
    post: Shop, phones: Phones
) -> None:
    cascade = a_cascade("news", push("one"), push("two"))
    await publish(post, cascade, a_cascade("other"))
    first = await a_member(post, {"kind": "INVALID_ARGUMENT"}, phones=phones)
    second = await a_member(post, phones=phones)
    before = await alarms(post, "message_refused")

    await tell(post, first, "news")
    await later(post, minutes=1)
    for activity in ("news", "other"):
        await tell(post, second, activity)
    await later(post, minutes=1)
    await publish(post, cascade)
    await tell(post, first, "news")
    await later(post, minutes=1)

    assert said(await the_run(post, second, "news")) == ["not sent: the message was refused", "sent by PUSH", "done"]
    assert await alarms(post, "message_refused") == before + 1
    assert [await phones_of(post, member) for member in (first, second)] == [1, 1]
    assert [phones.titles(f"fid-{member}") for member in (first, second)] == [["two", "one", "two"], ["two", "other"]]


async def test_a_name_that_makes_a_message_too_large_stops_it_for_nobody_else(post: Shop, phones: Phones) -> None:
    text = {"title": "news", "body": "{name}" * 5}
    await publish(post, a_cascade("news", push("one"), push("two")), templates={"one": {"en": text}})
    first, second = await post.enrol(displayName="🥐" * 200), await post.enrol(displayName="Ada")
    before = await alarms(post, "push.unsendable"), await alarms(post, "message_refused")

    for member in (first, second):
        await with_phone(post, member)
        await tell(post, member, "news")
        await later(post, minutes=1)

    assert said(await the_run(post, first, "news"))[0].startswith("not sent: the message cannot be sent: The payload")
    assert [phones.titles(f"fid-{member}") for member in (first, second)] == [["two"], ["news", "two"]]
    assert (await alarms(post, "push.unsendable"), await alarms(post, "message_refused")) == (before[0] + 1, before[1])
    assert len(await inbox(post, first)) == 2


async def test_what_may_have_come_is_tried_again_as_firebase_asks_unless_it_is_marketing(
    post: Shop, phones: Phones
) -> None:
    keys: dict[str, Any] = {"trigger": {"event": "activity.go"}}
    await publish(
        post,
        a_cascade("notice", **keys),
        a_cascade("receipt", category="TRANSACTIONAL", **keys),
        a_cascade("offer", category="MARKETING", **keys),
        a_cascade("short", push("short", expires="PT20S"), **keys),
    )
    waits = {"notice": 40, "receipt": 40, "offer": None, "short": None}
    asked = {"kind": "UNAVAILABLE", "retry_after": "40", "times": 4}
    unavailable = await a_member(post, asked, phones=phones)
    internal = await a_member(post, {"kind": "INTERNAL", "times": 4}, phones=phones)
    dropped = await a_member(post, {"kind": "DROPPED", "times": 4, "delivers": True}, phones=phones)
    for member in (unavailable, internal, dropped):
        await tell(post, member, "go")
    await later(post, seconds=5)

    for member in (unavailable, internal, dropped):
        for name, wait in waits.items():
            run = await the_run(post, member, name)
            sent_at = datetime.fromisoformat(run["history"][1]["at"])
            if name == "offer":
                assert (said(run), run["state"]) == (["sent by PUSH: ambiguous", "done"], "DONE")
            elif member == unavailable and name == "short":
                assert said(run) == ["sent by PUSH: ambiguous", "done"]
            else:
                due_in = datetime.fromisoformat(run["dueAt"]) - sent_at
                least = timedelta(seconds=wait if wait is not None and member == unavailable else 10)
                assert least <= due_in <= 1.25 * least + AFTER, name
    await later(post, minutes=2)

    for member in (unavailable, internal, dropped):
        for name in ("notice", "receipt"):
            outcome = said(await the_run(post, member, name))
            assert (len(outcome), outcome[-2:]) == (3, ["sent by PUSH", "done"])
        shown = phones.device(f"fid-{member}")["shown"]
        assert set(shown.values()) == {1}
        assert len(await inbox(post, member)) == 4
    assert "offer" in phones.titles(f"fid-{dropped}")
    assert "offer" not in phones.titles(f"fid-{internal}")


async def test_a_quota_is_kept_for_whom_it_is_of_and_never_past_the_messages_end(post: Shop, phones: Phones) -> None:
    keys: dict[str, Any] = {"trigger": {"event": "activity.go"}}
    await publish(post, a_cascade("long", **keys), a_cascade("brief", push("brief", expires="PT1M"), **keys))
    limited = await a_member(post, {"kind": "QUOTA_OF_DEVICE", "retry_after": "90"}, phones=phones)
    free = await a_member(post, phones=phones)
    for member in (limited, free):
        await tell(post, member, "go")
    await later(post, seconds=85)
    early = phones.titles(f"fid-{limited}"), sorted(phones.titles(f"fid-{free}"))
    await later(post, minutes=1)
    phones.script(f"fid-{free}", {"kind": "QUOTA_OF_PROJECT", "retry_after": "90"})
    await tell(post, free, "go")
    await later(post, seconds=1)
    await tell(post, limited, "go")
    before = len(phones.ledger())
    await later(post, seconds=80)
    held = len(phones.ledger()) - before
    await later(post, minutes=2)

    assert early == ([], ["brief", "long"])
    assert held == 0
    assert sorted(phones.titles(f"fid-{limited}")) == ["long", "long"]
    assert sorted(phones.titles(f"fid-{free}")) == ["brief", "long", "long"]


async def test_what_was_not_sent_is_tried_until_its_end_however_long_firebase_is_away(
    post: Shop, phones: Phones
) -> None:
    await publish(post, a_cascade("news"), a_cascade("short", push("short", expires="PT30H")))
    for kind in ("QUOTA_OF_DEVICE", "UNAUTHENTICATED"):
        member = await a_member(post, {"kind": kind, "times": None}, phones=phones)
        for activity in ("news", "short"):
            await tell(post, member, activity)
        await later(post, days=2)
        assert phones.titles(f"fid-{member}") == []

        phones.script(f"fid-{member}")
        await later(post, hours=3)

        news, short = await the_run(post, member, "news"), await the_run(post, member, "short")
        assert (phones.titles(f"fid-{member}"), said(news)[-2:]) == (["news"], ["sent by PUSH", "done"]), kind
        assert said(short)[-2:] == ["not sent: not sent before the message expired", "done"], kind


async def test_wrong_keys_pause_the_iphones_or_all_and_delete_nothing(post: Shop, phones: Phones) -> None:
    await publish(post, a_cascade("news"))
    iphone = await a_member(post, {"kind": "THIRD_PARTY_AUTH_ERROR"}, phones=phones, platform="IOS")
    second = await a_member(post, phones=phones, platform="IOS")
    android = await a_member(post, phones=phones)
    before = await alarms(post, "push.refused")
    await tell(post, iphone, "news")
    await later(post, seconds=1)
    for member in (second, android):
        await tell(post, member, "news")
    await later(post, minutes=4)
    paused = [phones.titles(f"fid-{member}") for member in (iphone, second, android)]
    await later(post, minutes=5)

    mended = [phones.titles(f"fid-{member}") for member in (iphone, second, android)]
    phones.script(f"fid-{iphone}", {"kind": "UNAUTHENTICATED", "times": 2})
    await tell(post, iphone, "news")
    await later(post, seconds=1)
    await tell(post, android, "news")
    await later(post, minutes=4)
    closed = len(phones.titles(f"fid-{android}"))
    await later(post, minutes=5)

    assert (paused, mended) == ([[], [], ["news"]], [["news"], ["news"], ["news"]])
    assert (closed, len(phones.titles(f"fid-{android}")), len(phones.titles(f"fid-{iphone}"))) == (1, 2, 2)
    assert [await phones_of(post, member) for member in (iphone, second, android)] == [1, 1, 1]
    assert await alarms(post, "push.refused") == before + 2


async def test_a_message_to_be_tried_again_is_judged_again(post: Shop, phones: Phones) -> None:
    held = {"kind": "QUOTA_OF_DEVICE", "retry_after": "1800"}
    await publish(
        post,
        a_cascade("offer", category="MARKETING"),
        messaging={
            "quiet_hours": {"from": "05:00", "until": "09:00"},
            "caps": [{"id": "one", "category": "MARKETING", "count": 1, "per": "day"}],
        },
    )
    wants, wants_not = [await a_member(post, held, phones=phones) for _ in range(2)]
    for member in (wants, wants_not):
        await tell(post, member, "offer")
    await later(post, minutes=1)

    await consents(post, wants_not, granted=False)
    await later(post, hours=5)
    await consents(post, wants_not)
    await tell(post, wants_not, "offer")
    await later(post, minutes=1)

    again = "deferred: to be tried again: QUOTA_EXCEEDED"
    assert said(await the_run(post, wants, "offer")) == [again, "deferred: quiet hours", "sent by PUSH", "done"]
    assert phones.titles(f"fid-{wants}") == ["offer"]
    assert phones.titles(f"fid-{wants_not}") == ["offer"]
    assert len(phones.ledger()) == 4
