"""What keeps a run from starting: the goal, a run of its group, the last start (SEMANTICS §10.1, §10.3)."""

from typing import Any

from tests.api.post import a_cascade, consents, inbox, later, line, publish, push, runs, tell, with_phone
from tests.api.shop import Shop, a_purchase


async def starts(post: Shop, member: str, cascade: str) -> list[str]:
    """What came of each signal, in order."""
    return [line(run["history"][0]) for run in reversed(await runs(post, member, cascade))]


async def test_a_cascade_starts_again_as_its_reentry_says(post: Shop) -> None:
    go: dict[str, Any] = {"trigger": {"event": "activity.go"}}
    await publish(
        post,
        a_cascade("once", **go, reentry="once"),
        a_cascade("always", **go, reentry="always"),
        a_cascade("unsaid", **go),
        a_cascade("cooling", **go, reentry={"cooldown": "P2D"}),
    )
    member = await post.enrol()

    for length in ({"days": 1}, {"hours": 23, "minutes": 50}, {"minutes": 20}, {"days": 1}):
        await tell(post, member, "go")
        await later(post, **length)
    await later(post, minutes=1)

    started = "started: activity.go"
    assert await starts(post, member, "once") == [started, *["not started: once only"] * 3]
    assert await starts(post, member, "always") == [started] * 4
    assert await starts(post, member, "unsaid") == [started] * 4
    assert await starts(post, member, "cooling") == [started, *["not started: cooling down"] * 2, started]


async def test_a_goal_within_the_look_back_keeps_it_from_starting_and_an_older_one_does_not(post: Shop) -> None:
    goal = {"goal": {"events": ["purchase", "activity.visited"], "look_back": "P1D"}}
    await publish(
        post, a_cascade("offer", **goal), a_cascade("bold", goal={"events": ["purchase"]}), a_cascade("visited")
    )
    bought, visited, before, never, others = [await post.enrol() for _ in range(5)]
    await post.record(a_purchase(before))
    await later(post, minutes=2)
    await post.record(a_purchase(bought))
    await tell(post, visited, "visited")
    await later(post, hours=23, minutes=59)

    for member in (bought, visited, before, never):
        await tell(post, member, "offer")
    await tell(post, bought, "bold")
    await later(post, minutes=1)

    found = [await starts(post, member, "offer") for member in (bought, visited, before, never)]
    assert found == [["not started: goal reached before"]] * 2 + [["started: activity.offer"]] * 2
    assert await starts(post, bought, "bold") == ["started: activity.bold"]
    assert await runs(post, others, "offer") == []
    refused = (await runs(post, bought, "offer"))[0]
    assert (refused["state"], refused["dueAt"], await inbox(post, visited)) == ("CANCELLED", None, ["visited"])


async def test_one_promotion_of_a_group_is_live_unless_another_has_higher_priority(post: Shop) -> None:
    def promotion(name: str, priority: int, **keys: Any) -> dict[str, Any]:
        return a_cascade(name, push(name), {"wait": "P3D"}, category="MARKETING", priority=priority, group="g", **keys)

    await publish(
        post,
        promotion("middle", 20),
        promotion("equal", 20),
        promotion("lower", 10),
        promotion("higher", 30),
        promotion("other", 1) | {"group": "h"},
        a_cascade("service", push("service"), group="g"),
    )
    member, second = await post.enrol(), await post.enrol()
    for each in (member, second):
        await with_phone(post, each)
        await consents(post, each)

    for cascade in ("middle", "equal", "lower", "higher", "other", "service"):
        await tell(post, member, cascade)
        await later(post, seconds=10)
    await tell(post, second, "lower")
    await later(post, days=4)
    await tell(post, member, "lower")
    await later(post, minutes=1)

    assert [await starts(post, member, name) for name in ("middle", "equal", "higher", "other", "service")] == [
        *(["started: activity.middle"], ["not started: another promotion is live: middle"]),
        *(["started: activity.higher"], ["started: activity.other"], ["started: activity.service"]),
    ]
    lower = await starts(post, member, "lower")
    assert lower == ["not started: another promotion is live: middle", "started: activity.lower"]
    assert await starts(post, second, "lower") == ["started: activity.lower"]
    assert sorted(await inbox(post, member)) == ["higher", "lower", "middle", "other", "service"]


async def test_who_it_is_for_is_asked_when_the_signal_comes(post: Shop) -> None:
    segments = [{"id": "bakers", "when": 'member.tags.exists(t, t == "bakery")'}]
    await publish(
        post,
        a_cascade("all", trigger={"event": "activity.go"}),
        a_cascade("bakers", trigger={"event": "activity.go"}, audience={"segment": "bakers"}),
        a_cascade("locals", trigger={"event": "activity.go"}, audience={"when": 'member.locale == "sl"'}),
        a_cascade("spent", trigger={"event": "purchase"}, when="entry.points >= 10 && member.purchases > 1"),
        a_cascade("first", trigger={"event": "purchase"}, when="member.purchases == 1"),
        segments=segments,
    )
    baker, local = await post.enrol(), await post.enrol(locale="sl")
    tagged = 'mutation($m: ID!) { setMemberTags(member: $m, tags: ["bakery"]) { __typename } }'
    await post.staff(tagged, {"m": baker}, scopes=("staff:members",))

    for member in (baker, local):
        await tell(post, member, "go")
        for total in ("10.00", "9.99", "10.00"):
            await post.record(a_purchase(member, total))
            await later(post, seconds=5)

    for member, own in ((baker, "bakers"), (local, "locals")):
        asked = {name: len(await runs(post, member, name)) for name in ("all", "bakers", "locals", "spent", "first")}
        assert asked == {"all": 1, "bakers": 0, "locals": 0, "spent": 1, "first": 1, own: 1}
