"""Where a message goes: all phones of a member, the next channel, and the inbox (SEMANTICS §10.7, §10.8)."""

from tests.api.post import (
    a_cascade,
    consents,
    delivery_in,
    inbox,
    later,
    publish,
    push,
    runs,
    said,
    tell,
    the_run,
    with_phone,
)
from tests.api.shop import Shop
from tests.notifications.phones import Phones

MUTE = """
mutation($muted: [ChannelMuteInput!]) { setPreferences(input: {muted: $muted}) {
  ... on NotificationPreferences { muted { channel } }
} }
"""
REMOVE = "mutation($id: ID!) { removeDevice(id: $id) { id } }"
DEVICES = "{ me { devices { id } } }"
CASCADES = """
{ report(from: "2026-07-01", to: "2026-07-31") { cascades { cascade started sent } } }
"""


async def mute(shop: Shop, member: str, *pairs: tuple[str, str]) -> None:
    muted = [{"channel": channel, "category": category} for channel, category in pairs]
    answered = await shop.phone(member, MUTE, {"muted": muted})
    assert len(answered["setPreferences"]["muted"]) == len(pairs), answered


async def test_a_message_goes_to_all_phones_of_the_member_and_counts_once(post: Shop, phones: Phones) -> None:
    cap = {"caps": [{"id": "two", "count": 2, "per": "day"}]}
    await publish(post, a_cascade("news", push("one"), push("two"), push("three")), messaging=cap)
    member = await post.enrol()
    first, second = await with_phone(post, member), await with_phone(post, member, endpoint="tablet", platform="IOS")
    third = await with_phone(post, member, endpoint="browser:1", platform="WEB", kind="TOKEN")

    await tell(post, member, "news")
    await later(post, minutes=1)

    assert [phones.titles(endpoint) for endpoint in (first, second, third)] == [["one", "two"]] * 3
    assert said(await the_run(post, member, "news")) == [*["sent by PUSH"] * 2, "not sent: capped: two", "done"]
    report = (await post.staff(CASCADES, {}, scopes=("staff:reports",)))["report"]["cascades"]
    assert report == [{"cascade": "news", "started": 1, "sent": 2}]


async def test_nothing_of_the_first_member_reaches_a_phone_that_another_has_now(post: Shop, phones: Phones) -> None:
    await publish(post, a_cascade("news", push("one"), {"wait": "P1D"}, push("two")), a_cascade("more", push("three")))
    ana, boris = await post.enrol(), await post.enrol()
    shared = await with_phone(post, ana, endpoint="shared-phone")
    phones.script(shared, {}, {"kind": "UNAVAILABLE", "retry_after": "600"}, {"kind": "QUOTA_OF_DEVICE"})
    await tell(post, ana, "news")
    await later(post, minutes=1)
    await tell(post, ana, "more")
    await later(post, minutes=1)
    tried = len(phones.ledger())

    await with_phone(post, boris, endpoint=shared)
    await tell(post, boris, "news")
    await later(post, days=2)

    received = [(entry["message"]["notification"]["title"], entry["answer"]) for entry in phones.ledger()]
    assert (tried, received[:2]) == (2, [("one", "OK"), ("three", "UNAVAILABLE")])
    assert [title for title, _ in received[2:]] == ["one", "one", "two"]
    assert said(await the_run(post, ana, "news"))[2:] == ["not sent: unreachable: PUSH", "done"]
    assert sorted(await inbox(post, ana)) == ["one", "three", "two"]
    assert sorted(await inbox(post, boris)) == ["one", "two"]


async def test_where_every_phone_is_gone_the_next_channel_has_the_message_at_once(post: Shop, phones: Phones) -> None:
    await publish(post, a_cascade("news", {"send": ["PUSH", "EMAIL"], "template": "one"}, push("two")))
    member = await post.enrol(email="ana@example.com")
    for endpoint in ("old-phone", "older-phone"):
        phones.script(await with_phone(post, member, endpoint=endpoint), {"kind": "UNREGISTERED"})

    await tell(post, member, "news")
    await later(post, minutes=1)

    assert said(await the_run(post, member, "news")) == [
        *("unreachable: PUSH", "sent by EMAIL", "not sent: unreachable: PUSH", "done"),
    ]
    assert await post.phone(member, DEVICES) == {"me": {"devices": []}}
    assert sorted(await inbox(post, member)) == ["one", "two"]
    assert phones.device("old-phone")["screen"] == []


async def test_each_step_says_where_it_goes_and_takes_the_first_channel_that_reaches_the_member(post: Shop) -> None:
    ways = [["INBOX"], ["PUSH", "SMS"], ["SMS", "EMAIL", "PUSH"], ["EMAIL"], ["PUSH", "EMAIL", "INBOX"]]
    await publish(post, a_cascade("news", *({"send": way, "template": f"t{n}"} for n, way in enumerate(ways))))
    nobody, by_mail, by_sms = await post.enrol(), await post.enrol(email="b@example.com"), await post.enrol()
    await post.phone(by_sms, 'mutation { updateProfile(input: {phone: "+38640123456"}) { __typename } }')
    silent = await post.enrol(phone="+38640123457")
    await with_phone(post, silent, pushPermitted=False)

    for member in (nobody, by_mail, by_sms, silent):
        await tell(post, member, "news")
    await later(post, minutes=1)

    went = {}
    for member in (nobody, by_mail, by_sms, silent):
        history = (await the_run(post, member, "news"))["history"]
        went[member] = [event["what"].removeprefix("sent by ") for event in history if "sent" in event["what"]]
        assert sorted(await inbox(post, member)) == ["t0", "t1", "t2", "t3", "t4"]
    assert went == {
        nobody: ["INBOX", "not sent", "not sent", "not sent", "INBOX"],
        by_mail: ["INBOX", "not sent", "EMAIL", "EMAIL", "EMAIL"],
        by_sms: ["INBOX", "SMS", "SMS", "not sent", "INBOX"],
        silent: ["INBOX", "SMS", "SMS", "not sent", "INBOX"],
    }


async def test_what_a_member_muted_goes_another_way_or_not_at_all(post: Shop, phones: Phones) -> None:
    both = {"send": ["PUSH", "EMAIL"], "template": "both"}
    await publish(
        post,
        *(
            a_cascade(category.lower(), push("alone"), both, trigger={"event": "activity.go"}, category=category)
            for category in ("MARKETING", "SERVICE", "TRANSACTIONAL")
        ),
    )
    member = await post.enrol(email="ana@example.com")
    phone = await with_phone(post, member)
    await consents(post, member)

    await mute(post, member, ("PUSH", "MARKETING"), ("PUSH", "TRANSACTIONAL"), ("EMAIL", "TRANSACTIONAL"))
    await tell(post, member, "go")
    await later(post, minutes=1)
    await mute(post, member)
    await tell(post, member, "go")
    await later(post, minutes=1)

    first = {name: said((await runs(post, member, name))[-1]) for name in ("marketing", "service", "transactional")}
    assert first == {
        "marketing": ["not sent: muted: PUSH", "sent by EMAIL", "done"],
        "service": ["sent by PUSH", "sent by PUSH", "done"],
        "transactional": ["not sent: muted: PUSH", "not sent: muted: PUSH, EMAIL", "done"],
    }
    assert len(phones.titles(phone)) == 2 + 6
    assert len(await inbox(post, member)) == 3 + 6


async def test_a_phone_that_was_taken_out_gets_nothing_of_what_is_still_tried(post: Shop, phones: Phones) -> None:
    await publish(post, a_cascade("news", {"send": ["PUSH", "EMAIL"], "template": "one"}))
    member = await post.enrol(email="ana@example.com")
    phones.script(await with_phone(post, member), {"kind": "QUOTA_OF_DEVICE", "retry_after": "60"})
    await tell(post, member, "news")
    await later(post, seconds=30)
    (device,) = (await post.phone(member, DEVICES))["me"]["devices"]

    await post.phone(member, REMOVE, {"id": device["id"]})
    await later(post, minutes=5)

    run = await the_run(post, member, "news")
    assert said(run) == [
        *("deferred: to be tried again: QUOTA_EXCEEDED", "unreachable: PUSH", "sent by EMAIL", "done"),
    ]
    assert len(phones.ledger()) == 1
    assert (
        delivery_in(run)
        == (await post.phone(member, "{ me { inbox { nodes { id } } } }"))["me"]["inbox"]["nodes"][0]["id"]
    )
