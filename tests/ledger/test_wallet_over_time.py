"""What a wallet holds as time passes, by every policy, read and spent, swept or not (SEMANTICS §2)."""

from datetime import UTC, datetime, timedelta

import pytest

from domain.ledger.entry import EntryKind
from domain.ledger.posting import POINTS
from domain.ledger.wallet import standing
from domain.problems import InsufficientBalance
from tests.ledger.conftest import OpenShop
from tests.ledger.shop import CASHBACK, POINT_PER_EURO

NEW_YORK = "America/New_York"
MILLISECOND = timedelta(milliseconds=1)


def points(policy: str) -> str:
    return f"points: {{{policy}}}\n" + POINT_PER_EURO


def at(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc, arg-type]  # year, month, day, hour and minute


async def test_a_hundred_that_expires_on_day_10_after_80_spent_on_day_5_leaves_one_expiry_of_20(
    shop_with: OpenShop,
) -> None:
    shop = await shop_with(points("expiry: {policy: rolling, after: P10D}"))
    member = await shop.member()
    await shop.buy(member, 10000)
    await shop.move_by(days=5)
    await shop.adjust(member, -80)
    await shop.move_by(days=6)

    read = await shop.available(member)
    await shop.ledger.settle([member.id])
    await shop.ledger.settle([member.id])

    assert read == 0
    assert await shop.available(member) == 0
    expiries = [entry for entry in await shop.entries(member) if entry.kind is EntryKind.EXPIRE]
    assert [(entry.points, entry.occurred_at) for entry in expiries] == [(-20, at(2026, 3, 12, 23))]
    assert expiries[0].posted_at >= at(2026, 3, 13, 9)
    assert (await shop.wallet(member)).lots == ()


async def test_earned_on_6_july_for_a_year_to_the_month_end_is_spent_on_31_july_in_the_programmes_zone(
    shop_with: OpenShop,
) -> None:
    policy = points("expiry: {policy: rolling, after: P12M, round_to: end_of_month}")
    shop = await shop_with(policy, start_at=at(2026, 7, 6, 15), zone=NEW_YORK)
    member = await shop.member()
    await shop.buy(member, 1000)
    wallet, gone_at = await shop.wallet(member), at(2027, 8, 1, 4)

    await shop.move_to(at(2027, 8, 1, 3, 58))
    entry = await shop.adjust(member, -1)

    assert entry.points == -1
    assert standing(wallet, POINTS, gone_at - MILLISECOND).available == 10
    assert standing(wallet, POINTS, gone_at).available == 0
    assert standing(wallet, POINTS, gone_at - MILLISECOND).expiring == ((10, gone_at),)


@pytest.mark.parametrize("swept", [True, False])
async def test_at_the_first_instant_of_1_august_it_is_gone_for_reading_and_for_spending(
    shop_with: OpenShop, *, swept: bool
) -> None:
    policy = points("expiry: {policy: rolling, after: P12M, round_to: end_of_month}")
    shop = await shop_with(policy, start_at=at(2026, 7, 6, 15), zone=NEW_YORK)
    member = await shop.member()
    await shop.buy(member, 1000)
    await shop.move_to(at(2027, 8, 1, 4))
    if swept:
        await shop.ledger.settle([member.id])

    read = await shop.available(member)
    outcome = await shop.ledger.commit(shop.adjustment(member, -1))

    assert read == 0
    assert isinstance(outcome.decided, InsufficientBalance)
    assert outcome.decided.available == "0"


@pytest.mark.parametrize(
    ("policy", "gone_at"),
    [
        ("expiry: {policy: none}", None),
        ("expiry: {policy: calendar}", at(2027, 1, 1, 5)),
        ("expiry: {policy: rolling, after: P12M}", at(2027, 2, 1, 5)),
        ("expiry: {policy: rolling, after: P1M}", at(2026, 3, 1, 5)),
        ("expiry: {policy: rolling, after: P2M}", at(2026, 4, 1, 4)),
        ("expiry: {policy: rolling, after: P30D}", at(2026, 3, 3, 5)),
        ("expiry: {policy: rolling, after: P1M, round_to: end_of_month}", at(2026, 3, 1, 5)),
        ("expiry: {policy: rolling, after: P1M, round_to: end_of_quarter}", at(2026, 4, 1, 4)),
        ("expiry: {policy: rolling, after: P1M, round_to: end_of_year}", at(2027, 1, 1, 5)),
        ("expiry: {policy: inactivity, after: P2M, round_to: end_of_month}", at(2026, 4, 1, 4)),
    ],
)
async def test_points_of_31_january_in_new_york_are_gone_at(
    shop_with: OpenShop, policy: str, gone_at: datetime | None
) -> None:
    shop = await shop_with(points(policy), start_at=at(2026, 1, 31, 23), zone=NEW_YORK)
    member = await shop.member()

    await shop.buy(member, 1000)

    assert (await shop.standing(member)).expiring == (() if gone_at is None else ((10, gone_at),))


async def test_spending_takes_the_earliest_expiry_first_and_none_last_then_the_earliest_earned(
    shop_with: OpenShop,
) -> None:
    shop = await shop_with(POINT_PER_EURO)
    member = await shop.member()
    await shop.buy(member, 100)
    await shop.publish(points("expiry: {policy: rolling, after: P3M}"))
    await shop.buy(member, 200)
    await shop.publish(points("expiry: {policy: rolling, after: P1M}"))
    await shop.buy(member, 300)
    await shop.adjust(member, 4)

    spent = await shop.adjust(member, -10)

    taken = [(one.from_lot.expires_at, one.from_lot.origin, one.amount) for one in spent.postings if one.from_lot]
    assert taken == [
        (at(2026, 4, 2, 22), "PURCHASE", 3),
        (at(2026, 4, 2, 22), "ADJUST", 4),
        (at(2026, 6, 2, 22), "PURCHASE", 2),
        (None, "PURCHASE", 1),
    ]


async def test_equal_lots_merge_so_that_a_wallet_does_not_grow_with_its_history(shop_with: OpenShop) -> None:
    shop = await shop_with(points("pending: P7D, expiry: {policy: rolling, after: P12M, round_to: end_of_month}"))
    member = await shop.member()

    for _ in range(4):
        for _ in range(3):
            await shop.buy(member, 1000)
        await shop.move_by(days=7)
        await shop.ledger.settle([member.id])

    lots = (await shop.wallet(member)).lots
    assert [(lot.remaining, lot.key.expires_at) for lot in lots] == [(120, at(2027, 3, 31, 22))]


async def test_pending_value_matures_at_midnight_of_the_programmes_day_and_its_expiry_counts_from_there(
    shop_with: OpenShop,
) -> None:
    shop = await shop_with(points("pending: P14D, expiry: {policy: rolling, after: P1M}"), zone=NEW_YORK)
    member = await shop.member()
    await shop.buy(member, 1000)
    wallet, matures_at = await shop.wallet(member), at(2026, 3, 16, 4)

    before, after = standing(wallet, POINTS, matures_at - MILLISECOND), standing(wallet, POINTS, matures_at)

    assert (before.available, before.pending) == (0, 10)
    assert (after.available, after.pending) == (10, 0)
    assert after.expiring == ((10, at(2026, 4, 17, 4)),)


async def test_pending_value_cannot_be_spent_until_it_matures_swept_or_not(shop_with: OpenShop) -> None:
    shop = await shop_with(points("pending: P14D"))
    member = await shop.member()
    await shop.buy(member, 1000)

    refused = await shop.refused(shop.adjustment(member, -1))
    await shop.move_to(at(2026, 3, 15, 23))
    await shop.adjust(member, -4)

    assert isinstance(refused, InsufficientBalance)
    assert [entry.kind for entry in await shop.entries(member)][-2:] == [EntryKind.MATURE, EntryKind.ADJUST]
    assert await shop.available(member) == 6


async def test_value_that_matured_and_expired_unswept_leaves_both_entries_in_order(shop_with: OpenShop) -> None:
    shop = await shop_with(points("pending: P14D, expiry: {policy: rolling, after: P1M}"))
    member = await shop.member()
    await shop.buy(member, 1000)
    await shop.move_by(days=100)

    await shop.ledger.settle([member.id])

    due = (await shop.entries(member))[-2:]
    assert [(entry.kind, entry.occurred_at) for entry in due] == [
        (EntryKind.MATURE, at(2026, 3, 15, 23)),
        (EntryKind.EXPIRE, at(2026, 4, 16, 22)),
    ]
    assert due[1].points == -10


async def test_inactivity_counts_from_the_last_earning_or_spending_for_all_lots(shop_with: OpenShop) -> None:
    idle = "expiry: {policy: inactivity, after: P1M}"
    shop = await shop_with(f"cashback: {{{idle}}}\n" + points(idle))
    member = await shop.member()
    await shop.buy(member, 1000)
    await shop.adjust(member, 100, asset=CASHBACK)
    await shop.move_by(days=20)
    await shop.buy(member, 50, paid_minor=50)

    wallet = await shop.wallet(member)

    gone_at = at(2026, 4, 22, 22)
    assert standing(wallet, POINTS, gone_at - MILLISECOND).available == 10
    assert standing(wallet, CASHBACK, gone_at - MILLISECOND).available == 50
    assert standing(wallet, POINTS, gone_at).available == 0
    assert standing(wallet, CASHBACK, gone_at).available == 0


async def test_a_purchase_after_the_idle_date_does_not_bring_back_what_went(shop_with: OpenShop) -> None:
    shop = await shop_with(points("expiry: {policy: inactivity, after: P1M}"))
    member = await shop.member()
    await shop.buy(member, 1000)
    await shop.move_to(at(2026, 4, 2, 22))

    await shop.buy(member, 700)

    assert await shop.available(member) == 7
    assert [entry.points for entry in await shop.entries(member)] == [0, 10, -10, 7]


async def test_settling_at_many_ledgers_at_once_posts_what_is_due_once(shop_with: OpenShop) -> None:
    shop = await shop_with(points("pending: P14D, expiry: {policy: rolling, after: P1M}"))
    members = [await shop.member() for _ in range(3)]
    for member in members:
        await shop.buy(member, 1000)
    await shop.move_by(days=100)
    others = [shop.another_ledger() for _ in range(3)]

    await shop.settle_at_once([shop.ledger, *others], members)

    for member in members:
        assert [entry.points for entry in await shop.entries(member)] == [0, 10, 0, -10]


async def test_what_is_read_before_settling_is_what_is_read_after_it(shop_with: OpenShop) -> None:
    shop = await shop_with(points("pending: P10D, expiry: {policy: rolling, after: P20D}"))
    member = await shop.member()
    spent = await shop.buy(member, 5000)
    await shop.move_by(days=11)
    await shop.adjust(member, -50)
    await shop.buy(member, 3000)
    await shop.move_by(days=1)
    await shop.buy(member, 3000)
    await shop.give_back(member, spent)
    await shop.move_to(at(2026, 4, 14, 12))

    unswept = await shop.standing(member)
    await shop.ledger.settle([member.id])

    assert unswept == await shop.standing(member)


async def test_pending_value_of_an_idle_wallet_lasts_from_the_day_it_matures(shop_with: OpenShop) -> None:
    shop = await shop_with(points("pending: P40D, expiry: {policy: inactivity, after: P1M}"))
    member = await shop.member()
    await shop.buy(member, 500)
    wallet = await shop.wallet(member)

    await shop.move_to(at(2026, 4, 20, 10))
    unswept = await shop.available(member)
    await shop.ledger.settle([member.id])

    matured_at, gone_at = at(2026, 4, 10, 22), at(2026, 5, 11, 22)
    assert standing(wallet, POINTS, matured_at - MILLISECOND).pending == 5
    assert (unswept, await shop.available(member)) == (5, 5)
    assert [entry.points for entry in await shop.entries(member)] == [0, 5, 0]
    assert (await shop.standing(member)).expiring == ((5, gone_at),)
