"""Holds and payments on the ledger: lots, expiry, races (SEMANTICS §2.7, §6.5)."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from domain.ledger.audit import audit
from domain.ledger.entry import Entry, EntryKind
from domain.ledger.lot import LotKey
from domain.members.member import Member
from domain.problems import DuplicateReceipt, InsufficientBalance, InvalidInput, LimitReached, NotFound, WrongState
from tests.ledger.conftest import OpenShop
from tests.ledger.shop import CASHBACK, POINT_PER_EURO, Shop
from tests.ledger.till import PREPAID, capture, payment, refund, top_up, void

TEN_DAYS = "cashback: {expiry: {policy: rolling, after: P10D}}\n" + POINT_PER_EURO
LONG_HOLD = "prepaid: {hold_expires: P5D}\n" + TEN_DAYS
IDLE_MONTH = "prepaid: {hold_expires: P60D}\ncashback: {expiry: {policy: inactivity, after: P1M}}\n" + POINT_PER_EURO
EARLY = datetime(2026, 3, 12, 23, tzinfo=UTC)
LATE = datetime(2026, 3, 14, 23, tzinfo=UTC)


async def two_lots(shop: Shop) -> Member:
    """A member with 1.00 of cashback that is gone at EARLY and 2.00 that is gone at LATE."""
    member = await shop.member()
    await shop.adjust(member, 100, asset=CASHBACK)
    await shop.move_to(datetime(2026, 3, 4, 9, tzinfo=UTC))
    await shop.adjust(member, 200, asset=CASHBACK)
    assert (await shop.standing(member, CASHBACK)).expiring == ((100, EARLY), (200, LATE))
    return member


def held_lots(entry: Entry) -> list[tuple[str, datetime | None, int]]:
    assert entry.changes.hold is not None
    return [(part.asset, one.key.expires_at, one.amount) for part in entry.changes.hold.parts for one in part.taken]


async def kinds(shop: Shop, member: Member) -> list[str]:
    return [entry.kind.value for entry in await shop.entries(member)]


async def test_a_hold_pins_the_lots_that_expire_first(shop_with: OpenShop) -> None:
    shop = await shop_with(TEN_DAYS)
    member = await two_lots(shop)

    held = await shop.posted(payment(shop, member, 150, pockets=("cashback",)))

    assert held_lots(held) == [(CASHBACK, EARLY, 100), (CASHBACK, LATE, 50)]
    standing = await shop.standing(member, CASHBACK)
    assert (standing.available, standing.held, standing.expiring) == (150, 150, ((150, LATE),))


async def test_an_expiry_that_falls_during_a_hold_waits_for_its_end(shop_with: OpenShop) -> None:
    shop = await shop_with(LONG_HOLD)
    member = await two_lots(shop)
    await shop.move_to(EARLY - timedelta(days=1))
    held = await shop.posted(payment(shop, member, 150, pockets=("cashback",)))

    await shop.move_to(EARLY)
    await shop.ledger.settle([member.id])
    standing = await shop.standing(member, CASHBACK)

    assert (standing.available, standing.held) == (150, 150)
    assert "EXPIRE" not in await kinds(shop, member)
    captured = await shop.posted(capture(shop, held))
    assert captured.moved(CASHBACK) == -150


async def test_what_is_released_expires_at_once_if_its_time_has_passed(shop_with: OpenShop) -> None:
    shop = await shop_with(LONG_HOLD)
    member = await two_lots(shop)
    await shop.move_to(EARLY - timedelta(days=1))
    held = await shop.posted(payment(shop, member, 150, pockets=("cashback",)))
    await shop.move_to(EARLY)

    voided = await shop.posted(void(shop, held))
    standing = await shop.standing(member, CASHBACK)
    await shop.ledger.settle([member.id])

    assert voided.balances.money == {CASHBACK: 200}
    assert (standing.available, standing.held, standing.expiring) == (200, 0, ((200, LATE),))
    expired = (await shop.entries(member))[-1]
    assert (expired.kind, expired.moved(CASHBACK)) == (EntryKind.EXPIRE, -100)
    assert await shop.standing(member, CASHBACK) == standing


async def test_a_part_that_is_captured_is_spent_and_the_rest_expires_if_its_time_has_passed(
    shop_with: OpenShop,
) -> None:
    shop = await shop_with(LONG_HOLD)
    member = await two_lots(shop)
    await shop.move_to(EARLY - timedelta(days=1))
    held = await shop.posted(payment(shop, member, 150, pockets=("cashback",)))
    await shop.move_to(EARLY + timedelta(hours=1))

    captured = await shop.posted(capture(shop, held, 40))
    await shop.ledger.settle([member.id])

    assert captured.balances.money == {CASHBACK: 200}
    expired = (await shop.entries(member))[-1]
    assert (expired.kind, expired.moved(CASHBACK)) == (EntryKind.EXPIRE, -60)
    assert await shop.available(member, CASHBACK) == 200


async def test_a_hold_that_runs_out_with_an_expired_lot_reads_the_same_before_and_after_it_is_settled(
    shop_with: OpenShop,
) -> None:
    shop = await shop_with(LONG_HOLD)
    member = await two_lots(shop)
    await shop.move_to(EARLY - timedelta(days=1))
    await shop.posted(payment(shop, member, 150, pockets=("cashback",)))

    await shop.move_to(EARLY + timedelta(days=4, hours=1))
    before = await shop.standing(member, CASHBACK)
    await shop.ledger.settle([member.id])

    assert (before.available, before.held) == (0, 0)
    assert await shop.standing(member, CASHBACK) == before
    assert (await kinds(shop, member))[-4:] == ["EXPIRE", "VOID", "EXPIRE", "EXPIRE"]


async def test_what_is_let_go_after_the_idle_date_is_gone_though_the_capture_is_a_spending(
    shop_with: OpenShop,
) -> None:
    shop = await shop_with(IDLE_MONTH)
    member = await shop.member()
    await shop.adjust(member, 300, asset=CASHBACK)
    held = await shop.posted(payment(shop, member, 200, pockets=("cashback",)))
    await shop.move_by(days=40)

    captured = await shop.posted(capture(shop, held, 150))
    standing = await shop.standing(member, CASHBACK)
    await shop.ledger.settle([member.id])

    assert captured.balances.money == {}
    assert (standing.available, standing.held) == (0, 0)
    expired = [entry.moved(CASHBACK) for entry in await shop.entries(member) if entry.kind is EntryKind.EXPIRE]
    assert expired == [-100, -50]
    assert await shop.standing(member, CASHBACK) == standing


@pytest.mark.parametrize("ends", ["void", "time"])
async def test_an_activity_after_the_idle_date_does_not_bring_back_what_a_hold_pinned(
    shop_with: OpenShop, ends: str
) -> None:
    shop = await shop_with(IDLE_MONTH)
    member = await shop.member()
    await shop.adjust(member, 300, asset=CASHBACK)
    held = await shop.posted(payment(shop, member, 200, pockets=("cashback",)))
    await shop.move_by(days=40)
    await shop.buy(member, 1000)
    await shop.adjust(member, 7, asset=CASHBACK)

    await shop.move_by(days=21 if ends == "time" else 1)
    if ends == "void":
        await shop.posted(void(shop, held))
    standing = await shop.standing(member, CASHBACK)
    await shop.ledger.settle([member.id])

    assert (standing.available, standing.held) == (7, 0)
    assert await shop.standing(member, CASHBACK) == standing
    assert (await audit(shop.store)).differences == ()


async def test_an_activity_before_the_idle_date_keeps_what_a_hold_pinned(shop_with: OpenShop) -> None:
    shop = await shop_with(IDLE_MONTH)
    member = await shop.member()
    await shop.adjust(member, 300, asset=CASHBACK)
    held = await shop.posted(payment(shop, member, 200, pockets=("cashback",)))
    await shop.move_by(days=20)
    await shop.buy(member, 1000)
    await shop.move_by(days=20)

    await shop.posted(void(shop, held))

    assert await shop.available(member, CASHBACK) == 300


@pytest.mark.parametrize(
    ("stated", "lasts"),
    [
        ("PT30M", timedelta(minutes=30)),
        ("P1DT1H", timedelta(hours=25)),
        ("P1M", timedelta(days=31, hours=-1)),  # over the night on which summer time begins
    ],
)
async def test_a_hold_lasts_as_long_as_the_programme_says(shop_with: OpenShop, stated: str, lasts: timedelta) -> None:
    shop = await shop_with(f"prepaid: {{hold_expires: {stated}}}\n")
    member = await shop.member()
    await shop.posted(top_up(shop, member, 5000))
    held = await shop.posted(payment(shop, member, 1000))

    assert held.changes.hold is not None
    assert held.changes.hold.expires_at - held.posted_at == lasts
    await shop.move_to(held.changes.hold.expires_at - timedelta(seconds=5))
    captured = await shop.posted(capture(shop, held, 1))
    assert captured.balances.money == {PREPAID: 4999}


async def test_a_capture_after_the_holds_time_is_too_late_and_the_money_is_back(shop: Shop, member: Member) -> None:
    await shop.posted(top_up(shop, member, 5000))
    held = await shop.posted(payment(shop, member, 1000))
    assert held.changes.hold is not None
    await shop.move_to(held.changes.hold.expires_at)

    available = await shop.available(member, PREPAID)
    outcome = await shop.ledger.commit(capture(shop, held))
    refused = await shop.ledger.commit(refund(shop, held))

    assert available == 5000
    assert isinstance(outcome.decided, WrongState)
    assert isinstance(refused.decided, WrongState)
    assert (outcome.decided.state, refused.decided.state) == ("EXPIRED", "EXPIRED")
    last = (await shop.entries(member))[-1]
    assert (last.kind, last.actor, last.reverses) == (EntryKind.VOID, "system", held.id)
    assert last.occurred_at == held.changes.hold.expires_at


async def test_a_capture_never_fails_for_lack_of_money(shop: Shop, member: Member) -> None:
    await shop.posted(top_up(shop, member, 5000))
    held = await shop.posted(payment(shop, member, 3000))
    await shop.posted(payment(shop, member, 2000, at_once=True))

    assert isinstance(await shop.refused(payment(shop, member, 1)), InsufficientBalance)
    captured = await shop.posted(capture(shop, held))

    assert captured.moved(PREPAID) == -3000
    assert (await shop.standing(member, PREPAID)).held == 0


async def test_cashback_that_is_owed_does_not_touch_a_hold(shop_with: OpenShop) -> None:
    shop = await shop_with('earning: [{id: c, event: purchase, award: {cashback: {percent: "10"}}}]\n')
    member = await shop.member()
    bought = await shop.buy(member, 10_000)
    held = await shop.posted(payment(shop, member, 800, pockets=("cashback",)))

    await shop.give_back(member, bought)
    owed = await shop.standing(member, CASHBACK)
    voided = await shop.posted(void(shop, held))

    assert (owed.available, owed.held, owed.owed) == (0, 800, 800)
    assert voided.balances.money == {}
    assert (await shop.standing(member, CASHBACK)).owed == 0


@pytest.mark.parametrize("first", ["capture", "void"])
async def test_capture_void_and_expiry_at_one_instant_have_one_winner(shop: Shop, member: Member, first: str) -> None:
    await shop.posted(top_up(shop, member, 100_000))
    other = shop.another_ledger()
    winners: Counter[str] = Counter()
    for lead_ms in (1_000, *range(12)) * 2:
        held = await shop.posted(payment(shop, member, 1000))
        assert held.changes.hold is not None
        await shop.move_to(held.changes.hold.expires_at - timedelta(milliseconds=lead_ms))
        commands = [capture(shop, held, 600), void(shop, held)]
        outcomes, *_ = await asyncio.gather(
            shop.spread_over([shop.ledger, other], commands if first == "capture" else commands[::-1]),
            shop.ledger.settle([member.id]),
            other.settle([member.id]),
        )
        await shop.move_by(seconds=2)
        await shop.ledger.settle([member.id])

        (end,) = [entry for entry in await shop.entries(member) if entry.reverses == held.id]
        won = [outcome.decided for outcome in outcomes if isinstance(outcome.decided, Entry)]
        lost = [outcome.decided for outcome in outcomes if not isinstance(outcome.decided, Entry)]
        by_clock = end.actor == "system"
        assert won == ([] if by_clock else [end])
        assert all(isinstance(problem, WrongState) for problem in lost)
        winners["EXPIRY" if by_clock else end.kind.value] += 1
    assert winners["EXPIRY"] >= 2
    assert winners["CAPTURE"] + winners["VOID"] >= 2
    assert await shop.available(member, PREPAID) == 100_000 - 600 * winners["CAPTURE"]


async def test_thirty_charges_over_two_ledgers_spend_what_there_is_and_no_more(shop: Shop, member: Member) -> None:
    await shop.posted(top_up(shop, member, 5000))
    ledgers = [shop.ledger, shop.another_ledger()]

    outcomes = await shop.spread_over(ledgers, [payment(shop, member, 500, at_once=True) for _ in range(30)])

    assert sum(isinstance(outcome.decided, Entry) for outcome in outcomes) == 10
    assert sum(isinstance(outcome.decided, InsufficientBalance) for outcome in outcomes) == 20
    assert await shop.available(member, PREPAID) == 0


async def test_a_refund_goes_back_to_its_lots_the_last_first(shop_with: OpenShop) -> None:
    shop = await shop_with("points: {refund_grace: P14D}\n" + TEN_DAYS)
    member = await two_lots(shop)
    charged = await shop.posted(payment(shop, member, 250, pockets=("cashback",), at_once=True))

    first = await shop.posted(refund(shop, charged, 200))
    await shop.move_to(EARLY)
    second = await shop.posted(refund(shop, charged))

    assert [(one.to_lot, one.amount) for one in first.postings] == [
        (LotKey(LATE, None, "ADJUST"), 150),
        (LotKey(EARLY, None, "ADJUST"), 50),
    ]
    grace = datetime(2026, 3, 27, 23, tzinfo=UTC)
    assert [(one.to_lot, one.amount) for one in second.postings] == [(LotKey(grace, None, "ADJUST"), 50)]


async def test_refunds_at_once_never_give_back_more_than_was_taken(shop: Shop, member: Member) -> None:
    await shop.posted(top_up(shop, member, 5000))
    await shop.adjust(member, 1000, asset=CASHBACK)
    charged = await shop.posted(payment(shop, member, 5500, pockets=("cashback", "prepaid"), at_once=True))
    ledgers = [shop.ledger, shop.another_ledger()]

    outcomes = await shop.spread_over(ledgers, [refund(shop, charged, 700) for _ in range(12)])

    entries = [outcome.decided for outcome in outcomes if isinstance(outcome.decided, Entry)]
    problems = {type(outcome.decided) for outcome in outcomes} - {Entry}
    assert len(entries) == 7
    assert problems == {LimitReached}
    assert sum(entry.moved(PREPAID) for entry in entries) == 4500
    assert sum(entry.moved(CASHBACK) for entry in entries) == 400


@pytest.mark.parametrize("kind", ["capture", "void", "refund"])
async def test_another_partners_payment_is_not_there(shop: Shop, member: Member, kind: str) -> None:
    await shop.posted(top_up(shop, member, 5000))
    begun = await shop.posted(payment(shop, member, 500, at_once=kind == "refund"))
    shop.client = "cafe"

    commands = {"capture": capture(shop, begun), "void": void(shop, begun), "refund": refund(shop, begun)}
    problem = await shop.refused(commands[kind])

    assert isinstance(problem, NotFound)


async def test_a_bonus_pays_nothing_before_it_is_claimed(shop: Shop, member: Member) -> None:
    problem = await shop.refused(payment(shop, member, 100, pockets=("bonus",)))

    assert isinstance(problem, InvalidInput)
    assert [one.path for one in problem.fields] == ["tender"]


async def test_a_payment_only_mentions_its_receipt_and_the_books_are_right(shop: Shop, member: Member) -> None:
    await shop.buy(member, 1000, receipt="R-1")
    await shop.posted(top_up(shop, member, 5000, receipt="R-1"))
    held = await shop.posted(payment(shop, member, 1000, receipt="R-1"))
    charged = await shop.posted(payment(shop, member, 500, receipt="R-1", at_once=True))

    again = await shop.refused(top_up(shop, member, 5000, receipt="R-1"))
    open_report = await audit(shop.store)
    await shop.posted(capture(shop, held, 300))
    await shop.posted(refund(shop, charged, 200))
    report = await audit(shop.store)

    assert isinstance(again, DuplicateReceipt)
    assert (held.receipt, charged.receipt) == ("R-1", "R-1")
    assert [*open_report.differences, *report.differences] == []
    assert report.totals["member/available", PREPAID] == 5000 - 300 - 500 + 200
