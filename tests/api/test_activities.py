"""Activities over HTTP: who may report what, how often, and what it gives (SEMANTICS §3.2, §9.2)."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from domain.programme.published import Published, publish
from tests.api.shop import START, Shop, codes, new_key

ANSWER = """
  __typename
  ... on ActivityRecorded {
    replayed
    entry {
      id kind title points place { id } money { pocket }
      explanation { rule points } awards { vouchers { name } }
    }
    member { wallet { points { available } } }
  }
  ... on Problem { code message }
  ... on InvalidInput { fields { path message } }
  ... on NotFound { what }
  ... on NotEligible { reason }
  ... on LimitReached { limit headroom resetsAt }
  ... on IdempotencyMismatch { differs }
"""
REPORT = f"mutation($input: ActivityInput!) {{ answer: reportActivity(input: $input) {{ {ANSWER} }} }}"
RECORD = f"""
mutation($member: MemberLookup!, $input: ActivityInput!) {{
  answer: recordActivity(member: $member, input: $input) {{ {ANSWER} }}
}}
"""
SOURCE = (Path(__file__).parents[2] / "programme.yaml").read_text(encoding="utf-8")


def an_activity(kind: str, **changes: Any) -> dict[str, Any]:
    return {"type": kind, "idempotencyKey": new_key(), **changes}


async def report(shop: Shop, member: str, activity: dict[str, Any]) -> dict[str, Any]:
    answered: dict[str, Any] = (await shop.phone(member, REPORT, {"input": activity}))["answer"]
    return answered


async def record(shop: Shop, member: dict[str, str], activity: dict[str, Any]) -> dict[str, Any]:
    answered: dict[str, Any] = (await shop.till(RECORD, {"member": member, "input": activity}))["answer"]
    return answered


async def by_staff(shop: Shop, member: str, activity: dict[str, Any]) -> dict[str, Any]:
    wanted = {"member": {"id": member}, "input": activity}
    answered: dict[str, Any] = (await shop.staff(RECORD, wanted))["answer"]
    return answered


async def with_rules(shop: Shop, *rules: str) -> None:
    """The example programme with these rules more, in force."""
    source = SOURCE.replace("\nbonuses:\n", "\n" + "".join(f"  - {rule}\n" for rule in rules) + "\nbonuses:\n", 1)
    published = await publish(shop.services.store, source, expected_version=1, now=shop.clock.now())
    assert isinstance(published, Published), published
    await shop.services.programmes.refresh()


async def test_others_report_nothing(shop: Shop) -> None:
    member = await shop.enrol()
    before, wanted = await shop.posted(), {"input": an_activity("social_share")}
    of_member = {**wanted, "member": {"id": member}}

    reports = [await shop.ask(REPORT, wanted, token=token) for token in (None, await shop.till_token())]
    records = [
        await shop.ask(RECORD, of_member, token=token)
        for token in (
            await shop.till_token("members:read", "wallet:read"),
            await shop.member_token(member),
            await shop.staff_token("staff:members"),
        )
    ]

    assert [codes(refusal) for refusal in reports] == [["UNAUTHENTICATED"], ["FORBIDDEN"]]
    assert [codes(refusal) for refusal in records] == [["FORBIDDEN"]] * 3
    assert await shop.posted() == before


async def test_a_member_reports_what_the_programme_lets_him(shop: Shop) -> None:
    member = await shop.enrol()

    reported = await report(shop, member, an_activity("social_share", place="store-330"))

    assert reported == {
        "__typename": "ActivityRecorded",
        "replayed": False,
        "entry": {
            "id": f"{member}.2",
            "kind": "ACTIVITY",
            "title": "Activity",
            "points": 5,
            "place": {"id": "store-330"},
            "explanation": [{"rule": "share", "points": 5}],
            "awards": {"vouchers": []},
            "money": [],
        },
        "member": {"wallet": {"points": {"available": 105}}},
    }
    stored = await shop.services.store.journal.find_one({"_id": f"{member}.2"})
    assert stored is not None
    assert stored["activity"] == "social_share"


async def test_each_reporter_is_taken_at_his_word_only_where_the_rule_says_so(shop: Shop) -> None:
    member = await shop.enrol()

    by_himself = [await report(shop, member, an_activity(kind)) for kind in ("course_completed", "on_time", "own_cup")]
    by_partner = [
        await record(shop, {"id": member}, an_activity(kind)) for kind in ("course_completed", "on_time", "own_cup")
    ]
    staff = [await by_staff(shop, member, an_activity(kind)) for kind in ("course_completed", "on_time", "own_cup")]

    assert [each["reason"] for each in by_himself] == ["NOT_REPORTED_BY_MEMBER"] * 3
    assert [by_partner[0]["entry"]["points"], by_partner[1]["reason"], by_partner[2]["entry"]["points"]] == [
        50,
        "NOT_REPORTED_BY_PARTNER",
        3,
    ]
    assert [staff[0]["entry"]["points"], staff[1]["entry"]["points"], staff[2]["reason"]] == [
        50,
        1,
        "NOT_REPORTED_BY_STAFF",
    ]


async def test_an_activity_that_no_rule_in_force_names_is_refused_and_the_refusal_is_kept(shop: Shop) -> None:
    await with_rules(
        shop, "{id: race, event: activity.race, reported_by: member, award: {points: 9}, valid: {until: 2026-07-06}}"
    )
    member, wanted = await shop.enrol(), an_activity("juggling")

    first = await report(shop, member, wanted)
    over = await report(shop, member, an_activity("race"))
    in_time = await report(shop, member, an_activity("race", occurredAt="2026-07-05T12:00:00Z"))

    assert (first["__typename"], first["reason"]) == ("NotEligible", "UNKNOWN_ACTIVITY")
    assert over["reason"] == "UNKNOWN_ACTIVITY"
    assert in_time["entry"]["points"] == 9
    posted = await shop.posted()
    assert await report(shop, member, wanted) == first
    assert await shop.posted() == posted


async def test_a_rule_that_names_no_reporter_is_not_open_to_members(shop: Shop) -> None:
    await with_rules(shop, "{id: gym, event: activity.gym, award: {points: 7}}")
    member = await shop.enrol()

    by_himself = await report(shop, member, an_activity("gym"))
    by_partner = await record(shop, {"id": member}, an_activity("gym"))

    assert by_himself["reason"] == "NOT_REPORTED_BY_MEMBER"
    assert by_partner["entry"]["points"] == 7


async def test_a_limit_by_count_refuses_until_the_next_period_begins(shop: Shop) -> None:
    member = await shop.enrol()
    for _ in range(2):
        await record(shop, {"id": member}, an_activity("own_cup"))

    refused = await record(shop, {"id": member}, an_activity("own_cup"))
    other_day = await record(shop, {"id": member}, an_activity("own_cup", occurredAt="2026-07-05T12:00:00Z"))
    await shop.advance("2026-07-07T04:00:00Z")
    next_day = await record(shop, {"id": member}, an_activity("own_cup"))

    assert {name: refused[name] for name in ("__typename", "limit", "headroom", "resetsAt")} == {
        "__typename": "LimitReached",
        "limit": "own-cup",
        "headroom": "0",
        "resetsAt": "2026-07-07T04:00:00Z",
    }
    assert [other_day["entry"]["points"], next_day["entry"]["points"]] == [3, 3]


async def test_a_limit_that_is_used_up_for_a_day_gone_by_never_resets(shop: Shop) -> None:
    member, yesterday = await shop.enrol(), "2026-07-05T12:00:00Z"
    await report(shop, member, an_activity("social_share", occurredAt=yesterday))

    refused = await report(shop, member, an_activity("social_share", occurredAt=yesterday))

    assert (refused["__typename"], refused["resetsAt"]) == ("LimitReached", None)


async def test_a_limit_by_amount_gives_what_is_left_and_then_refuses(shop: Shop) -> None:
    rule = "{id: swim, event: activity.swim, reported_by: member, award: {points: 10}, limit: {points: 15, per: month}}"
    await with_rules(shop, rule)
    member = await shop.enrol()

    given = [(await report(shop, member, an_activity("swim")))["entry"]["points"] for _ in range(2)]
    refused = await report(shop, member, an_activity("swim"))

    assert given == [10, 5]
    assert (refused["limit"], refused["headroom"], refused["resetsAt"]) == ("swim", "0", "2026-08-01T04:00:00Z")


async def test_what_one_rule_still_gives_is_given_though_another_is_used_up(shop: Shop) -> None:
    await with_rules(
        shop,
        "{id: run-once, event: activity.run, reported_by: member, award: {points: 20}, limit: {count: 1, per: year}}",
        "{id: run, event: activity.run, reported_by: member, award: {voucher: free-coffee}, "
        "limit: {count: 2, per: day}}",
    )
    member = await shop.enrol()

    runs = [await report(shop, member, an_activity("run")) for _ in range(3)]

    assert [run["entry"]["points"] for run in runs[:2]] == [20, 0]
    assert [run["entry"]["awards"]["vouchers"] for run in runs[:2]] == [[{"name": "A coffee on us"}]] * 2
    assert (runs[2]["limit"], runs[2]["resetsAt"]) == ("run", "2026-07-07T04:00:00Z")


async def test_conditions_read_the_plain_attributes_and_nothing_of_them_is_kept(shop: Shop) -> None:
    when = 'activity.attributes.course == "bread" && activity.attributes.grade >= 4 && activity.attributes.share > 0.5'
    await with_rules(
        shop, f"{{id: exam, event: activity.exam, reported_by: partner, award: {{points: 30}}, when: '{when}'}}"
    )
    member = await shop.enrol()
    passed = {"course": "bread", "grade": 5, "share": 0.75, "teacher": {"names": ["Ivana Novak"]}, "note": None}

    good = await record(shop, {"id": member}, an_activity("exam", attributes=passed))
    bad = await record(shop, {"id": member}, an_activity("exam", attributes={**passed, "grade": 3}))
    none = await record(shop, {"id": member}, an_activity("exam"))

    assert [each["entry"]["points"] for each in (good, bad, none)] == [30, 0, 0]
    assert [document async for document in shop.services.store.journal.find({"member": member})] != []
    async for document in shop.services.store.journal.find({"member": member}):
        assert "Novak" not in str(document)


NESTED: dict[str, Any] = {"a": {"b": {"c": {"d": {}}}}}


@pytest.mark.parametrize(
    ("changes", "paths"),
    [
        ({"type": ""}, ["type"]),
        ({"type": "x" * 65}, ["type"]),
        ({"attributes": ["a"]}, ["attributes"]),
        ({"attributes": "a"}, ["attributes"]),
        ({"attributes": {"a b": 1}}, ["attributes"]),
        ({"attributes": {"a": 2**53}}, ["attributes"]),
        ({"attributes": {"a": "x" * 4_096}}, ["attributes"]),
        ({"attributes": {f"a{n}": n for n in range(65)}}, ["attributes"]),
        ({"attributes": NESTED}, ["attributes"]),
        ({"occurredAt": "2026-07-06T08:45:00Z"}, ["occurredAt"]),
        ({"occurredAt": "2025-06-01T08:30:00Z"}, ["occurredAt"]),
    ],
)
async def test_what_cannot_be_taken_is_named_and_nothing_is_posted(
    shop: Shop, changes: dict[str, Any], paths: list[str]
) -> None:
    member = await shop.enrol()
    before = await shop.posted()

    refused = await report(shop, member, an_activity("social_share", **changes))

    assert refused["__typename"] == "InvalidInput"
    assert [field["path"] for field in refused["fields"]] == paths
    assert await shop.posted() == before


async def test_what_is_as_late_or_as_early_as_allowed_is_taken(shop: Shop) -> None:
    member = await shop.enrol()
    oldest = START - timedelta(days=400, minutes=-5)

    answers = [
        await report(shop, member, an_activity("social_share", occurredAt=f"{at:%Y-%m-%dT%H:%M:%SZ}"))
        for at in (oldest, START + timedelta(minutes=5))
    ]

    assert [each["__typename"] for each in answers] == ["ActivityRecorded"] * 2


async def test_an_unknown_place_or_member_is_not_found(shop: Shop) -> None:
    member, stranger = (
        await shop.enrol(),
        await shop.ask('mutation { sandboxSignIn(subject: "x") { ... on Session { member { id } } } }'),
    )
    before = await shop.posted()
    not_linked = stranger["data"]["sandboxSignIn"]["member"]["id"]

    nowhere = await report(shop, member, an_activity("social_share", place="store-999"))
    nobody = await record(shop, {"id": not_linked}, an_activity("own_cup"))

    assert (nowhere["__typename"], nowhere["what"]) == ("NotFound", "place")
    assert (nobody["__typename"], nobody["what"]) == ("NotFound", "member")
    assert await shop.posted() == before


async def test_a_key_records_once_and_is_refused_for_another_input(shop: Shop) -> None:
    reference, wanted = {"reference": "card-1"}, an_activity("own_cup", attributes={"size": "L"})
    await shop.enrol("card-1")
    first = await record(shop, reference, wanted)

    again = await record(shop, reference, wanted)
    other = await record(shop, reference, {**wanted, "attributes": {"size": "S"}})

    assert again == {**first, "replayed": True}
    assert (other["__typename"], other["differs"]) == ("IdempotencyMismatch", ["attributes.size"])


async def test_a_kept_refusal_answers_its_key_for_ever(shop: Shop) -> None:
    member, wanted = await shop.enrol(), an_activity("social_share")
    await report(shop, member, an_activity("social_share"))
    refused = await report(shop, member, wanted)

    await shop.advance("2026-07-08T12:00:00Z")

    assert shop.clock.now() >= datetime(2026, 7, 8, 12, tzinfo=UTC)
    assert refused["__typename"] == "LimitReached"
    assert await report(shop, member, wanted) == refused
