"""Receipts that come late, in any order: cards, challenges, badges and limits end where the right order would end."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from hypothesis import given, settings
from hypothesis import strategies as st

from domain.commands.purchase import Receipt, decide_purchase
from domain.ledger.draft import Situation
from domain.ledger.entry import Entry
from domain.ledger.wallet import Wallet, apply
from domain.members.member import Member
from domain.programme.definition import read_definition
from domain.programme.earning import Line
from domain.programme.programme import compile_programme
from tests.ledger.shop import source

PROGRAMME: Final = compile_programme(
    read_definition(
        source("""
earning:
  - {id: daily, event: purchase, award: {points: {per: "1.00", give: 1}}, limit: {points: 9, per: day}}
  - {id: weekly, event: purchase, award: {cashback: {percent: "5"}}, limit: {cashback: "0.70", per: week}}
  - {id: once, event: purchase, award: {points: 50}, limit: {count: 2, per: month}}
stamp_cards:
  - {id: bread, lines: 'line.category == "BREAD"', size: 5, per_day: 2, award: {points: 10}, name: {en: Bread}}
  - {id: milk, lines: 'line.category == "MILK"', size: 3, award: {points: 10}, name: {en: Milk}}
challenges:
  - {id: spend, counts: spend, target: 40, TERMS}
  - {id: kinds, counts: distinct_categories, target: 3, TERMS}
  - {id: visits, counts: visits, target: 100, TERMS}
badges:
  - {id: buyer, counts: purchases, levels: [2, 4], name: {en: Buyer}}
  - {id: taster, counts: distinct_categories, levels: [2, 3], name: {en: Taster}}
""").replace("TERMS", "event: purchase, from: 2026-03-02, until: 2026-03-30, award: {points: 1}, name: {en: Challenge}")
    ),
    1,
)
MEMBER: Final = Member(id="m", joined_at=datetime(2026, 3, 1, tzinfo=UTC))
TOLD_AT: Final = datetime(2026, 3, 30, 12, tzinfo=UTC)

lines = st.builds(
    Line,
    sku=st.just("1"),
    category=st.sampled_from(["BREAD", "MILK", "EGGS"]),
    quantity=st.integers(1, 4),
    amount_minor=st.integers(1, 1_000),
)
receipts = st.tuples(
    st.builds(
        lambda day, step: datetime(2026, 3, 2 + day, 9, tzinfo=UTC) + step * timedelta(minutes=25),
        st.integers(0, 1),
        st.integers(0, 5),
    ),
    st.lists(lines, min_size=1, max_size=3),
)


def told(bought: Sequence[tuple[datetime, list[Line]]]) -> Wallet:
    """The wallet after those receipts, told in that order at one instant."""
    wallet = Wallet(member=MEMBER.id)
    for number, (occurred_at, lines) in enumerate(bought):
        receipt = Receipt(
            member=MEMBER,
            merchant="till",
            number=str(number),
            total_minor=sum(line.amount_minor for line in lines),
            currency="EUR",
            occurred_at=occurred_at,
            lines=tuple(lines),
        )
        entry = decide_purchase(receipt, situation(wallet, number))
        assert isinstance(entry, Entry), entry
        wallet = apply(wallet, entry)
    return wallet


def situation(wallet: Wallet, number: int) -> Situation:
    return Situation(
        wallet=wallet,
        programme=PROGRAMME,
        now=TOLD_AT,
        actor="partner:till",
        key=f"key-{number}",
        operation="recordPurchase",
        fingerprint="",
        leaves="",
    )


def ends_at(wallet: Wallet) -> Mapping[str, Any]:
    """What must not turn on the order; of a challenge that was won only that it was."""
    challenges = wallet.progress.get("challenges", {})
    return {
        "usage": {
            rule: {
                period: used.count if rule == "once" else (used.amount, used.cashback_minor)
                for period, used in periods.items()
            }
            for rule, periods in wallet.usage.items()
        },
        "points": wallet.lifetime_points,
        "cards": wallet.progress.get("stamp_cards"),
        "challenges": {
            name: "won" if "completed_at" in state else (state["count"], sorted(state.get("seen", ())))
            for name, state in challenges.items()
        },
        "badges": {
            name: (state.get("level"), sorted(state.get("seen", ())))
            for name, state in wallet.progress.get("badges", {}).items()
        },
        "visits": wallet.visits,
    }


@given(st.lists(receipts, min_size=2, max_size=8).flatmap(st.permutations))
@settings(max_examples=100, deadline=timedelta(seconds=5))
def test_receipts_in_any_order_come_to_the_same(bought: list[tuple[datetime, list[Line]]]) -> None:
    in_order = sorted(bought, key=lambda receipt: receipt[0])

    assert ends_at(told(bought)) == ends_at(told(in_order))
