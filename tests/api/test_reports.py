"""`report`: the numbers of a period, right at the instant of asking, equal to what was done."""

from typing import Any

from domain.programme.published import Published, publish
from tests.api.shop import PROGRAMME, Shop, a_purchase, codes, new_key
from tests.api.spending import do

REPORT = """
query($from: Date!, $to: Date!) { report(from: $from, to: $to) {
  members activeMembers participationRate purchases spend { amount currency } averageOrder { amount }
  repeatPurchaseRate pointsEarned pointsRedeemed pointsExpired pointsOutstanding redemptionRate
  prepaidOutstanding { amount } cashbackOutstanding { amount } tiers { tier members }
  pilots { rule inside { ...Arm } outside { ...Arm } }
} }
fragment Arm on PilotArm {
  activeMembers purchases spend { amount } averageOrder { amount } repeatPurchaseRate pointsEarned
}
"""
PERIOD = {"from": "2026-07-01", "to": "2026-08-01"}


async def report(shop: Shop, since: str = "2026-07-01", until: str = "2026-08-01") -> dict[str, Any]:
    found: dict[str, Any] = (await shop.staff(REPORT, {"from": since, "to": until}, scopes=("staff:reports",)))[
        "report"
    ]
    return found


async def publish_changed(shop: Shop, old: str, new: str) -> None:
    """The next version of the example programme, with one thing changed."""
    source = PROGRAMME.read_text(encoding="utf-8")
    assert source.count(old) == 1
    services = shop.services
    published = await publish(services.store, source.replace(old, new), expected_version=1, now=services.clock.now())
    assert isinstance(published, Published), published
    await services.programmes.refresh()


async def test_only_staff_with_the_scope_may_ask(shop: Shop) -> None:
    tokens = [await shop.till_token(), await shop.staff_token("staff:members"), await shop.member_token("m"), None]

    refusals = [await shop.ask(REPORT, PERIOD, token=token) for token in tokens]

    assert [codes(refusal) for refusal in refusals] == [["FORBIDDEN"]] * 3 + [["UNAUTHENTICATED"]]


async def test_a_period_that_ends_before_it_starts_is_refused_with_the_remedy(shop: Shop) -> None:
    token = await shop.staff_token("staff:reports")

    refused = await shop.ask(REPORT, {"from": "2026-07-06", "to": "2026-07-06"}, token=token)
    at_the_end = await shop.ask(REPORT, {"from": "9999-12-30", "to": "9999-12-31"}, token=token)

    assert codes(refused) == codes(at_the_end) == ["BAD_USER_INPUT"]
    assert "day after the last" in refused["errors"][0]["message"]
    assert "before 3000-01-01" in at_the_end["errors"][0]["message"]


async def test_before_anything_happened_every_number_is_zero(shop: Shop) -> None:
    assert await report(shop) == {
        "members": 0,
        "activeMembers": 0,
        "participationRate": "0.0000",
        "purchases": 0,
        "spend": [{"amount": "0.00", "currency": "USD"}],
        "averageOrder": [],
        "repeatPurchaseRate": "0.0000",
        "pointsEarned": 0,
        "pointsRedeemed": 0,
        "pointsExpired": 0,
        "pointsOutstanding": 0,
        "redemptionRate": "0.0000",
        "prepaidOutstanding": [{"amount": "0.00"}],
        "cashbackOutstanding": [{"amount": "0.00"}],
        "tiers": [{"tier": tier, "members": 0} for tier in ("bronze", "silver", "gold", "vip")],
        "pilots": [],
    }


async def test_a_report_has_what_was_acknowledged_before_it_was_asked_for(shop: Shop) -> None:
    ana, ben, _idle = [await shop.enrol() for _ in range(3)]
    lines = [{"sku": "1", "category": "PASTRY", "amount": "20.00"}]
    bought = await shop.record(a_purchase(ana, "600.00"))
    await shop.record(a_purchase(ana, "20.00", lines=lines))
    await shop.record(a_purchase(ben, "10.01"))
    await shop.give_back({"purchase": bought["entry"]["id"], "amount": "60.00", "idempotencyKey": new_key()})
    await do(shop, ana, "redeemReward", reward="coffee")
    await shop.adjust({"member": ben, "points": -30, "reason": "A mistake", "idempotencyKey": new_key()})

    found = await report(shop)

    earned = 3 * 100 + 600 + 25 + 10 - 60
    assert found["pointsEarned"] == earned
    assert found["pointsOutstanding"] == earned - 120 - 30
    assert (found["members"], found["activeMembers"], found["purchases"]) == (3, 2, 3)
    assert (found["participationRate"], found["repeatPurchaseRate"]) == ("0.6667", "0.5000")
    assert found["spend"] == [{"amount": "570.01", "currency": "USD"}]
    assert found["averageOrder"] == [{"amount": "210.00"}]
    assert (found["pointsRedeemed"], found["pointsExpired"]) == (120, 0)
    assert found["redemptionRate"] == f"{120 / earned:.4f}"
    assert found["cashbackOutstanding"] == [{"amount": "1.00"}]
    assert found["tiers"][:2] == [{"tier": "bronze", "members": 2}, {"tier": "silver", "members": 1}]


async def test_what_fell_due_while_the_clock_was_moved_is_in_the_report_at_once(shop: Shop) -> None:
    await shop.enrol()
    await shop.advance("2027-09-01T12:00:00Z")

    before, after = await report(shop, until="2027-08-01"), await report(shop, until="2027-09-01")

    assert (before["pointsExpired"], before["pointsOutstanding"]) == (0, 100)
    assert (after["pointsExpired"], after["pointsOutstanding"]) == (100, 0)


async def test_a_receipt_counts_on_the_programmes_day_on_which_it_occurred(shop: Shop) -> None:
    member = await shop.enrol()
    await shop.record(a_purchase(member, "10.00", occurredAt="2026-06-01T03:59:59Z"))
    await shop.record(a_purchase(member, "20.00", occurredAt="2026-06-01T04:00:00Z"))

    may, june = await report(shop, "2026-05-01", "2026-06-01"), await report(shop, "2026-06-01", "2026-07-01")

    assert [month["spend"][0]["amount"] for month in (may, june)] == ["10.00", "20.00"]
    assert [month["pointsOutstanding"] for month in (may, june)] == [10, 30]
    assert [month["members"] for month in (may, june)] == [0, 0]


async def test_a_pilot_is_read_beside_the_rest_on_the_days_when_it_was_on(shop: Shop) -> None:
    member = await shop.enrol()
    await shop.record(a_purchase(member, "10.00", place="store-330", occurredAt="2026-07-01T12:00:00Z"))
    nothing_on = await report(shop)
    await publish_changed(shop, "from: 2017-06-01, until: 2017-09-01", "from: 2026-07-01, until: 2026-07-05")
    await shop.record(a_purchase(member, "10.00", place="store-330", occurredAt="2026-07-01T22:30:00Z"))
    await shop.record(a_purchase(member, "30.00", place="store-330", occurredAt="2026-07-02T12:00:00Z"))
    await shop.record(a_purchase(member, "50.00", place="store-318", occurredAt="2026-07-02T12:00:00Z"))
    await shop.record(a_purchase(member, "70.00", place="store-330", occurredAt="2026-07-05T12:00:00Z"))

    found = await report(shop)

    assert nothing_on["pilots"] == []
    assert found["pilots"] == [
        {
            "rule": "happy-hour",
            "inside": {
                "activeMembers": 1,
                "purchases": 2,
                "spend": [{"amount": "40.00"}],
                "averageOrder": [{"amount": "20.00"}],
                "repeatPurchaseRate": "1.0000",
                "pointsEarned": 50,
            },
            "outside": {
                "activeMembers": 1,
                "purchases": 1,
                "spend": [{"amount": "50.00"}],
                "averageOrder": [{"amount": "50.00"}],
                "repeatPurchaseRate": "0.0000",
                "pointsEarned": 50,
            },
        }
    ]
