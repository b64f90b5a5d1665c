"""Whether a message may go: the first rule that says no is the reason, and rules hold when it is sent (§10.8)."""

from typing import Any, Final

from tests.api.post import a_cascade, consents, inbox, later, publish, push, runs, said, tell, the_run, with_phone
from tests.api.shop import Shop, a_purchase
from tests.api.test_channels import mute
from tests.notifications.phones import Phones

OFFER: Final = ("PUSH", "MARKETING")


async def test_the_first_that_says_no_is_the_reason(post: Shop) -> None:
    """Each member passes one more of the rules than the one before him, and fails all after it."""
    keys: dict[str, Any] = {"category": "MARKETING", "consent": "PERSONALISATION"}
    full = a_cascade("full", push("full"), category="MARKETING")
    await publish(
        post,
        full,
        a_cascade("offer", push("offer", expires="PT1H"), **keys),
        a_cascade("held", push("held", expires="PT1H"), holdout_percent=100, **keys),
        messaging={
            "quiet_hours": {"from": "04:00", "until": "08:00"},
            "caps": [{"id": "one", "category": "MARKETING", "count": 1, "per": "P7D"}],
        },
    )
    stages = ("nothing", "marketing", "all consents", "unmuted", "treated", "reached", "room")
    members = {stage: await post.enrol() for stage in stages}
    for stage, member in members.items():
        passed = stages.index(stage)
        if passed >= 1:
            await consents(post, member)
        if passed >= 2:
            await consents(post, member, "PERSONALISATION")
        if passed < 3:
            await mute(post, member, OFFER)
        if passed >= 5:
            await with_phone(post, member)
    await post.advance("2026-07-06T12:00:00Z")
    await tell(post, members["reached"], "full")
    await post.advance("2026-07-07T08:30:00Z")
    for member in members.values():
        await tell(post, member, "offer")
        await tell(post, member, "held")
    await later(post, minutes=1)

    expired = "quiet hours until after the message expired"
    reasons = {stage: said(await the_run(post, member, "offer"))[0] for stage, member in members.items()}
    assert reasons == {
        "nothing": "not sent: no consent: MARKETING",
        "marketing": "not sent: no consent: PERSONALISATION",
        "all consents": "not sent: muted: PUSH",
        "unmuted": "not sent: unreachable: PUSH",
        "treated": "not sent: unreachable: PUSH",
        "reached": "not sent: capped: one",
        "room": f"not sent: {expired}",
    }
    held = {stage: said(await the_run(post, member, "held"))[0] for stage, member in members.items()}
    assert {stage: held[stage] for stage in stages[:3]} == {stage: reasons[stage] for stage in stages[:3]}
    assert {held[stage] for stage in stages[3:]} == {"held out"}
    assert await inbox(post, members["all consents"]) == []


async def test_a_consent_that_is_withdrawn_during_a_wait_stops_what_comes_after_it(post: Shop, phones: Phones) -> None:
    steps = (push("one"), {"wait": "P1D"}, push("two"), {"wait": "P1D"}, push("three"))
    await publish(
        post,
        a_cascade("offer", *steps, category="MARKETING"),
        a_cascade("notice", *steps),
        a_cascade("tailored", *steps, consent=["PERSONALISATION"]),
    )
    member = await post.enrol()
    phone = await with_phone(post, member)
    for purpose in ("MARKETING", "PERSONALISATION"):
        await consents(post, member, purpose)
    for activity in ("offer", "notice", "tailored"):
        await tell(post, member, activity)
    await later(post, hours=1)

    for purpose in ("MARKETING", "PERSONALISATION"):
        await consents(post, member, purpose, granted=False)
    await later(post, days=1)
    await consents(post, member)
    await later(post, days=1)

    assert said(await the_run(post, member, "offer")) == [
        *("sent by PUSH", "waits", "not sent: no consent: MARKETING", "waits", "sent by PUSH", "done"),
    ]
    assert said(await the_run(post, member, "tailored"))[2::2] == ["not sent: no consent: PERSONALISATION"] * 2
    assert len(phones.titles(phone)) == 1 + 1 + 3 + 1


async def test_conditions_of_steps_are_asked_when_they_come(post: Shop) -> None:
    await publish(
        post,
        a_cascade(
            "steps",
            push("poor", when="member.points < 10"),
            push("bought", when="entry.points > 0"),
            {"wait": "P1D"},
            {"branch": "member.points >= 10", "then": [push("rich"), {"end": True}], "else": [push("still-poor")]},
            {"end": True, "when": "member.purchases > 5"},
            {"wait": "P1D"},
            push("last"),
            trigger={"event": "purchase"},
            reentry="once",
        ),
    )
    saver, other = await post.enrol(), await post.enrol()
    for member in (saver, other):
        await post.record(a_purchase(member, "5.00"))
    await later(post, hours=1)

    await post.record(a_purchase(saver, "5.00"))
    await later(post, days=3)

    for member in (saver, other):
        (run,) = [each for each in await runs(post, member, "steps") if each["history"][0]["what"] == "started"]
        assert run["state"] == "DONE"
    assert sorted(await inbox(post, saver)) == ["bought", "poor", "rich"]
    assert sorted(await inbox(post, other)) == ["bought", "last", "poor", "still-poor"]
