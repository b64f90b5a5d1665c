"""What starts a cascade: entries, and dates that come to a member (SEMANTICS §10.1)."""

from collections.abc import Mapping
from typing import Any, Final

from tests.api.post import a_cascade, inbox, later, publish, runs, tell, with_phone
from tests.api.shop import Shop, a_purchase, new_key
from tests.api.spending import do

TOLD: Final = "{ me { inbox(first: 100) { nodes { title sentAt } } } }"


def told_of(event: str, text: str, **trigger: Any) -> tuple[dict[str, Any], Mapping[str, Any]]:
    """A cascade that the event starts, and what it says."""
    name = event.replace(".", "-").replace("_", "-")
    texts = {name: {"en": {"title": f"{name} {text}", "body": "."}}}
    return a_cascade(name, trigger={"event": event, **trigger}), texts


async def told(post: Shop, member: str) -> list[tuple[str, str]]:
    """What the inbox has, oldest first, with its day and hour in New York, where it is four hours earlier than UTC."""
    nodes = (await post.phone(member, TOLD))["me"]["inbox"]["nodes"]
    return [(node["title"], node["sentAt"][:13]) for node in reversed(nodes)]


async def test_every_date_comes_in_its_time_with_what_there_is_to_say_of_it(post: Shop) -> None:
    dates = [
        told_of("joined", "{points} {bonus}"),
        told_of("lapsed", "{days}", days=3),
        told_of("points_expiring", "{points} {date, date, ::MMMd}", before="P14D", at_least=50),
        told_of("streak_at_risk", "{streak} {length} {until, date, ::MMMd}", streak="weekly", before="P1D", at_least=1),
        told_of("tier_at_risk", "{tier} {missing} {until, date, ::MMMd}", before="P5D"),
        told_of("bonus_step", "{now} {next} {date, date, ::MMMd}", before="P1D"),
        told_of("bonus_expiring", "{now} {date, date, ::MMMd}", before="P3D"),
        told_of("birthday", "{points} {balance}"),
    ]
    await publish(
        post,
        *(cascade for cascade, _ in dates),
        a_cascade("party", trigger={"event": "birthday", "before": "P7D"}),
        a_cascade("tonight", trigger={"event": "streak_at_risk", "streak": "daily", "before": "PT4H"}),
        templates={name: text for _, texts in dates for name, text in texts.items()}
        | {name: {"en": {"title": name, "body": "."}} for name in ("party", "tonight")},
        points={"expiry": {"policy": "rolling", "after": "P60D"}},
        earning=[
            {"id": "base", "event": "purchase", "award": {"points": {"per": "1.00", "give": 1}}},
            {"id": "welcome", "event": "joined", "award": {"points": 7, "bonus": "ten"}},
            {"id": "birthday", "event": "birthday", "award": {"points": 200}},
        ],
        bonuses=[
            {"id": "ten", "worth": "10.00", "grows": [{"after": "P10D", "worth": "12.00"}], "expires": "P30D"},
        ],
        tiers={
            "metric": "points_earned",
            "window": {"policy": "rolling", "length": "P1M"},
            "review": {"downgrade": "one_level"},
            "levels": [
                {"id": "bronze", "from": 0, "name": {"en": "Bronze"}},
                {"id": "silver", "from": 50, "name": {"en": "Silver"}},
            ],
        },
        streaks=[
            {"id": name.lower(), "event": "purchase", "period": period, "goal": 1, "name": {"en": name}}
            for name, period in (("Weekly", "week"), ("Daily", "day"))
        ],
    )
    member, idle = await post.enrol(birthday="1980-07-20"), await post.enrol()
    for each in (member, idle):
        await with_phone(post, each)
    await post.record(a_purchase(member, "60.00"))

    await post.advance("2026-09-10T12:00:00Z")

    assert await told(post, member) == [
        ("joined 7 $10.00", "2026-07-06T08"),
        ("tonight", "2026-07-08T00"),
        ("lapsed 3", "2026-07-09T04"),
        ("party", "2026-07-13T04"),
        ("bonus-step $10.00 $12.00 Jul 16", "2026-07-15T04"),
        ("streak-at-risk Weekly 1 Jul 20", "2026-07-19T04"),
        ("birthday 200 267", "2026-07-20T04"),
        ("bonus-expiring $12.00 Aug 5", "2026-08-03T04"),
        ("points-expiring 67 Sep 4", "2026-08-22T04"),
        ("tier-at-risk Silver 50 Sep 1", "2026-08-27T04"),
        ("points-expiring 200 Sep 18", "2026-09-05T04"),
    ]
    assert [title.split()[0] for title, _ in await told(post, idle)] == ["joined", "bonus-step", "bonus-expiring"]


async def test_a_date_comes_once_and_not_for_what_was_over_when_it_was_published(post: Shop) -> None:
    lapsed = a_cascade("lapsed", trigger={"event": "lapsed", "days": 2})
    await publish(post)
    gone, buyer = await post.enrol(), await post.enrol()
    for member in (gone, buyer):
        await post.record(a_purchase(member))
    await later(post, days=5)
    await post.record(a_purchase(buyer))
    await later(post, hours=1)

    await publish(post, lapsed)
    await later(post, days=1, hours=23)
    await publish(post, lapsed, a_cascade("other"))
    await later(post, days=5)
    await post.record(a_purchase(buyer))
    await later(post, hours=1)
    await post.record(a_purchase(buyer))
    await later(post, days=5)

    assert len(await runs(post, gone, "lapsed")) == 0
    assert [run["startedAt"][:10] for run in await runs(post, buyer, "lapsed")] == ["2026-07-20", "2026-07-13"]


async def test_a_date_that_is_near_already_comes_at_once(post: Shop) -> None:
    points = {"points": {"expiry": {"policy": "rolling", "after": "P10D"}}}
    soon = a_cascade("soon", trigger={"event": "points_expiring", "before": "P14D", "at_least": 50})
    await publish(post, **points)
    early, small = await post.enrol(), await post.enrol()
    await post.record(a_purchase(early, "50.00"))
    await post.record(a_purchase(small, "49.99"))
    await later(post, days=5)

    await publish(post, soon, **points)
    await later(post, minutes=1)
    late = await post.enrol()
    await post.record(a_purchase(late, "50.00"))
    await later(post, days=20)

    assert [run["startedAt"][:13] for run in await runs(post, early, "soon")] == ["2026-07-11T08"]
    assert [run["startedAt"][:13] for run in await runs(post, late, "soon")] == ["2026-07-11T08"]
    assert (await inbox(post, early), await inbox(post, late), await inbox(post, small)) == (["soon"], ["soon"], [])


async def test_every_entry_is_a_signal_by_its_kind_and_starts_a_cascade_once(post: Shop) -> None:
    names = {
        "purchase": "{points} {amount} {balance}",
        "return": "{points} {amount}",
        "redeem": "{points}",
        "convert": "{points}",
        "donate": "{points}",
        "gift_sent": "{points}",
        "gift_received": "{points}",
        "adjust": "{points}",
        "feedback": "{points}",
        "activity.own_cup": "{points}",
        "activity.unpaid": "{points}",
    }
    events = [told_of(event, text) for event, text in names.items()]
    await publish(
        post,
        *(cascade for cascade, _ in events),
        templates={name: text for _, texts in events for name, text in texts.items()},
        earning=[
            {"id": "base", "event": "purchase", "award": {"points": {"per": "1.00", "give": 1}}},
            {"id": "cup", "event": "activity.own_cup", "reported_by": ["partner"], "award": {"points": 3}},
            {"id": "review", "event": "feedback", "award": {"points": 5}},
        ],
        conversion={"points": 100, "cashback": "1.00"},
        points={"expiry": {"policy": "none"}, "gift_limits": {"per_day": 500, "per_month": 2000}},
        charities=[{"id": "food", "name": {"en": "Food"}}],
        vouchers=[{"id": "coffee", "discount": {"free_item": "coffee"}, "expires": "P30D", "name": {"en": "C"}}],
        rewards=[{"id": "coffee", "kind": "FREE_ITEM", "cost": 10, "voucher": "coffee", "name": {"en": "C"}}],
    )
    member, friend = await post.enrol(), await post.enrol()
    bought = a_purchase(member, "1000.50")

    first, _ = await post.record(bought), await post.record(bought)
    await do(post, member, "redeemReward", reward="coffee")
    await do(post, member, "convertPoints", points=200)
    await do(post, member, "donate", charity="food", points=15)
    await do(post, member, "giftPoints", to={"id": friend}, points=50)
    await post.adjust({"member": member, "points": 5, "reason": "Sorry", "idempotencyKey": new_key()})
    await tell(post, member, "own_cup")
    await tell(post, member, "unpaid")
    await post.phone(member, "mutation { submitFeedback(rating: 5) { id } }")
    taken_back = {"purchase": first["entry"]["id"], "amount": "100.00", "idempotencyKey": new_key()}
    await post.give_back(taken_back)
    for _ in range(2):
        await later(post, minutes=1)

    assert sorted(await inbox(post, member)) == [
        *("activity-own-cup 3", "activity-unpaid 0", "adjust 5", "convert 200", "donate 15", "feedback 5"),
        *("gift-sent 50", "purchase 1,000 $1,000.50 638", "redeem 10", "return 100 $100.00"),
    ]
    assert await inbox(post, friend) == ["gift-received 50"]


async def test_a_birthday_that_is_moved_is_told_of_once_a_year_and_not_for_a_day_that_is_over(post: Shop) -> None:
    await publish(post, a_cascade("birthday", trigger={"event": "birthday"}))
    member, leap = await post.enrol(birthday="1980-07-08"), await post.enrol(birthday="2000-02-29")
    change = "mutation($on: Date!) { updateProfile(input: {birthday: $on}) { __typename } }"
    await later(post, days=4)

    await post.phone(member, change, {"on": "1980-07-20"})
    await later(post, days=20)
    in_the_year = len(await runs(post, member, "birthday"))
    await post.advance("2028-03-01T12:00:00Z")

    assert in_the_year == 1
    assert [run["startedAt"][:10] for run in await runs(post, member, "birthday")] == ["2027-07-20", "2026-07-08"]
    assert [run["startedAt"][:10] for run in await runs(post, leap, "birthday")] == ["2028-02-29", "2027-02-28"]
