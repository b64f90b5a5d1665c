"""Every fact that a condition may name, filled at a real purchase, activity, feedback and top-up (SEMANTICS §11)."""

from typing import Any, Final

from structlog.testing import capture_logs

from domain.programme.facts import FACTS
from domain.programme.published import Published, publish
from tests.api.shop import TILL_SCOPES, Shop, a_purchase, new_key

WHEN: Final = {
    "purchase.total_minor": "== 1250",
    "purchase.place": '== "north"',
    "purchase.region": '== "alps"',
    "purchase.hour": "== 23",
    "purchase.weekday": "== 7",
    "purchase.categories": '== ["BREAD", "MILK"]',
    "purchase.skus": '== ["1", "2", "3"]',
    "member.tier": '== "silver"',
    "member.segments": '== ["buyers", "bakers"]',
    "member.plan": '== "plus"',
    "member.days_since_joined": "== 6",
    "member.days_since_purchase": "== 5",
    "member.purchases": "== 2",
    "member.visits": "== 1",
    "member.spend_minor": "== 60000",
    "member.birthday_today": "",
    "member.age_years": "== 36",
    "member.locale": '== "sl"',
    "member.points": "== 608",  # what the rules here gave before, too
    "member.tags": '== ["bakery"]',
}
LINES: Final = {
    "line.amount_minor": "== 250",
    "line.quantity": "== 3",
    "line.category": '== ""',
    "line.brand": '== "Mill"',
    "line.sku": '== "2"',
}
OTHERS: Final = {
    "activity.run": 'activity.type == "run" && activity.attributes.km >= 5 && member.purchases == 3',
    "feedback": "member.purchases == 3",
    "top_up": "top_up.amount_minor == 5000 && member.purchases == 0",
}
LINED: Final = [
    {"sku": "3", "quantity": 3, "amount": "5.00"},
    {"sku": "1", "category": "MILK", "brand": "Mill", "amount": "2.50"},
    {"sku": "2", "category": "BREAD", "amount": "5.00"},
]
RECORD: Final = """
mutation($input: PurchaseInput!) {
  recordPurchase(input: $input) { ... on PurchaseRecorded { entry { explanation { rule } } } }
}
"""


def programme() -> str:
    """One rule for each fact, named by it."""
    rules = {name: ("purchase", f"when: '{name} {test}'") for name, test in WHEN.items()}
    rules |= {name: ("purchase", f"lines: '{name} {test}'") for name, test in LINES.items()}
    rules |= {event: (event, f"when: '{test}'") for event, test in OTHERS.items()}
    earning = "".join(
        f"  - {{id: {name.replace('.', '-')}, event: {event}, {condition}, award: {{points: 1}}}}\n"
        for name, (event, condition) in rules.items()
    )
    return f"""
programme: facts
name: {{en: Facts}}
currency: USD
time_zone: Europe/Ljubljana
locales: {{default: en, supported: [en, sl]}}
earning:
{earning}
  - {{id: base, event: purchase, when: 'purchase.total_minor >= 20000', award: {{points: {{per: "1.00", give: 1}}}}}}
tiers:
  metric: points_earned
  window: {{policy: rolling, length: P12M}}
  levels: [{{id: bronze, from: 0, name: {{en: Bronze}}}}, {{id: silver, from: 500, name: {{en: Silver}}}}]
segments:
  - {{id: buyers, when: 'member.purchases >= 2'}}
  - {{id: bakers, when: '"bakery" in member.tags'}}
  - {{id: nobody, when: 'member.points < 0'}}
plans: [{{id: plus, price: "5.00", period: P1M, name: {{en: Plus}}}}]
places: [{{id: north, name: North, region: alps, location: {{latitude: 46.4, longitude: 13.8}}}}]
"""


def rules(answered: dict[str, Any]) -> set[str]:
    return {row["rule"] for row in answered["entry"]["explanation"]}


async def a_member(shop: Shop) -> str:
    """A baker who topped up, has the plan, and bought for 600.00 within the hour."""
    published = await publish(shop.services.store, programme(), expected_version=1, now=shop.clock.now())
    assert isinstance(published, Published), published
    await shop.services.programmes.refresh()
    member = await shop.enrol(birthday="1990-07-12", locale="sl")
    tag = 'mutation($member: ID!) { setMemberTags(member: $member, tags: ["bakery"]) { __typename } }'
    await shop.staff(tag, {"member": member}, scopes=("staff:members",))
    return member


async def test_every_fact_is_filled_at_a_purchase(shop: Shop) -> None:
    member = await a_member(shop)
    cash = {"member": {"id": member}, "amount": {"amount": "50.00", "currency": "USD"}, "receipt": "cash-1"}
    topped_up = await shop.till(
        "mutation($input: TillTopUpInput!) { topUpAtTill(input: $input) {"
        " ... on ToppedUp { entry { explanation { rule } } } } }",
        {"input": {**cash, "idempotencyKey": new_key()}},
        scopes=(*TILL_SCOPES, "prepaid:topup"),
    )
    await shop.phone(
        member,
        "mutation($input: JoinPlanInput!) { joinPlan(input: $input) { ... on PlanJoined { replayed } } }",
        {"input": {"plan": "plus", "idempotencyKey": new_key()}},
    )
    await shop.advance("2026-07-07T08:30:00Z")
    for _ in range(2):
        await shop.record(a_purchase(member, "300.00"))
    await shop.advance("2026-07-12T21:30:00Z")

    bought = await shop.till(RECORD, {"input": a_purchase(member, "12.50", lines=LINED, place="north")})

    assert rules(topped_up["topUpAtTill"]) == {"top_up"}
    wanted = {name.replace(".", "-") for name in (*WHEN, *LINES)}
    assert rules(bought["recordPurchase"]) == wanted
    asked = [f"{group}.{fact}" for group in ("purchase", "line", "member") for fact in FACTS[group]]
    assert sorted((*WHEN, *LINES)) == sorted(asked)


async def test_facts_are_filled_at_activities_and_feedback(shop: Shop) -> None:
    member = await a_member(shop)
    for _ in range(3):
        await shop.record(a_purchase(member, "10.00"))
    wanted = {"type": "run", "attributes": {"km": 5}, "idempotencyKey": new_key()}

    ran = await shop.till(
        "mutation($member: ID!, $input: ActivityInput!) { recordActivity(member: {id: $member}, input: $input) {"
        " ... on ActivityRecorded { entry { explanation { rule } } } } }",
        {"member": member, "input": wanted},
    )
    await shop.phone(member, "mutation { submitFeedback(rating: 5) { id } }")
    told = await shop.phone(member, "{ me { wallet { activity(first: 1) { nodes { explanation { rule } } } } } }")

    assert rules(ran["recordActivity"]) == {"activity-run"}
    (feedback,) = told["me"]["wallet"]["activity"]["nodes"]
    assert rules({"entry": feedback}) == {"feedback"}


async def test_a_condition_that_fails_at_a_till_gives_nothing_harms_nothing_and_is_counted(shop: Shop) -> None:
    rules_more = """
  - {id: adults, event: purchase, when: 'member.age_years >= 18', award: {points: 7}}
  - {id: cheap, event: purchase, when: '100 / (purchase.total_minor - 1000) > 0', award: {points: 9}}
  - {id: always, event: purchase, award: {points: 3}}
tiers:"""
    source = programme().replace("\ntiers:", rules_more, 1)
    published = await publish(shop.services.store, source, expected_version=1, now=shop.clock.now())
    assert isinstance(published, Published), published
    await shop.services.programmes.refresh()
    unknown, adult = await shop.enrol(), await shop.enrol(birthday="1980-01-01")

    with capture_logs() as logs:
        first = await shop.till(RECORD, {"input": a_purchase(unknown, "10.00")})
    second = await shop.till(RECORD, {"input": a_purchase(adult, "10.50")})
    metrics = (await shop.http.get("/metrics")).text

    assert rules(first["recordPurchase"]) == {"always"}
    assert rules(second["recordPurchase"]) == {"adults", "cheap", "always"}
    assert {(log["event"], log["rule"]) for log in logs if log["event"] == "rule_failed"} == {
        ("rule_failed", "adults"),
        ("rule_failed", "cheap"),
    }
    for rule in ("adults", "cheap"):
        assert f'wallet_rule_errors_total{{rule="{rule}"}} 1.0' in metrics
