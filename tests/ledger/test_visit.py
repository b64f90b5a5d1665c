from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.ledger.visit import visit_change, with_purchase
from tests.ledger.conftest import OpenShop
from tests.ledger.shop import START


def count(minutes: Sequence[int]) -> int:
    recent: tuple[datetime, ...] = ()
    visits = 0
    for each in minutes:
        at = START + timedelta(minutes=each)
        visits += visit_change(recent, at).added
        recent = with_purchase(recent, at)
    return visits


@pytest.mark.parametrize(
    ("minutes", "visits"),
    [([], 0), ([0], 1), ([0, 59], 1), ([0, 60], 2), ([0, 40, 80], 1), ([0, 80, 40], 1), ([0, 0], 1), ([60, 0, 120], 3)],
)
def test_purchases_less_than_an_hour_after_each_other_are_one_visit(minutes: list[int], visits: int) -> None:
    assert count(minutes) == visits


@given(st.lists(st.integers(0, 600), max_size=32).flatmap(lambda one: st.tuples(st.just(one), st.permutations(one))))
def test_the_order_in_which_receipts_come_changes_nothing(orders: tuple[list[int], list[int]]) -> None:
    one, other = orders
    in_order = sorted(one)
    naive = sum(at == 0 or in_order[at] - in_order[at - 1] >= 60 for at in range(len(in_order)))

    assert count(one) == count(other) == naive


@given(st.lists(st.integers(0, 6_000), max_size=80))
def test_in_their_order_any_number_of_receipts_is_counted_rightly(minutes: list[int]) -> None:
    in_order = sorted(minutes)

    assert count(in_order) == sum(at == 0 or in_order[at] - in_order[at - 1] >= 60 for at in range(len(in_order)))


async def test_a_wallet_counts_them_so_and_knows_only_the_latest(shop_with: OpenShop) -> None:
    shop = await shop_with("")
    member = await shop.member()
    await shop.move_by(days=3)
    for minutes in (0, 80, 40, *range(200, 200 + 100 * 35, 100)):
        await shop.buy(member, 100, occurred_at=START + timedelta(minutes=minutes))

    wallet = await shop.wallet(member)

    assert (wallet.purchases, wallet.visits) == (38, 36)
    assert wallet.recent_purchases == tuple(START + timedelta(minutes=200 + 100 * at) for at in range(3, 35))
