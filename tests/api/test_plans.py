"""Plans over HTTP: joined, renewed and lapsed by the clock, left, and refused (SEMANTICS §9.4)."""

from typing import Any

from tests.api.shop import Shop, a_purchase, codes, new_key

PLAN = "plan { plan name paidUntil renews }"
JOIN = f"""
mutation($input: JoinPlanInput!) {{ answer: joinPlan(input: $input) {{
  __typename
  ... on PlanJoined {{
    replayed {PLAN}
    entry {{
      id kind title
      money {{ pocket amount {{ amount currency }} }}
      postings {{ source destination asset amount }}
    }}
    member {{ {PLAN} wallet {{ version prepaid {{ available {{ amount }} }} }} }}
  }}
  ... on Problem {{ code message }}
  ... on InvalidInput {{ fields {{ path }} }}
  ... on NotFound {{ what }}
  ... on WrongState {{ state }}
  ... on InsufficientBalance {{ asset available required }}
  ... on IdempotencyMismatch {{ differs }}
}} }}
"""
LEAVE = "mutation { leavePlan { plan name paidUntil renews } }"
ME = f"{{ me {{ {PLAN} wallet {{ version prepaid {{ available {{ amount }} }} }} }} }}"


def joining(plan: str = "plus", key: str | None = None) -> dict[str, Any]:
    return {"input": {"plan": plan, "idempotencyKey": key or new_key()}}


async def with_prepaid(shop: Shop, amount: str, **profile: Any) -> str:
    """The id of a member with that much prepaid money."""
    member = await shop.enrol(**profile)
    money = {"amount": amount, "currency": "USD"}
    wanted = {"member": member, "money": money, "pocket": "PREPAID", "reason": "Cash", "idempotencyKey": new_key()}
    assert (await shop.adjust(wanted))["__typename"] == "BalanceAdjusted"
    return member


async def join(shop: Shop, member: str, plan: str = "plus", key: str | None = None) -> dict[str, Any]:
    answered: dict[str, Any] = (await shop.phone(member, JOIN, joining(plan, key)))["answer"]
    return answered


async def me(shop: Shop, member: str) -> tuple[dict[str, Any] | None, str]:
    """The plan and the prepaid money that the member sees."""
    found = (await shop.phone(member, ME))["me"]
    return found["plan"], found["wallet"]["prepaid"][0]["available"]["amount"]


async def test_a_member_joins_for_prepaid_money_and_sees_until_when_it_is_paid(shop: Shop) -> None:
    member = await with_prepaid(shop, "20.00")

    joined = await join(shop, member)

    status = {"plan": "plus", "name": "Corner Plus", "paidUntil": "2026-08-06T04:00:00Z", "renews": True}
    assert joined["__typename"] == "PlanJoined"
    assert (joined["replayed"], joined["plan"], joined["member"]["plan"]) == (False, status, status)
    assert joined["entry"]["kind"] == "PLAN"
    assert joined["entry"]["money"] == [{"pocket": "PREPAID", "amount": {"amount": "-4.99", "currency": "USD"}}]
    assert joined["entry"]["postings"] == [
        {"source": "member/available", "destination": "programme/plans", "asset": "prepaid/USD", "amount": 499}
    ]
    assert await me(shop, member) == (status, "15.01")


async def test_the_clock_renews_it_month_by_month_from_the_last_of_a_month_until_money_is_too_little(
    shop: Shop,
) -> None:
    member = await with_prepaid(shop, "16.00")
    await shop.advance("2027-01-31T17:00:00Z")
    await join(shop, member)

    seen = []
    for day in ("2027-02-28T05:00:01Z", "2027-03-31T04:00:01Z", "2027-04-30T04:00:01Z"):
        await shop.advance(day)
        plan, money = await me(shop, member)
        seen.append((None if plan is None else plan["paidUntil"], money))

    assert seen == [
        ("2027-03-31T04:00:00Z", "6.02"),
        ("2027-04-30T04:00:00Z", "1.03"),
        (None, "1.03"),
    ]


async def test_what_it_multiplies_is_told_in_a_row_of_its_own_while_it_is_paid(shop: Shop) -> None:
    member = await with_prepaid(shop, "5.00")
    await join(shop, member)

    within = await shop.record(a_purchase(member, "50.00"))
    await shop.advance("2026-08-06T04:00:01Z")
    after = await shop.record(a_purchase(member, "50.00"))

    rows = [(row["rule"], row["text"], row["points"]) for row in within["entry"]["explanation"]]
    assert rows == [("base", "1 point for every dollar", 50), ("plus", "Corner Plus", 5)]
    assert [row["rule"] for row in after["entry"]["explanation"]] == ["base"]
    assert after["entry"]["points"] == 50


async def test_a_preview_knows_the_plan(shop: Shop) -> None:
    member = await with_prepaid(shop, "5.00")
    await join(shop, member)
    query = "query($input: PurchaseInput!) { previewPurchase(input: $input) { ... on PurchasePreview { points } } }"

    preview = await shop.till(query, {"input": a_purchase(member, "50.00")})

    assert preview == {"previewPurchase": {"points": 55}}


async def test_leaving_twice_is_leaving_once_and_the_paid_time_stays(shop: Shop) -> None:
    member = await with_prepaid(shop, "20.00")
    await join(shop, member)

    first = (await shop.phone(member, LEAVE))["leavePlan"]
    posted = await shop.posted()
    second = (await shop.phone(member, LEAVE))["leavePlan"]
    await shop.advance("2026-08-06T04:00:01Z")
    after = (await shop.phone(member, LEAVE))["leavePlan"]

    assert first == {"plan": "plus", "name": "Corner Plus", "paidUntil": "2026-08-06T04:00:00Z", "renews": False}
    assert second == first
    assert posted == await shop.posted() - 1, "only the end of the plan came after"
    assert after is None
    assert await me(shop, member) == (None, "15.01")


async def test_without_a_plan_there_is_nothing_to_leave(shop: Shop) -> None:
    member = await shop.enrol()
    before = await shop.posted()

    assert await shop.phone(member, LEAVE) == {"leavePlan": None}
    assert await shop.posted() == before


async def test_one_who_left_and_comes_back_in_time_pays_nothing(shop: Shop) -> None:
    member = await with_prepaid(shop, "20.00")
    await join(shop, member)
    await shop.phone(member, LEAVE)

    back = await join(shop, member)
    left = (await shop.phone(member, LEAVE))["leavePlan"]

    assert (back["plan"]["renews"], left["renews"]) == (True, False)
    assert back["entry"]["money"] == []
    assert await me(shop, member) == (left, "15.01")


async def test_the_same_key_is_a_replay_also_after_the_plan_has_ended(shop: Shop) -> None:
    member, key = await with_prepaid(shop, "5.00"), new_key()
    first = await join(shop, member, key=key)
    await shop.advance("2026-09-06T04:00:01Z")

    again = await join(shop, member, key=key)

    assert (again["replayed"], again["entry"]["id"], again["plan"]) == (True, first["entry"]["id"], first["plan"])
    assert again["member"]["plan"] is None


async def test_refusals_say_why_and_take_nothing(shop: Shop) -> None:
    poor, member, key = await with_prepaid(shop, "4.98"), await with_prepaid(shop, "20.00"), new_key()
    await join(shop, member, key=key)

    short = await join(shop, poor)
    running = await join(shop, member)
    unknown = await join(shop, member, "gold")
    empty = await join(shop, member, "")
    reused = await join(shop, member, "gold", key)

    assert (short["__typename"], short["available"], short["required"]) == ("InsufficientBalance", "4.98", "4.99")
    assert (running["__typename"], running["state"]) == ("WrongState", "RUNNING")
    assert (unknown["__typename"], unknown["what"]) == ("NotFound", "plan")
    assert (empty["__typename"], empty["fields"]) == ("InvalidInput", [{"path": "plan"}])
    assert (reused["__typename"], reused["differs"]) == ("IdempotencyMismatch", ["plan"])
    assert [(await me(shop, one))[1] for one in (poor, member)] == ["4.98", "15.01"]


async def test_nobody_but_the_member_joins_or_leaves(shop: Shop) -> None:
    await with_prepaid(shop, "20.00")
    before = await shop.posted()

    refused = [
        codes(await shop.ask(JOIN, joining(), token=await shop.till_token("members:read", "prepaid:charge"))),
        codes(await shop.ask(JOIN, joining(), token=await shop.staff_token("staff:adjust", "staff:members"))),
        codes(await shop.ask(LEAVE, token=await shop.till_token("members:read"))),
        codes(await shop.ask(JOIN, joining())),
    ]

    assert [set(each) for each in refused] == [{"FORBIDDEN"}, {"FORBIDDEN"}, {"FORBIDDEN"}, {"UNAUTHENTICATED"}]
    assert await shop.posted() == before
