"""What is overdue after an outage: sent within its grace, or skipped (SEMANTICS §10.13)."""

from datetime import timedelta
from typing import Any

from tests.api.post import a_cascade, inbox, later, publish, push, said, tell, the_run, with_phone
from tests.api.shop import Shop


async def outage(post: Shop, **length: float) -> None:
    """Time in which nobody works."""
    await post.clock.move_to(post.clock.now() + timedelta(**length))


async def test_an_overdue_step_goes_by_its_misfire(post: Shop) -> None:
    def notice(name: str, **keys: Any) -> dict[str, Any]:
        return a_cascade(
            name, {"wait": "PT1H"}, push(name, **keys), push(f"{name}-2"), trigger={"event": "activity.go"}
        )

    await publish(
        post,
        notice("usual"),
        notice("skips", misfire="skip"),
        notice("long", grace="P3D"),
        notice("brief", grace="PT2H"),
        a_cascade("over", {"wait": "PT1H"}, push("over"), expires="PT90M", trigger={"event": "activity.go"}),
        a_cascade("dated", push("dated", at="10:00", misfire="skip"), trigger={"event": "activity.go"}),
    )
    hours, days, moments = [await post.enrol() for _ in range(3)]
    for member in (hours, days, moments):
        await with_phone(post, member)

    went = {}
    for member, length in ((hours, {"hours": 3.5}), (days, {"days": 2}), (moments, {"hours": 1, "seconds": 30})):
        await tell(post, member, "go")
        await later(post, seconds=1)
        await outage(post, **length)
        await later(post, minutes=1)
        went[member] = sorted(await inbox(post, member))

    seconds = ["brief-2", "long-2", "skips-2", "usual-2"]
    assert went[hours] == sorted([*seconds, "usual", "long"])
    assert went[days] == ["long", "long-2"]
    assert went[moments] == sorted([*seconds, "brief", "long", "over", "skips", "usual"])
    assert said(await the_run(post, hours, "skips")) == ["waits", "not sent: misfire", "sent by PUSH", "done"]
    assert (await the_run(post, hours, "over"))["state"] == "EXPIRED"
    assert said(await the_run(post, days, "dated")) == ["waits: 10:00", "not sent: misfire", "done"]


async def test_dates_and_signals_of_an_outage_are_caught_up_with(post: Shop) -> None:
    await publish(
        post,
        a_cascade("bonus", trigger={"event": "bonus_step", "before": "P2D"}),
        a_cascade("strict", push("strict", misfire="skip"), trigger={"event": "bonus_step", "before": "P2D"}),
        a_cascade("joined", trigger={"event": "joined"}),
        a_cascade("slow", {"wait": "P2D"}, push("slow"), trigger={"event": "joined"}),
        earning=[{"id": "welcome", "event": "joined", "award": {"bonus": "ten"}}],
        bonuses=[{"id": "ten", "worth": "10.00", "grows": [{"after": "P5D", "worth": "12.00"}], "expires": "P30D"}],
    )
    member = await post.enrol()
    await outage(post, hours=20)
    await later(post, minutes=1)
    await outage(post, days=2, hours=20)
    await later(post, minutes=1)
    newcomer = await post.enrol()
    await outage(post, days=2)
    await later(post, minutes=1)

    assert sorted(await inbox(post, member)) == ["bonus", "joined", "slow"]
    assert said(await the_run(post, member, "strict")) == ["not sent: misfire", "done"]
    assert said(await the_run(post, newcomer, "joined")) == ["not sent: misfire", "done"]
    assert said(await the_run(post, newcomer, "slow")) == ["waits"]
