"""Streaks over HTTP, by the sandbox's clock, which begins on Monday 6 July 2026; days are New York's."""

from typing import Any

from domain.ledger.audit import audit
from tests.api.shop import PROGRAMME, Shop, a_purchase, new_key

STATUS = "streak name period current longest freezesLeft safe atRiskAt nextMilestone"
STREAKS = f"{{ me {{ streaks {{ {STATUS} }} badges {{ badge {{ id }} level count }} }} }}"
LAST = f"""
{{ me {{ wallet {{ activity(first: 1) {{ nodes {{
  points explanation {{ rule text points }} awards {{ streaks {{ {STATUS} }} badges {{ badge level }} }}
}} }} }} }} }}
"""
UPDATE = "mutation($input: ProfileInput!) { updateProfile(input: $input) { __typename } }"
PREVIEW = """
query($input: PurchaseInput!) { previewPurchase(input: $input) {
  ... on PurchasePreview { points explanation { rule points } }
} }
"""
PUBLISH = """
mutation($source: String!) { publishProgramme(source: $source, expectedVersion: 1) { __typename } }
"""
ACTIVITY = """
mutation($member: MemberLookup!, $input: ActivityInput!) { recordActivity(member: $member, input: $input) {
  ... on ActivityRecorded { entry { awards { streaks { streak current } } } }
  ... on Problem { code message }
} }
"""
SOURCE = PROGRAMME.read_text(encoding="utf-8")
CUPS = """streaks:
  - {id: cups, event: activity.own_cup, when: 'activity.attributes.size == "large"', period: day, name: {en: Cups}}
"""


async def streaks(shop: Shop, member: str) -> dict[str, dict[str, Any]]:
    """The member's streaks now, by id."""
    return {each["streak"]: each for each in (await shop.phone(member, STREAKS))["me"]["streaks"]}


async def lengths(shop: Shop, member: str) -> dict[str, int]:
    return {name: each["current"] for name, each in (await streaks(shop, member)).items()}


async def last_entry(shop: Shop, member: str) -> dict[str, Any]:
    found: dict[str, Any] = (await shop.phone(member, LAST))["me"]["wallet"]["activity"]["nodes"][0]
    return found


async def test_a_member_who_did_nothing_has_streaks_of_nothing(shop: Shop) -> None:
    member = await shop.enrol()

    found = await streaks(shop, member)

    nothing = {"current": 0, "longest": 0, "freezesLeft": 0, "safe": False, "atRiskAt": None}
    assert list(found.values()) == [
        {"streak": "weekly", "name": "Week by week", "period": "WEEK", "nextMilestone": 4, **nothing},
        {"streak": "daily", "name": "Day by day", "period": "DAY", "nextMilestone": 3, **nothing},
    ]


async def test_the_third_day_in_a_row_pays_its_milestone_in_the_entry_of_the_purchase(shop: Shop) -> None:
    member = await shop.enrol()
    await shop.record(a_purchase(member, "10.00"))
    await shop.advance("2026-07-07T12:00:00Z")
    await shop.record(a_purchase(member, "10.00"))
    await shop.advance("2026-07-08T12:00:00Z")
    third = a_purchase(member, "10.00")

    preview = (await shop.till(PREVIEW, {"input": third}))["previewPurchase"]
    recorded = await shop.record(third)
    again = await shop.record(third)

    rows = [{"rule": "base", "points": 10}, {"rule": "daily", "points": 15}]
    assert preview == {"points": 25, "explanation": rows}
    assert recorded["entry"]["points"] == 25
    assert [row["text"] for row in recorded["entry"]["explanation"]] == ["1 point for every dollar", "Day by day"]
    assert (again["replayed"], again["member"]["wallet"]) == (True, recorded["member"]["wallet"])
    assert (await last_entry(shop, member))["awards"]["streaks"] == [
        {
            "streak": "weekly",
            "name": "Week by week",
            "period": "WEEK",
            "current": 1,
            "longest": 1,
            "freezesLeft": 0,
            "safe": True,
            "atRiskAt": "2026-07-20T04:00:00Z",
            "nextMilestone": 4,
        },
        {
            "streak": "daily",
            "name": "Day by day",
            "period": "DAY",
            "current": 3,
            "longest": 3,
            "freezesLeft": 0,
            "safe": True,
            "atRiskAt": "2026-07-10T04:00:00Z",
            "nextMilestone": None,
        },
    ]


async def test_time_alone_breaks_a_streak_and_nothing_is_posted_for_it(shop: Shop) -> None:
    member = await shop.enrol()
    await shop.record(a_purchase(member))
    posted = await shop.posted()

    await shop.advance("2026-07-08T03:59:00Z")
    at_risk = await streaks(shop, member)
    await shop.advance("2026-07-08T04:00:00Z")
    broken = await streaks(shop, member)

    assert at_risk["daily"] | {"nextMilestone": None} == {
        "streak": "daily",
        "name": "Day by day",
        "period": "DAY",
        "current": 1,
        "longest": 1,
        "freezesLeft": 0,
        "safe": False,
        "atRiskAt": "2026-07-08T04:00:00Z",
        "nextMilestone": None,
    }
    assert (broken["daily"]["current"], broken["daily"]["longest"], broken["daily"]["atRiskAt"]) == (0, 1, None)
    assert broken["weekly"]["current"] == 1
    assert await shop.posted() == posted


async def test_the_fourth_week_pays_raises_the_badge_that_counts_it_and_grants_a_freeze(shop: Shop) -> None:
    member = await shop.enrol()
    for day in ("2026-07-06", "2026-07-19", "2026-07-20", "2026-08-02"):
        await shop.advance(f"{day}T16:00:00Z")
        await shop.record(a_purchase(member, "10.00"))

    fourth = await last_entry(shop, member)
    await shop.advance("2026-08-10T04:00:00Z")
    frozen = (await streaks(shop, member))["weekly"]
    await shop.record(a_purchase(member, "10.00"))
    badges = (await shop.phone(member, STREAKS))["me"]["badges"]

    assert {"rule": "weekly", "text": "Week by week", "points": 40} in fourth["explanation"]
    assert {"badge": "faithful", "level": 1} in fourth["awards"]["badges"]
    assert (frozen["current"], frozen["freezesLeft"], frozen["atRiskAt"]) == (4, 0, "2026-08-17T04:00:00Z")
    assert await lengths(shop, member) == {"weekly": 5, "daily": 1}
    assert {"badge": {"id": "faithful"}, "level": 1, "count": 5} in badges


async def test_a_late_receipt_fills_the_gap_and_pays_what_the_longer_run_reached_once(shop: Shop) -> None:
    member = await shop.enrol()
    for day in ("07", "09"):
        await shop.advance(f"2026-07-{day}T16:00:00Z")
        await shop.record(a_purchase(member, "10.00"))

    late = await shop.record(a_purchase(member, "10.00", occurredAt="2026-07-08T16:00:00Z"))
    later = await shop.record(a_purchase(member, "10.00", occurredAt="2026-07-08T17:00:00Z"))
    await shop.advance("2026-07-13T16:01:00Z")
    too_late = await shop.record(a_purchase(member, "10.00", occurredAt="2026-07-06T16:00:00Z"))

    assert [each["entry"]["points"] for each in (late, later, too_late)] == [25, 10, 10]
    assert (await streaks(shop, member))["daily"]["longest"] == 3
    assert (await audit(shop.services.store)).ok


async def test_a_return_leaves_the_streak_and_what_it_paid(shop: Shop) -> None:
    member = await shop.enrol()
    for day in ("06", "07"):
        await shop.advance(f"2026-07-{day}T16:00:00Z")
        await shop.record(a_purchase(member, "10.00"))
    await shop.advance("2026-07-08T16:00:00Z")
    recorded = await shop.record(a_purchase(member, "10.00"))

    returned = await shop.give_back({"purchase": recorded["entry"]["id"], "idempotencyKey": new_key()})

    assert (recorded["entry"]["points"], returned["entry"]["points"]) == (25, -10)
    assert await lengths(shop, member) == {"weekly": 1, "daily": 3}


async def test_a_late_receipt_is_dated_where_the_member_was_and_a_move_west_misses_nothing(shop: Shop) -> None:
    member = await shop.enrol(timeZone="Asia/Almaty")
    await shop.advance("2026-07-06T20:00:00Z")
    await shop.record(a_purchase(member))
    await shop.advance("2026-07-08T01:00:00Z")
    moved = await shop.phone(member, UPDATE, {"input": {"timeZone": "America/New_York"}})

    await shop.record(a_purchase(member, occurredAt="2026-07-07T20:00:00Z"))
    dated_in_almaty = (await streaks(shop, member))["daily"]
    await shop.advance("2026-07-10T03:00:00Z")
    await shop.record(a_purchase(member))

    assert moved == {"updateProfile": {"__typename": "ProfileUpdated"}}
    assert (dated_in_almaty["current"], dated_in_almaty["atRiskAt"]) == (2, "2026-07-10T04:00:00Z")
    assert await lengths(shop, member) == {"weekly": 1, "daily": 3}


async def test_any_event_can_be_counted_under_a_condition_and_closed_days_break_nothing(shop: Shop) -> None:
    source = SOURCE.replace("streaks:\n", CUPS).replace("closed: [2017-12-25]", "closed: [2026-07-07]")
    published = await shop.staff(PUBLISH, {"source": source}, scopes=("staff:programme",))
    await shop.services.programmes.refresh()
    member = await shop.enrol()
    counted = []

    for at, size in (("06T16", "large"), ("06T17", "small"), ("08T16", "large")):
        await shop.advance(f"2026-07-{at}:00:00Z")
        cup = {"type": "own_cup", "attributes": {"size": size}, "place": "store-429", "idempotencyKey": new_key()}
        answered = await shop.till(ACTIVITY, {"member": {"id": member}, "input": cup})
        counted.append(answered["recordActivity"]["entry"]["awards"]["streaks"])

    assert published == {"publishProgramme": {"__typename": "ProgrammePublished"}}
    assert counted == [[{"streak": "cups", "current": 1}], [], [{"streak": "cups", "current": 2}]]
    assert await lengths(shop, member) == {"cups": 2, "weekly": 0, "daily": 0}
