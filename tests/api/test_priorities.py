"""Of what is due for a member at about the same time the most important goes first (SEMANTICS §10.12)."""

from typing import Any

import pytest

from tests.api.post import a_cascade, consents, inbox, later, publish, push, said, tell, the_run, with_phone
from tests.api.shop import Shop


async def test_of_sends_within_five_minutes_the_highest_goes_first_and_the_others_are_judged_again(post: Shop) -> None:
    def offer(name: str, priority: int, wait: str, **keys: Any) -> dict[str, Any]:
        steps = ({"wait": wait}, push(name))
        return a_cascade(
            name, *steps, priority=priority, trigger={"event": "activity.go"}, category="MARKETING", **keys
        )

    branched = {"branch": "member.points > 0", "then": [push("rich")], "else": [push("high")]}
    silent = [push("seen"), {"wait": "PT1H3M", "until": "reaction"}, push("silent", **{"if": "reaction"})]
    await publish(
        post,
        offer("low", 1, "PT1H"),
        offer("same", 1, "PT1H"),
        offer("high", 50, "PT1H4M59S") | {"steps": [{"wait": "PT1H4M59S"}, branched]},
        offer("silent", 90, "PT1H3M") | {"category": "SERVICE", "steps": silent},
        offer("far", 99, "PT1H10M1S"),
        offer("receipt", 0, "PT1H") | {"category": "TRANSACTIONAL"},
        messaging={"caps": [{"id": "two", "category": "MARKETING", "count": 2, "per": "day"}]},
    )
    member = await post.enrol()
    await with_phone(post, member)
    await consents(post, member)
    await tell(post, member, "go")
    await later(post, hours=1, minutes=2)
    early = await inbox(post, member)
    await later(post, hours=1)

    assert sorted(early) == ["receipt", "seen"]
    assert said(await the_run(post, member, "low"))[:2] == ["waits", "deferred: priority of high"]
    assert said(await the_run(post, member, "high")) == ["waits", "sent by PUSH", "done"]
    outcomes = sorted([said(await the_run(post, member, name))[-2] for name in ("low", "same", "far")])
    assert outcomes == ["not sent: capped: two", "not sent: capped: two", "sent by PUSH"]
    assert said(await the_run(post, member, "far"))[-2] == "not sent: capped: two"


@pytest.mark.parametrize("quiet", [None, {"from": "04:00", "until": "08:00"}], ids=["by day", "held back by night"])
async def test_of_those_that_a_signal_starts_the_highest_takes_the_one_place(
    post: Shop, quiet: dict[str, str] | None
) -> None:
    messaging: dict[str, Any] = {"caps": [{"id": "one", "category": "MARKETING", "count": 1, "per": "day"}]}
    keys: dict[str, Any] = {"trigger": {"event": "activity.go"}, "category": "MARKETING"}
    await publish(
        post,
        a_cascade("low", priority=-5, **keys),
        a_cascade("high", priority=5, **keys),
        a_cascade("none", **keys),
        messaging=messaging | ({} if quiet is None else {"quiet_hours": quiet}),
    )
    members = [await post.enrol() for _ in range(4)]
    for member in members:
        await with_phone(post, member)
        await consents(post, member)
        await tell(post, member, "go")
    await later(post, hours=4)

    for member in members:
        found = {name: said(await the_run(post, member, name))[-2] for name in ("low", "none", "high")}
        assert found == {"low": "not sent: capped: one", "none": "not sent: capped: one", "high": "sent by PUSH"}
