"""Quiet hours, local times and pauses, over the nights on which the clocks change (SEMANTICS §10.4, §10.9)."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from tests.api.post import a_cascade, consents, inbox, later, line, publish, push, runs, said, tell, the_run, with_phone
from tests.api.shop import Shop

QUIET: Final = {"quiet_hours": {"from": "22:00", "until": "08:00"}}
NIGHTS: Final = (
    ("Australia/Lord_Howe", date(2026, 10, 3)),
    ("Europe/Ljubljana", date(2026, 10, 24)),
    ("America/New_York", date(2026, 10, 31)),
    ("Asia/Almaty", date(2027, 1, 15)),
    ("America/New_York", date(2027, 3, 13)),
    ("Europe/Ljubljana", date(2027, 3, 27)),
    ("Australia/Lord_Howe", date(2027, 4, 3)),
)
"""Evenings in order; the clocks change in the night after them, but in Almaty."""
SPREAD: Final = timedelta(minutes=10)
SLACK: Final = timedelta(seconds=5)
"""The clock runs on while the machine works."""


def local(zone: str, day: date, at: str) -> datetime:
    return datetime.combine(day, time.fromisoformat(at), tzinfo=ZoneInfo(zone)).astimezone(UTC)


def at_local(name: str, at: str, *steps: dict[str, Any], **keys: Any) -> dict[str, Any]:
    """A cascade that sends at that local time, or as long after it as the steps say."""
    return a_cascade(name, {"at": at}, *steps, push(name), trigger={"event": "activity.go"}, **keys)


def sent_at(run: dict[str, Any]) -> datetime:
    (at,) = [event["at"] for event in run["history"] if event["what"].startswith("sent")]
    return datetime.fromisoformat(at)


async def test_quiet_hours_hold_from_ten_to_eight_by_the_members_clock_in_every_night(post: Shop) -> None:
    half_a_minute = {"wait": "PT30S"}
    await publish(
        post,
        at_local("before", "21:59", half_a_minute),
        at_local("evening", "22:00"),
        at_local("night", "00:30"),
        at_local("morning", "07:59", half_a_minute),
        at_local("after", "08:00"),
        at_local("receipt", "02:30", category="TRANSACTIONAL"),
        messaging=QUIET,
    )
    members = {zone: await post.enrol(timeZone=zone) for zone, _ in NIGHTS}

    mornings: set[timedelta] = set()
    for zone, evening in NIGHTS:
        member, morning = members[zone], evening + timedelta(days=1)
        await post.advance(local(zone, evening, "21:00").isoformat())
        await with_phone(post, member)
        await tell(post, member, "go")
        await post.advance(local(zone, morning, "08:11").isoformat())

        names = ("before", "evening", "night", "morning", "after", "receipt")
        found = {name: (await runs(post, member, name))[0] for name in names}
        lines = {name: [each for each in said(run) if each != "waits"] for name, run in found.items()}
        held = {name: lines.pop(name) for name in ("evening", "night", "morning")}
        assert [*held.values()] == [["deferred: quiet hours", "sent by PUSH", "done"]] * 3
        assert [*lines.values()] == [["sent by PUSH", "done"]] * 3
        eight, at = local(zone, morning, "08:00"), {name: sent_at(run) for name, run in found.items()}
        assert timedelta(0) <= at["before"] - local(zone, evening, "21:59") - timedelta(seconds=30) < SLACK
        assert timedelta(0) <= at["after"] - eight < SLACK
        for name in held:
            assert timedelta(0) <= at[name] - eight < SPREAD + SLACK, (zone, name)
        assert max(at[name] for name in held) - min(at[name] for name in held) < SLACK
        mornings.add(at["night"] - eight)
        assert timedelta(0) <= at["receipt"] - half_past_two(zone, morning) < SLACK, (zone, morning)

    assert max(mornings) - min(mornings) > SLACK


def half_past_two(zone: str, day: date) -> datetime:
    """02:30 there on that day: the first of two, or the first instant after the gap that takes it."""
    gaps = {
        ("Australia/Lord_Howe", date(2026, 10, 4)): "2026-10-04T02:30+11:00",
        ("Europe/Ljubljana", date(2026, 10, 25)): "2026-10-25T02:30+02:00",
        ("America/New_York", date(2027, 3, 14)): "2027-03-14T03:00-04:00",
        ("Europe/Ljubljana", date(2027, 3, 28)): "2027-03-28T03:00+02:00",
    }
    told = gaps.get((zone, day))
    return local(zone, day, "02:30") if told is None else datetime.fromisoformat(told)


OWN: Final = """
mutation($from: String, $until: String, $paused: DateTime) {
  setPreferences(input: {quietFrom: $from, quietUntil: $until, pausedUntil: $paused}) { __typename }
}
"""


async def prefers(post: Shop, member: str, **told: str | None) -> None:
    answered = await post.phone(member, OWN, {"from": None, "until": None, "paused": None, **told})
    assert answered == {"setPreferences": {"__typename": "NotificationPreferences"}}


async def test_a_members_own_hours_go_before_the_programmes_and_a_pause_after_both(post: Shop) -> None:
    await publish(
        post,
        a_cascade("notice", trigger={"event": "activity.go"}),
        a_cascade("receipt", trigger={"event": "activity.go"}, category="TRANSACTIONAL"),
        messaging=QUIET,
    )
    usual, siesta, owl, paused, back = [await post.enrol(timeZone="Europe/Ljubljana") for _ in range(5)]
    for member in (usual, siesta, owl, paused, back):
        await with_phone(post, member)
    await prefers(post, siesta, **{"from": "12:00", "until": "15:30"})
    await prefers(post, owl, **{"from": "03:00", "until": "11:00"})
    await prefers(post, paused, paused="2026-07-08T10:00:00Z")
    await prefers(post, back, **{"from": "12:00", "until": "15:30"})
    await prefers(post, back)

    went: dict[str, list[str]] = {}
    for told_at in ("2026-07-06T10:30:00Z", "2026-07-06T21:00:00Z"):
        await post.advance(told_at)
        for member in (usual, siesta, owl, paused, back):
            await tell(post, member, "go")
    await post.advance("2026-07-08T10:11:00Z")
    for member in (usual, siesta, owl, paused, back):
        receipts = [sent_at(run) for run in reversed(await runs(post, member, "receipt"))]
        assert [f"{at:%d %H:%M}" for at in receipts] == ["06 10:30", "06 21:00"]
        notices = [sent_at(run) for run in reversed(await runs(post, member, "notice"))]
        went[member] = [f"{at:%d %H}" + (":30" if at.minute >= 30 else "") for at in notices]

    assert went == {
        usual: ["06 10:30", "07 06"],
        siesta: ["06 13:30", "06 21"],
        owl: ["06 10:30", "06 21"],
        paused: ["08 10", "08 10"],
        back: ["06 10:30", "07 06"],
    }


async def test_a_member_who_told_no_zone_is_left_in_peace_by_the_clock_of_his_phone(post: Shop) -> None:
    await publish(post, a_cascade("notice"), messaging=QUIET)
    abroad, told, neither = await post.enrol(), await post.enrol(timeZone="America/New_York"), await post.enrol()
    for member in (abroad, told):
        await with_phone(post, member, timeZone="Asia/Almaty")
    await with_phone(post, neither)
    await post.advance("2026-07-06T18:00:00Z")
    for member in (abroad, told, neither):
        await tell(post, member, "notice")
    await later(post, minutes=1)

    found = {member: said(await the_run(post, member, "notice")) for member in (abroad, told, neither)}
    assert found == {
        abroad: ["deferred: quiet hours"],
        told: ["sent by PUSH", "done"],
        neither: ["sent by PUSH", "done"],
    }


async def test_what_would_come_after_its_expiry_is_dropped_with_the_reason(post: Shop) -> None:
    go: dict[str, Any] = {"trigger": {"event": "activity.go"}}
    await publish(
        post,
        a_cascade("message", push("message", expires="PT9H"), push("next", expires="PT12H"), **go),
        a_cascade("whole", push("whole"), expires="PT2H", **go),
        a_cascade("offer", push("offer", expires="PT30M"), category="MARKETING", **go),
        messaging=QUIET,
    )
    member = await post.enrol(timeZone="Europe/Ljubljana")
    await with_phone(post, member)
    await consents(post, member)
    await post.advance("2026-07-06T20:59:00Z")

    await tell(post, member, "go")
    await post.advance("2026-07-07T06:11:00Z")

    dropped = "not sent: quiet hours until after the message expired"
    assert said(await the_run(post, member, "message")) == [dropped, "deferred: quiet hours", "sent by PUSH", "done"]
    assert said(await the_run(post, member, "whole")) == [dropped, "done"]
    assert said(await the_run(post, member, "offer")) == [dropped, "done"]
    assert await inbox(post, member) == ["next"]


async def test_a_pause_without_an_end_drops_what_would_have_gone(post: Shop) -> None:
    await publish(post, a_cascade("notice"))
    member = await post.enrol()
    await with_phone(post, member)
    await prefers(post, member, paused="9999-12-31T23:59:59.999Z")

    await tell(post, member, "notice")
    await later(post, minutes=1)

    assert said(await the_run(post, member, "notice")) == [
        "not sent: quiet hours until after the message expired",
        "done",
    ]


async def test_a_step_at_a_local_time_goes_by_the_members_zone_and_its_wait_by_whole_days(post: Shop) -> None:
    await publish(post, a_cascade("daily", push("one", at="10:00"), {"wait": "P1D"}, push("two", at="10:00")))
    zones = {"Asia/Almaty": "07T05:00", "Europe/Ljubljana": "07T08:00", "America/New_York": "06T14:00"}
    members = {zone: await post.enrol(timeZone=zone) for zone in zones}
    for member in members.values():
        await with_phone(post, member)
        await tell(post, member, "daily")
    await post.advance("2026-07-09T12:00:00Z")

    for zone, first in zones.items():
        history = (await the_run(post, members[zone], "daily"))["history"]
        went = [event["at"][8:16] for event in history if event["what"] == "sent by PUSH"]
        second = f"{int(first[:2]) + 1:02}{first[2:]}"
        assert went == [first, second]
        assert [line(event) for event in history][1] == "waits: 10:00"
    await later(post, minutes=1)
