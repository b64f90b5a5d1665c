"""Badges, stamp cards and challenges on a phone's screen, and in what a till is answered (SEMANTICS §8)."""

from pathlib import Path
from typing import Any

from domain.programme.published import Published, publish
from tests.api.shop import Shop, a_purchase, codes
from tests.payments.member import top_up, top_up_at_till

PROGRAMME = (Path(__file__).parents[2] / "programme.yaml").read_text(encoding="utf-8")
PROGRESS = """
{
  me {
    badges { badge { id name description levels imageUrl } level count nextLevelAt awardedAt }
    stampCards { card name stamps size completed expiresAt }
    challenges { challenge name progress target completedAt endsAt }
  }
}
"""
AWARDS = """
mutation Record($input: PurchaseInput!) {
  recordPurchase(input: $input) {
    ... on PurchaseRecorded {
      entry {
        id points explanation { rule text points }
        awards {
          badges { badge level } stamps { card stamps completed } challenges
          vouchers { name sku } bonuses { definition }
        }
      }
    }
    ... on Problem { code message }
  }
}
"""
PREVIEW = """
query($input: PurchaseInput!) {
  previewPurchase(input: $input) { ... on PurchasePreview { points explanation { rule text points } } }
}
"""


async def published(shop: Shop, *changes: tuple[str, str]) -> None:
    """The example programme with those changes, in force."""
    source = PROGRAMME
    for old, new in changes:
        assert old in source, old
        source = source.replace(old, new, 1)
    version = shop.services.programmes.current.version
    done = await publish(shop.services.store, source, expected_version=version, now=shop.clock.now())
    assert isinstance(done, Published), done
    await shop.services.programmes.refresh()


def pastry(member: str, quantity: int, **changes: Any) -> dict[str, Any]:
    lines = [{"sku": "1082185", "category": "PASTRY", "quantity": quantity, "amount": "3.00"}]
    return a_purchase(member, "3.00", lines=lines, **changes)


async def buy(shop: Shop, purchase: dict[str, Any]) -> dict[str, Any]:
    answered = (await shop.till(AWARDS, {"input": purchase}))["recordPurchase"]
    assert "entry" in answered, answered
    entry: dict[str, Any] = answered["entry"]
    return entry


async def test_others_see_no_progress(shop: Shop) -> None:
    await shop.enrol()

    refused = [
        await shop.ask(PROGRESS),
        await shop.ask(PROGRESS, token=await shop.till_token()),
        await shop.ask(PROGRESS, token=await shop.staff_token("staff:members")),
    ]

    assert [codes(each) for each in refused] == [["UNAUTHENTICATED"], ["FORBIDDEN"], ["FORBIDDEN"]]


async def test_a_new_member_begins_everywhere_at_zero_and_sees_no_challenge_that_is_over(shop: Shop) -> None:
    member = await shop.enrol()

    me = (await shop.phone(member, PROGRESS))["me"]

    assert me["badges"][0] == {
        "badge": {"id": "regular", "name": "Regular", "description": "", "levels": [5, 25, 100], "imageUrl": None},
        "level": 0,
        "count": 0,
        "nextLevelAt": 5,
        "awardedAt": None,
    }
    assert [each["badge"]["id"] for each in me["badges"]] == ["regular", "explorer", "gourmet", "faithful"]
    assert me["stampCards"] == [
        {"card": "bread", "name": "Bread card", "stamps": 0, "size": 4, "completed": 0, "expiresAt": None}
    ]
    assert me["challenges"] == []


async def test_an_entry_says_what_it_awarded_and_the_screen_what_there_is(shop: Shop) -> None:
    await published(
        shop,
        ("counts: visits, levels: [5, 25, 100]", "counts: visits, levels: [1, 2, 100]"),
        ("target: 8, from: 2017-06-01, until: 2017-07-01", "target: 2, from: 2026-07-01, until: 2026-08-01"),
        ("name: {en: Summer basket}", "name: {en: Summer basket, sl: Poletna košara}"),
    )
    member = await shop.enrol(locale="sl")

    first = await buy(shop, pastry(member, 5))
    await shop.advance("2026-07-07T10:00:00Z")
    lines = [{"sku": "1", "category": "MILK", "amount": "1.00"}, {"sku": "1082185", "quantity": 3, "amount": "2.00"}]
    wanted = a_purchase(member, "3.00", lines=lines)
    preview = (await shop.till(PREVIEW, {"input": wanted}))["previewPurchase"]
    second = await buy(shop, wanted)
    me = (await shop.phone(member, PROGRESS))["me"]

    assert first["awards"] == {
        "badges": [{"badge": "regular", "level": 1}],
        "stamps": [{"card": "bread", "stamps": 2, "completed": 0}],
        "challenges": [],
        "vouchers": [],
        "bonuses": [],
    }
    assert second["awards"] == {
        "badges": [{"badge": "regular", "level": 2}],
        "stamps": [{"card": "bread", "stamps": 2, "completed": 1}],
        "challenges": ["summer-basket"],
        "vouchers": [{"name": "A pastry on us", "sku": None}],
        "bonuses": [],
    }
    assert second["points"] == 153
    assert second["explanation"][1:] == [
        {"rule": "bread", "text": "Bread card", "points": 0},
        {"rule": "summer-basket", "text": "Poletna košara", "points": 150},
    ]
    assert preview == {"points": second["points"], "explanation": second["explanation"]}
    assert me["badges"][0] | {"badge": None} == {
        "badge": None,
        "level": 2,
        "count": 2,
        "nextLevelAt": 100,
        "awardedAt": me["badges"][0]["awardedAt"],
    }
    assert me["badges"][0]["awardedAt"].startswith("2026-07-07T10:00:")
    assert me["stampCards"][0]["stamps"] == 0
    assert me["stampCards"][0]["completed"] == 1
    (challenge,) = me["challenges"]
    assert challenge["completedAt"].startswith("2026-07-07T10:00:")
    assert challenge | {"completedAt": None} == {
        "challenge": "summer-basket",
        "name": "Poletna košara",
        "progress": 2,
        "target": 2,
        "completedAt": None,
        "endsAt": "2026-08-01T04:00:00Z",
    }


async def test_an_expired_card_and_an_ended_challenge_are_gone_from_the_screen_at_that_instant(shop: Shop) -> None:
    await published(
        shop,
        ("per_day: 2, award", "per_day: 2, expires: P10D, award"),
        ("from: 2017-06-01, until: 2017-07-01", "from: 2026-07-01, until: 2026-07-17"),
    )
    member = await shop.enrol()
    await buy(shop, pastry(member, 2))
    await shop.advance("2026-07-17T03:59:00Z")
    before = (await shop.phone(member, PROGRESS))["me"]

    await shop.advance("2026-07-17T04:00:00Z")
    after = (await shop.phone(member, PROGRESS))["me"]

    assert (before["stampCards"][0]["stamps"], before["stampCards"][0]["expiresAt"]) == (2, "2026-07-17T04:00:00Z")
    assert [each["progress"] for each in before["challenges"]] == [1]
    assert (after["stampCards"][0]["stamps"], after["stampCards"][0]["expiresAt"]) == (0, None)
    assert after["challenges"] == []


async def test_the_fourth_purchase_of_an_item_gives_a_voucher_that_names_it_and_is_for_it_alone(shop: Shop) -> None:
    member = await shop.enrol()
    lines = [{"sku": "4711", "category": "SOAP", "amount": "10.00"}]
    entries = [await buy(shop, a_purchase(member, lines=lines)) for _ in range(4)]
    found = await shop.phone(member, "{ me { vouchers { nodes { code sku } } } }")
    (voucher,) = found["me"]["vouchers"]["nodes"]
    other = [{"sku": "4712", "category": "SOAP", "amount": "10.00"}]

    wrong = await shop.record(a_purchase(member, lines=other, voucherCodes=[voucher["code"]]))
    right = await shop.record(
        a_purchase(member, lines=[*other, *lines], voucherCodes=[voucher["code"]])
        | {"total": {"amount": "20.00", "currency": "USD"}}
    )

    assert [entry["awards"]["vouchers"] for entry in entries] == [
        [],
        [],
        [],
        [{"name": "15 % off your favourite", "sku": "4711"}],
    ]
    assert voucher["sku"] == "4711"
    assert (wrong["__typename"], right["__typename"]) == ("NotEligible", "PurchaseRecorded")


async def test_an_activity_that_only_a_badge_counts_is_taken_from_partners(shop: Shop) -> None:
    await published(
        shop, ("badges:\n", "badges:\n  - {id: helper, counts: activity.help, levels: [2], name: {en: H}}\n")
    )
    member = await shop.enrol()
    record = """
    mutation($member: MemberLookup!, $input: ActivityInput!) {
      recordActivity(member: $member, input: $input) {
        ... on ActivityRecorded { entry { points awards { badges { badge level } } } } ... on Problem { code }
      }
    }
    """
    report = "mutation($input: ActivityInput!) { reportActivity(input: $input) { ... on NotEligible { reason } } }"

    answers = [
        await shop.till(
            record, {"member": {"id": member}, "input": {"type": "help", "idempotencyKey": f"help-key-{number}"}}
        )
        for number in range(2)
    ]
    by_member = await shop.phone(member, report, {"input": {"type": "help", "idempotencyKey": "help-key-9"}})

    assert [each["recordActivity"]["entry"]["awards"]["badges"] for each in answers] == [
        [],
        [{"badge": "helper", "level": 1}],
    ]
    assert by_member["reportActivity"] == {"reason": "NOT_REPORTED_BY_MEMBER"}


STREAKS = "".join(
    f"  - {{id: by-{event.replace('.', '-').replace('_', '-')}, event: {event}, period: day, name: {{en: {event}}},"
    " milestones: [{at: 1, award: {points: 7}}]}\n"
    for event in ("joined", "purchase", "feedback", "top_up", "activity.help", "birthday")
)
ENTRIES = "{ me { wallet { activity(first: 20) { nodes { kind explanation { rule points } } } } } }"


async def test_every_event_is_told_whoever_brings_it(shop: Shop) -> None:
    await published(shop, ("streaks:\n", f"streaks:\n{STREAKS}"), ("  - {id: birthday, event: birthday", "  #"))
    member = await shop.enrol(birthday="1980-07-07")
    other = await shop.enrol()
    record = (
        "mutation($member: MemberLookup!, $input: ActivityInput!) { recordActivity(member: $member, input: $input) {"
    )

    await shop.record(a_purchase(member))
    await shop.phone(member, "mutation { submitFeedback(rating: 5) { id } }")
    await top_up(shop, member)
    await top_up_at_till(shop, other, 2_000)
    help_given = {"member": {"id": member}, "input": {"type": "help", "idempotencyKey": "help-key-1"}}
    await shop.till(f"{record} __typename }} }}", help_given)
    await shop.advance("2026-07-07T04:00:00Z")

    found = [
        (entry["kind"], row["rule"])
        for each in (member, other)
        for entry in reversed((await shop.phone(each, ENTRIES))["me"]["wallet"]["activity"]["nodes"])
        for row in entry["explanation"]
        if row["points"] == 7
    ]
    assert found == [
        ("JOIN", "by-joined"),
        ("PURCHASE", "by-purchase"),
        ("ACTIVITY", "by-feedback"),
        ("TOP_UP", "by-top-up"),
        ("ACTIVITY", "by-activity-help"),
        ("ACTIVITY", "by-birthday"),
        ("JOIN", "by-joined"),
        ("TOP_UP", "by-top-up"),
    ]
