"""What a cascade is for, and what happens to a run when it comes (SEMANTICS §10.5)."""

from datetime import timedelta
from typing import Any, Final

from notifications.due_runs import send_due
from tests.api.post import (
    a_cascade,
    consents,
    delivery_in,
    inbox,
    later,
    publish,
    push,
    report,
    said,
    tell,
    the_run,
    with_phone,
)
from tests.api.shop import Shop, a_purchase, new_key
from tests.api.spending import do
from tests.notifications.phones import Phones

STATE: Final = "mutation($c: ID!, $s: CascadeState!) { setCascadeState(cascade: $c, state: $s) }"


async def test_a_goal_ends_a_run_in_any_state_and_takes_all_its_pushes_off_the_screens(
    post: Shop, phones: Phones
) -> None:
    go: dict[str, Any] = {"trigger": {"event": "activity.go"}, "goal": {"events": ["purchase"]}}
    await publish(
        post,
        a_cascade("waiting", push("one"), {"wait": "PT1H"}, push("two"), {"wait": "P1D"}, push("three"), **go),
        a_cascade("deferred", push("night"), **go),
        a_cascade("tried", push("again"), category="TRANSACTIONAL", **go),
        a_cascade("capped", push("first"), push("full", capped="wait"), category="MARKETING", **go),
        a_cascade("paused", {"wait": "PT2H"}, push("held"), **go),
        a_cascade("over", push("over"), trigger={"event": "activity.go"}),
        messaging={
            "quiet_hours": {"from": "06:00", "until": "08:00"},
            "caps": [{"id": "one", "category": "MARKETING", "count": 1, "per": "P1D"}],
        },
    )
    member, other = await post.enrol(), await post.enrol()
    for each in (member, other):
        await with_phone(post, each)
        await with_phone(post, each, endpoint=f"ios-{each}", platform="IOS")
        await consents(post, each)
        await tell(post, each, "go")
    await post.advance("2026-07-06T10:00:00Z")
    before = sorted(phones.titles(f"fid-{member}"))
    await post.staff(STATE, {"c": "paused", "s": "PAUSED"}, scopes=("staff:programme",))

    await post.record(a_purchase(member))
    await later(post, minutes=1)
    await post.staff(STATE, {"c": "paused", "s": "LIVE"}, scopes=("staff:programme",))
    await later(post, days=2)

    assert before == ["again", "first", "night", "one", "over", "two"]
    for name in ("waiting", "capped", "paused"):
        run = await the_run(post, member, name)
        assert (run["state"], run["dueAt"], said(run)[-1]) == ("GOAL_REACHED", None, "goal reached: purchase"), name
    for endpoint in (f"fid-{member}", f"ios-{member}"):
        assert phones.titles(endpoint) == ["over"]
    assert sorted(await inbox(post, member)) == before
    assert sorted(await inbox(post, other)) == sorted([*before, "full", "held", "three"])


async def test_a_goal_comes_between_two_steps_of_the_same_instant_and_before_a_send_that_is_deferred(
    post: Shop, phones: Phones
) -> None:
    goal: dict[str, Any] = {"goal": {"events": ["redeem", "donate", "activity.visit"]}}
    await publish(
        post,
        a_cascade("tried", push("again"), **goal),
        a_cascade("night", push("night"), **goal),
        messaging={"quiet_hours": {"from": "04:00", "until": "08:00"}},
    )
    member = await post.enrol()
    await with_phone(post, member)
    for cascade in ("night", "tried"):
        await tell(post, member, cascade)
    await later(post, minutes=1)

    await tell(post, member, "visit")
    await later(post, days=1)

    for cascade in ("night", "tried"):
        run = await the_run(post, member, cascade)
        assert (run["state"], said(run)) == ("GOAL_REACHED", ["deferred: quiet hours", "goal reached: activity.visit"])
    assert (phones.ledger(), await inbox(post, member)) == ([], [])


async def test_a_goal_while_a_push_waits_to_be_tried_again_stops_it(post: Shop, phones: Phones) -> None:
    await publish(post, a_cascade("offer", push("again"), goal={"events": ["purchase"]}))
    sure, unsure = await post.enrol(), await post.enrol()
    for member, kind in ((sure, "QUOTA_OF_DEVICE"), (unsure, "UNAVAILABLE")):
        phone = await with_phone(post, member)
        phones.script(phone, {"kind": kind, "retry_after": "120", "delivers": kind == "UNAVAILABLE"})
        await tell(post, member, "offer")
    await later(post, minutes=1)
    shown = [phones.titles(f"fid-{member}") for member in (sure, unsure)]

    for member in (sure, unsure):
        await post.record(a_purchase(member))
    await later(post, hours=1)

    assert shown == [[], ["again"]]
    assert [phones.titles(f"fid-{member}") for member in (sure, unsure)] == [[], []]
    pushed = [entry for entry in phones.ledger() if "notification" in entry["message"]]
    assert len(pushed) == 2
    for member in (sure, unsure):
        assert (await the_run(post, member, "offer"))["state"] == "GOAL_REACHED"


async def test_every_goal_that_the_example_names_ends_a_run(post: Shop) -> None:
    await publish(
        post,
        *(
            a_cascade(
                f"until-{name}", {"wait": "P1D"}, push(name), trigger={"event": "joined"}, goal={"events": [event]}
            )
            for name, event in (
                ("purchase", "purchase"),
                ("redeem", "redeem"),
                ("convert", "convert"),
                ("donate", "donate"),
                ("claim", "bonus_claim"),
                ("gift", "gift_sent"),
                ("adjust", "adjust"),
                ("feedback", "feedback"),
            )
        ),
        earning=[{"id": "welcome", "event": "joined", "award": {"points": 1_000, "bonus": "ten"}}],
        bonuses=[{"id": "ten", "worth": "10.00", "expires": "P90D"}],
        conversion={"points": 100, "cashback": "1.00"},
        points={"expiry": {"policy": "none"}, "gift_limits": {"per_day": 500, "per_month": 2000}},
        charities=[{"id": "food", "name": {"en": "Food"}}],
        vouchers=[{"id": "coffee", "discount": {"free_item": "coffee"}, "expires": "P30D", "name": {"en": "C"}}],
        rewards=[{"id": "coffee", "kind": "FREE_ITEM", "cost": 10, "voucher": "coffee", "name": {"en": "C"}}],
    )
    member, idle = await post.enrol(), await post.enrol()
    bonus = (await post.phone(member, "{ me { wallet { bonuses { id } } } }"))["me"]["wallet"]["bonuses"][0]["id"]

    await post.record(a_purchase(member))
    await do(post, member, "redeemReward", reward="coffee")
    await do(post, member, "convertPoints", points=100)
    await do(post, member, "donate", charity="food", points=10)
    await do(post, member, "claimBonus", bonus=bonus)
    await do(post, member, "giftPoints", to={"id": idle}, points=50)
    await post.adjust({"member": member, "points": 5, "reason": "Sorry", "idempotencyKey": new_key()})
    await post.phone(member, "mutation { submitFeedback(rating: 5) { id } }")
    await later(post, days=2)

    assert await inbox(post, member) == []
    assert len(await inbox(post, idle)) == 8


async def test_a_goal_after_the_last_step_is_still_the_runs_until_it_would_have_expired(
    post: Shop, phones: Phones
) -> None:
    go: dict[str, Any] = {"trigger": {"event": "activity.go"}, "goal": {"events": ["purchase"]}}
    await publish(
        post,
        a_cascade("near", expires="PT2H", **go),
        a_cascade("open", **go),
        a_cascade("none", holdout_percent=100, **go),
    )
    soon, late, never = [await post.enrol() for _ in range(3)]
    for member in (soon, late, never):
        await with_phone(post, member)
        await tell(post, member, "go")
    await later(post, hours=1)
    done = said(await the_run(post, soon, "near"))

    await post.record(a_purchase(soon))
    await later(post, hours=2)
    await post.record(a_purchase(late))
    await later(post, days=31)
    await post.record(a_purchase(never))
    await later(post, minutes=1)

    assert done == ["sent by PUSH", "done"]
    states = {
        member: [(await the_run(post, member, name))["state"] for name in ("near", "open", "none")]
        for member in (soon, late, never)
    }
    assert states == {soon: ["GOAL_REACHED"] * 3, late: ["DONE", "GOAL_REACHED", "GOAL_REACHED"], never: ["DONE"] * 3}
    assert said(await the_run(post, soon, "near"))[-1] == "goal reached: purchase"
    assert (phones.titles(f"fid-{soon}"), phones.titles(f"fid-{late}")) == ([], ["near"])
    asked = '{ report(from: "2026-07-01", to: "2026-09-01") { cascades { cascade goals heldOutGoals } } }'
    report = (await post.staff(asked, {}, scopes=("staff:reports",)))["report"]["cascades"]
    assert [(each["goals"], each["heldOutGoals"]) for each in report] == [(1, 0), (2, 0), (0, 2)]


async def test_a_goal_that_was_told_and_not_heard_yet_stops_the_send_at_hand(post: Shop, phones: Phones) -> None:
    goal = {"goal": {"events": ["delivery.opened", "purchase"]}}
    await publish(post, a_cascade("first"), a_cascade("second", {"wait": "PT1H"}, push("second"), **goal))
    reader, buyer, neither = [await post.enrol() for _ in range(3)]
    for member in (reader, buyer, neither):
        await with_phone(post, member)
        for activity in ("second", "first"):
            await tell(post, member, activity)
    await later(post, minutes=1)

    await report(post, reader, delivery_in(await the_run(post, reader, "first")))
    await post.record(a_purchase(buyer))
    await post.clock.move_to(post.clock.now() + timedelta(hours=1))
    await send_due(post.services.office, [reader, buyer, neither], now=post.clock.now())

    assert [phones.titles(f"fid-{member}")[1:] for member in (reader, buyer, neither)] == [[], [], ["second"]]
    for member in (reader, buyer):
        assert said(await the_run(post, member, "second"))[-1] == "goal reached: seen in the journal"
