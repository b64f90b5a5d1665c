from datetime import UTC, datetime, timedelta

import pytest

from domain.ledger.entry import Entry, EntryKind
from domain.members.member import Member
from domain.problems import InsufficientBalance, InvalidInput, LimitReached, NotFound, WrongState
from domain.programme.earning import ExplanationRow
from tests.ledger.conftest import OpenShop
from tests.ledger.shop import CASHBACK, POINT_PER_EURO, Shop

FIFTEEN_FOR_TEN = 'earning:\n  - {id: base, event: purchase, award: {points: {per: "2.00", give: 3}}}\n'
TEN_EACH = "earning:\n  - {id: base, event: purchase, award: {points: 10}}\n"
FIVE_PERCENT = 'earning:\n  - {id: five, event: purchase, award: {cashback: {percent: "5"}}}\n'
MONTH = "points: {expiry: {policy: rolling, after: P1M}}\n" + POINT_PER_EURO
IDLE_MONTH = "points: {expiry: {policy: inactivity, after: P1M}}\n" + POINT_PER_EURO
PENDING = "points: {pending: P14D}\n" + POINT_PER_EURO


async def test_45_points_on_30_00_come_back_15_by_15(shop_with: OpenShop) -> None:
    shop = await shop_with(FIFTEEN_FOR_TEN)
    member = await shop.member()
    bought = await shop.buy(member, 3000)

    taken = [(await shop.give_back(member, bought, 1000)).points for _ in range(3)]

    assert bought.points == 45
    assert taken == [-15, -15, -15]
    assert await shop.available(member) == 0


async def test_10_points_on_9_99_come_back_4_3_3(shop_with: OpenShop) -> None:
    shop = await shop_with(TEN_EACH)
    member = await shop.member()
    bought = await shop.buy(member, 999)

    taken = [(await shop.give_back(member, bought, 333)).points for _ in range(3)]

    assert taken == [-4, -3, -3]
    assert await shop.available(member) == 0


async def test_a_return_names_its_purchase_and_says_what_it_took(shop: Shop, member: Member) -> None:
    bought = await shop.buy(member, 1000, receipt="R-7")

    back = await shop.give_back(member, bought, 400)

    assert (back.reverses, back.receipt) == (bought.id, "R-7")
    assert back.explanation == (ExplanationRow("return", "return", -4, 0),)
    assert back.balances.points == 6


async def test_a_return_without_an_amount_is_of_all_that_is_left(shop: Shop, member: Member) -> None:
    bought = await shop.buy(member, 1000)
    await shop.give_back(member, bought, 300)

    rest = await shop.give_back(member, bought)

    assert rest.returned is not None
    assert rest.returned.amount_minor == 700
    assert await shop.available(member) == 0


async def test_the_award_is_the_stored_one_whatever_the_rules_of_today(shop: Shop, member: Member) -> None:
    bought = await shop.buy(member, 1000)
    await shop.publish('earning:\n  - {id: base, event: purchase, award: {points: {per: "1.00", give: 7}}}\n')

    back = await shop.give_back(member, bought)

    assert back.points == -10


async def test_a_second_full_return_is_in_the_wrong_state(shop: Shop, member: Member) -> None:
    bought = await shop.buy(member, 1000)
    await shop.give_back(member, bought)

    for amount in (None, 1):
        problem = await shop.refused(shop.refund(member, bought.id, amount))
        assert isinstance(problem, WrongState)
        assert problem.state == "RETURNED"


async def test_more_than_is_left_is_refused_with_the_headroom(shop: Shop, member: Member) -> None:
    bought = await shop.buy(member, 1000)
    await shop.give_back(member, bought, 333)

    problem = await shop.refused(shop.refund(member, bought.id, 668))

    assert isinstance(problem, LimitReached)
    assert problem.headroom == "6.67"
    assert (await shop.give_back(member, bought, 667)).points == -6


async def test_a_return_has_one_key_like_everything_else(shop: Shop, member: Member) -> None:
    bought = await shop.buy(member, 1000)
    command = shop.refund(member, bought.id, 400)
    first = await shop.posted(command)

    again = await shop.ledger.commit(command)

    assert again.replayed
    assert again.decided == first
    assert await shop.available(member) == 6


async def test_a_refused_return_stays_refused_under_its_key(shop: Shop, member: Member) -> None:
    bought = await shop.buy(member, 1000)
    command = shop.refund(member, bought.id, 1001)
    problem = await shop.refused(command)

    again = await shop.ledger.commit(command)

    assert (again.replayed, again.decided) == (True, problem)


@pytest.mark.parametrize(("amount", "off", "path"), [(0, 0, "amount"), (-1, 0, "amount"), (1, 6, "occurredAt")])
async def test_a_return_that_cannot_be_taken(shop: Shop, member: Member, amount: int, off: int, path: str) -> None:
    bought = await shop.buy(member, 1000)
    at = shop.clock.now() + timedelta(minutes=off)

    problem = await shop.refused(shop.refund(member, bought.id, amount, occurred_at=at))

    assert isinstance(problem, InvalidInput)
    assert [one.path for one in problem.fields] == [path]


async def test_a_return_before_its_purchase_is_no_return(shop: Shop, member: Member) -> None:
    bought = await shop.buy(member, 1000)
    before = bought.occurred_at - timedelta(seconds=1)

    problem = await shop.refused(shop.refund(member, bought.id, occurred_at=before))

    assert isinstance(problem, InvalidInput)


async def test_a_purchase_of_a_till_whose_clock_is_ahead_can_be_returned_at_once(shop: Shop, member: Member) -> None:
    ahead = shop.clock.now() + timedelta(minutes=4)
    bought = await shop.buy(member, 1000, occurred_at=ahead)

    returned = await shop.give_back(member, bought)

    assert (returned.points, returned.occurred_at) == (-10, bought.occurred_at)


async def test_only_purchases_of_the_same_partner_and_member_can_be_returned(shop: Shop, member: Member) -> None:
    other = await shop.member()
    bought, adjusted = await shop.buy(member, 1000), await shop.adjust(member, 5)
    shop.client = "cafe"

    for whose, what in ((member, f"{member.id}.99"), (member, adjusted.id), (other, bought.id), (member, bought.id)):
        problem = await shop.refused(shop.refund(whose, what))
        assert isinstance(problem, NotFound)
        assert problem.what == "purchase"


async def test_returns_at_once_never_give_back_more_than_was_bought(shop: Shop, member: Member) -> None:
    bought = await shop.buy(member, 1000)

    outcomes = await shop.all(shop.refund(member, bought.id, 300) for _ in range(8))

    posted = [one.decided for one in outcomes if isinstance(one.decided, Entry)]
    refused = [one.decided for one in outcomes if not isinstance(one.decided, Entry)]
    assert sum(one.points for one in posted) == -9
    assert {type(one) for one in refused} == {LimitReached}
    assert len(posted) == 3


async def test_what_is_still_pending_of_the_purchase_goes_first(shop_with: OpenShop) -> None:
    shop = await shop_with(PENDING)
    member = await shop.member()
    await shop.buy(member, 1000)
    await shop.move_by(days=14)
    bought = await shop.buy(member, 2000)

    await shop.give_back(member, bought, 500)

    standing = await shop.standing(member)
    assert (standing.available, standing.pending, standing.owed) == (10, 15, 0)


async def test_the_rest_of_its_own_lot_goes_before_lots_that_expire_sooner(shop_with: OpenShop) -> None:
    shop = await shop_with(MONTH)
    member = await shop.member()
    await shop.buy(member, 1000)
    await shop.move_by(days=1)
    bought = await shop.buy(member, 1000)
    await shop.move_by(days=1)
    await shop.buy(member, 1000)

    await shop.give_back(member, bought)

    assert [lot.key.expires_at for lot in (await shop.wallet(member)).lots] == [
        datetime(2026, 4, 2, 22, tzinfo=UTC),
        datetime(2026, 4, 4, 22, tzinfo=UTC),
    ]


async def test_other_lots_go_by_expiry_when_its_own_is_spent(shop_with: OpenShop) -> None:
    shop = await shop_with(MONTH)
    member = await shop.member()
    bought = await shop.buy(member, 1000)
    await shop.adjust(member, -10)
    for _ in range(2):
        await shop.move_by(days=1)
        await shop.buy(member, 1000)

    await shop.give_back(member, bought)

    assert [lot.key.expires_at for lot in (await shop.wallet(member)).lots] == [datetime(2026, 4, 4, 22, tzinfo=UTC)]


async def test_what_is_owed_leaves_nothing_available_and_is_paid_by_the_next_earning(
    shop: Shop, member: Member
) -> None:
    bought = await shop.buy(member, 1000)
    await shop.adjust(member, -7)

    await shop.give_back(member, bought)
    in_debt = await shop.standing(member)
    refused = await shop.refused(shop.adjustment(member, -1))
    await shop.buy(member, 500)
    still = await shop.standing(member)
    paying = await shop.buy(member, 500)

    assert (in_debt.available, in_debt.owed) == (0, 7)
    assert isinstance(refused, InsufficientBalance)
    assert (still.available, still.owed) == (0, 2)
    assert paying.points == 5
    assert await shop.available(member) == 3


async def test_value_earned_while_owed_pays_even_while_it_would_be_pending(shop_with: OpenShop) -> None:
    shop = await shop_with(PENDING)
    member = await shop.member()
    bought = await shop.buy(member, 1000)
    await shop.move_by(days=15)
    await shop.adjust(member, -10)
    await shop.give_back(member, bought)

    await shop.buy(member, 1500)

    standing = await shop.standing(member)
    assert (standing.available, standing.pending, standing.owed) == (0, 5, 0)


async def test_what_expired_is_not_taken_again(shop_with: OpenShop) -> None:
    shop = await shop_with(MONTH)
    member = await shop.member()
    bought = await shop.buy(member, 1000)
    await shop.adjust(member, -4)
    await shop.move_by(days=40)
    await shop.buy(member, 2000)

    back = await shop.give_back(member, bought)

    assert back.points == -4
    assert await shop.available(member) == 16
    assert back.explanation == (ExplanationRow("return", "return", -4, 0),)


async def test_what_expired_is_forgiven_once_over_partial_returns(shop_with: OpenShop) -> None:
    shop = await shop_with(MONTH)
    member = await shop.member()
    bought = await shop.buy(member, 1000)
    await shop.adjust(member, -4)
    await shop.move_by(days=40)
    await shop.buy(member, 2000)

    taken = [(await shop.give_back(member, bought, 250)).points for _ in range(4)]

    assert sum(taken) == -4
    assert await shop.available(member) == 16


async def test_purchases_merged_in_one_lot_share_what_expired_of_it(shop_with: OpenShop) -> None:
    shop = await shop_with(MONTH)
    member = await shop.member()
    first, second = await shop.buy(member, 1000), await shop.buy(member, 1000)
    await shop.adjust(member, -15)
    await shop.move_by(days=40)
    await shop.buy(member, 5000)

    taken = [(await shop.give_back(member, one)).points for one in (first, second)]

    assert sum(taken) == -15
    assert await shop.available(member) == 35


async def test_lots_that_expire_at_one_instant_are_forgiven_each_for_its_own_purchase(shop_with: OpenShop) -> None:
    shop = await shop_with(MONTH.replace("P1M", "P10D"))
    member = await shop.member()
    dated = await shop.buy(member, 1000)
    await shop.move_by(days=5)
    await shop.publish(IDLE_MONTH.replace("P1M", "P5D"))
    idle = await shop.buy(member, 700)
    await shop.move_by(days=8)
    await shop.buy(member, 5000)

    taken = [(await shop.give_back(member, one)).points for one in (dated, idle)]

    assert len([entry for entry in await shop.entries(member) if entry.kind is EntryKind.EXPIRE]) == 1
    assert taken == [0, 0]
    assert await shop.available(member) == 50


async def test_what_expired_of_an_idle_wallet_is_not_taken_from_what_came_later(shop_with: OpenShop) -> None:
    shop = await shop_with(IDLE_MONTH)
    member = await shop.member()
    bought = await shop.buy(member, 1000)
    await shop.move_by(days=40)
    await shop.buy(member, 2000)

    back = await shop.give_back(member, bought)

    assert back.points == 0
    assert await shop.available(member) == 20


async def test_cashback_earned_goes_back_the_same_way(shop_with: OpenShop) -> None:
    shop = await shop_with(FIVE_PERCENT)
    member = await shop.member()
    bought = await shop.buy(member, 3000)
    await shop.adjust(member, -100, asset=CASHBACK)

    taken = [(await shop.give_back(member, bought, 1000)).moved(CASHBACK) for _ in range(3)]

    assert taken == [-50, -50, -50]
    standing = await shop.standing(member, CASHBACK)
    assert (standing.available, standing.owed) == (0, 100)


async def test_cashback_that_paid_comes_back_in_proportion_and_at_last_in_full(shop: Shop, member: Member) -> None:
    await shop.adjust(member, 1000, asset=CASHBACK)
    bought = await shop.buy(member, 3000, paid_minor=1000)

    given = [(await shop.give_back(member, bought, 1000)).moved(CASHBACK) for _ in range(3)]

    assert given == [333, 333, 334]
    assert await shop.available(member, CASHBACK) == 1000


async def test_cashback_that_paid_returns_to_its_lots_last_taken_first(shop_with: OpenShop) -> None:
    shop = await shop_with("cashback: {expiry: {policy: rolling, after: P3M}}\npoints: {refund_grace: P14D}\n")
    member = await shop.member()
    await shop.adjust(member, 60, asset=CASHBACK)
    await shop.move_by(days=30)
    await shop.adjust(member, 40, asset=CASHBACK)
    bought = await shop.buy(member, 100, paid_minor=100)

    await shop.give_back(member, bought, 50)
    half = {lot.key.expires_at: lot.remaining for lot in (await shop.wallet(member)).lots}
    await shop.give_back(member, bought)
    full = {lot.key.expires_at: lot.remaining for lot in (await shop.wallet(member)).lots}

    sooner, later = datetime(2026, 6, 2, 22, tzinfo=UTC), datetime(2026, 7, 1, 22, tzinfo=UTC)
    assert half == {later: 40, sooner: 10}
    assert full == {later: 40, sooner: 60}


async def test_cashback_whose_time_has_passed_comes_back_for_the_grace(shop_with: OpenShop) -> None:
    shop = await shop_with("cashback: {expiry: {policy: rolling, after: P1M}}\npoints: {refund_grace: P14D}\n")
    member = await shop.member()
    await shop.adjust(member, 100, asset=CASHBACK)
    bought = await shop.buy(member, 100, paid_minor=100)
    await shop.move_to(datetime(2026, 6, 10, 10, tzinfo=UTC))

    await shop.give_back(member, bought)

    (lot,) = (await shop.wallet(member)).lots
    assert lot.key.expires_at == datetime(2026, 6, 24, 22, tzinfo=UTC)
    await shop.move_to(datetime(2026, 6, 24, 21, 59, tzinfo=UTC))
    assert await shop.available(member, CASHBACK) == 100
    await shop.move_to(datetime(2026, 6, 24, 22, tzinfo=UTC))
    assert await shop.available(member, CASHBACK) == 0


async def test_cashback_of_an_idle_wallet_comes_back_for_the_grace(shop_with: OpenShop) -> None:
    shop = await shop_with("cashback: {expiry: {policy: inactivity, after: P1M}}\npoints: {refund_grace: P14D}\n")
    member = await shop.member()
    await shop.adjust(member, 100, asset=CASHBACK)
    bought = await shop.buy(member, 100, paid_minor=100)
    await shop.move_to(datetime(2026, 6, 10, 10, tzinfo=UTC))

    await shop.give_back(member, bought)

    assert await shop.available(member, CASHBACK) == 100
    await shop.move_to(datetime(2026, 6, 24, 22, tzinfo=UTC))
    assert await shop.available(member, CASHBACK) == 0


async def test_a_returned_purchase_falls_out_of_the_metric_but_not_the_tier(shop_with: OpenShop) -> None:
    shop = await shop_with(
        POINT_PER_EURO
        + """
tiers:
  metric: points_earned
  window: {policy: rolling, length: P12M}
  levels:
    - {id: base, from: 0, name: {en: Base}}
    - {id: gold, from: 100, name: {en: Gold}}
"""
    )
    member = await shop.member()
    bought = await shop.buy(member, 10000)
    await shop.move_by(days=3)

    await shop.give_back(member, bought, 4000)

    wallet = await shop.wallet(member)
    assert wallet.metric == {"2026-03-02": 60, "2026-03-02 spend": 6000, "2026-03-02 visits": 1}
    assert wallet.tier is not None
    assert wallet.tier.level == "gold"


async def test_a_returned_purchase_that_was_no_visit_of_its_own_takes_no_visit_away(shop_with: OpenShop) -> None:
    shop = await shop_with(
        POINT_PER_EURO
        + """
tiers:
  metric: visits
  window: {policy: rolling, length: P12M}
  levels:
    - {id: base, from: 0, name: {en: Base}}
    - {id: gold, from: 5, name: {en: Gold}}
"""
    )
    member = await shop.member()
    first = await shop.buy(member, 1000)
    await shop.move_by(minutes=20)
    second = await shop.buy(member, 500)

    await shop.give_back(member, second)
    after_second = (await shop.wallet(member)).metric
    await shop.give_back(member, first)

    assert after_second == {"2026-03-02": 10, "2026-03-02 spend": 1000, "2026-03-02 visits": 1}
    assert (await shop.wallet(member)).metric == {}
