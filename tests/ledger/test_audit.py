"""The audit: silent on what is sound, and naming member, entry and difference for whatever is not."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from domain.ledger.audit import AuditReport, audit
from domain.ledger.posting import POINTS
from domain.members.member import Member
from domain.store.connection import Store
from notifications.advance import advance
from notifications.worker import Worker
from tests.ledger.shop import CASHBACK, START, Shop, open_shop

FADING = """
points: {expiry: {policy: rolling, after: P12M}}
cashback: {pending: P14D, expiry: {policy: rolling, after: P6M}}
earning:
  - {id: base, event: purchase, award: {points: {per: "1.00", give: 1}}}
  - {id: back, event: purchase, award: {cashback: {percent: "5"}}}
"""


@pytest.fixture
async def shop(store: Store) -> AsyncIterator[Shop]:
    """A shop whose journal a test may spoil; nobody looks at it afterwards."""
    shop = await open_shop(store, FADING, start_at=START, zone="Europe/Ljubljana")
    yield shop
    await shop.ledger.close()


@pytest.fixture
async def member(shop: Shop) -> Member:
    """A member with JOIN, PURCHASE, PURCHASE, RETURN, MATURE and ADJUST, in this order."""
    member = await shop.member()
    purchase = await shop.buy(member, 40_00)
    await shop.buy(member, 20_00)
    await shop.give_back(member, purchase, 10_00)
    await advance(shop.store, shop.clock, shop.ledger, shop.clock.now() + timedelta(days=20))
    await shop.adjust(member, -5)
    return member


async def spoil(shop: Shop, entry: str, change: dict[str, Any]) -> None:
    result = await shop.store.journal.update_one({"_id": entry}, {"$set": change})
    assert result.modified_count == 1


def said(report: AuditReport) -> list[tuple[str | None, str | None, str]]:
    return [(each.member, each.entry, each.what) for each in report.differences]


async def test_a_sound_ledger_passes_and_its_totals_add_up(shop: Shop, member: Member) -> None:
    report = await audit(shop.store)

    assert report.ok, report.differences
    assert (report.entries, report.members, report.behind, report.refusals) == (6, 1, 0, 0)
    assert report.totals == {
        ("member/available", POINTS): 60 - 10 - 5,
        ("programme/points", POINTS): -50,
        ("programme/adjustments", POINTS): 5,
        ("member/available", CASHBACK): 2_50,
        ("member/pending", CASHBACK): 0,
        ("programme/cashback", CASHBACK): -2_50,
    }


async def test_refusals_are_counted_and_harm_nothing(shop: Shop, member: Member) -> None:
    await shop.refused(shop.adjustment(member, -1_000))

    report = await audit(shop.store)

    assert report.ok, report.differences
    assert report.refusals == 1


async def test_a_changed_amount_is_found_in_hash_and_balance(shop: Shop, member: Member) -> None:
    await spoil(shop, f"{member.id}.2", {"postings.0.amount": 41})

    report = await audit(shop.store)

    assert not report.ok
    assert (member.id, f"{member.id}.2", "its hash is not that of its content") in said(report)
    assert any(entry == f"{member.id}.2" and "it left Balances(points=41" in what for _, entry, what in said(report))


async def test_a_field_that_nobody_sealed_is_found(shop: Shop, member: Member) -> None:
    await spoil(shop, f"{member.id}.3", {"surprise": 1})

    assert said(await audit(shop.store)) == [(member.id, f"{member.id}.3", "its hash is not that of its content")]


async def test_a_missing_entry_is_found(shop: Shop, member: Member) -> None:
    await shop.store.journal.delete_one({"_id": f"{member.id}.3"})

    assert said(await audit(shop.store)) == [
        (member.id, f"{member.id}.4", "the entry before it is number 2; there is a gap")
    ]


async def test_an_entry_rewritten_with_a_fitting_hash_is_found_by_the_next_one(shop: Shop, member: Member) -> None:
    (entry,) = [each for each in await shop.entries(member) if each.sequence == 2]
    await spoil(shop, f"{member.id}.3", {"prev_hash": entry.previous_hash})

    report = await audit(shop.store)

    assert (member.id, f"{member.id}.3", "it does not stand on the hash of the entry before it") in said(report)


async def test_an_erased_note_is_sound_and_a_changed_one_is_not(shop: Shop, member: Member) -> None:
    await shop.store.journal.update_one({"_id": f"{member.id}.6"}, {"$unset": {"note": ""}})
    erased = await audit(shop.store)
    await spoil(shop, f"{member.id}.6", {"note": {"text": "Something else", "salt": "salt"}})

    changed = await audit(shop.store)

    assert erased.ok
    assert said(changed) == [(member.id, f"{member.id}.6", "its note is not the one that was sealed")]


async def test_a_stored_wallet_that_differs_is_found_with_what_differs(shop: Shop, member: Member) -> None:
    await shop.store.wallets.update_one({"_id": member.id}, {"$inc": {"lots.0.remaining": 1, "visits": 1}})

    assert said(await audit(shop.store)) == [
        (member.id, f"{member.id}.6", "the stored wallet differs from its journal in lots, visits")
    ]


async def test_a_stored_wallet_behind_its_journal_is_told_and_is_no_difference(shop: Shop, member: Member) -> None:
    before = await shop.store.wallets.find_one({"_id": member.id})
    assert before is not None
    await shop.adjust(member, 3)
    await shop.store.wallets.replace_one({"_id": member.id}, before)

    report = await audit(shop.store)

    assert report.ok
    assert report.behind == 1


async def test_a_wallet_behind_its_journal_is_compared_at_its_own_sequence(shop: Shop, member: Member) -> None:
    before = await shop.store.wallets.find_one({"_id": member.id})
    assert before is not None
    await shop.adjust(member, 3)
    await shop.store.wallets.replace_one({"_id": member.id}, {**before, "purchases": 7})

    assert said(await audit(shop.store)) == [
        (member.id, f"{member.id}.6", "the stored wallet differs from its journal in purchases")
    ]


async def test_a_wallet_ahead_of_its_journal_is_found(shop: Shop, member: Member) -> None:
    await shop.store.journal.delete_one({"_id": f"{member.id}.6"})

    assert said(await audit(shop.store)) == [(member.id, None, "the wallet is at 6, its journal ends at 5")]


async def test_a_wallet_without_a_journal_and_a_member_without_a_join_are_found(shop: Shop, member: Member) -> None:
    joined, owner = await shop.member(), await shop.member()
    await shop.store.journal.delete_many({"member": {"$in": [joined.id, owner.id]}})
    await shop.store.wallets.delete_one({"_id": joined.id})
    await shop.store.members.delete_one({"_id": owner.id})

    assert set(said(await audit(shop.store))) == {
        (joined.id, None, "the member joined, but there is no JOIN entry"),
        (owner.id, None, "there is a wallet without a journal"),
    }


async def test_an_entry_whose_receipt_another_owns_is_found(shop: Shop, member: Member) -> None:
    entry = (await shop.entries(member))[1]
    receipt = f"receipt|partner:till|{entry.receipt}"
    await shop.store.claims.update_one({"_id": receipt}, {"$set": {"member": "somebody"}})
    await shop.store.claims.delete_one({"_id": f"key|{entry.key}"})

    assert set(said(await audit(shop.store))) == {
        (member.id, entry.id, f"{receipt} belongs to somebody and key {entry.key}"),
        (member.id, entry.id, f"nobody owns key|{entry.key}"),
    }


async def test_a_malformed_document_is_named_and_stops_nothing(shop: Shop, member: Member) -> None:
    other = await shop.member()
    await spoil(shop, f"{member.id}.2", {"kind": "NONSENSE"})
    await shop.store.journal.insert_one({"_id": "stray", "member": other.id, "key": "stray"})

    report = await audit(shop.store)

    assert (report.entries, report.refusals, report.members) == (7, 1, 2)
    assert {(each.member, each.entry) for each in report.differences} == {
        (member.id, f"{member.id}.2"),
        (other.id, "stray"),
    }


async def test_all_differences_are_counted_and_the_first_hundred_listed(shop: Shop, member: Member) -> None:
    await shop.store.journal.insert_many(
        [{"_id": f"stray-{number}", "member": "x", "key": number} for number in range(150)]
    )

    report = await audit(shop.store)

    assert report.difference_count == 150
    assert len(report.differences) == 100


async def test_the_programmes_accounts_are_compared_when_all_is_counted_and_told_to_lag_before(
    shop: Shop, member: Member
) -> None:
    lagging = await audit(shop.store)
    worker = Worker(shop.store, shop.clock, shop.ledger)
    running = asyncio.create_task(worker.run())
    try:
        async with asyncio.timeout(60):
            counted = lagging
            while counted.uncounted:
                counted = await audit(shop.store)
    finally:
        worker.stop()
        await running
    points = "balances.programme/points|points"
    await shop.store.accounts.update_one({points: {"$exists": True}}, {"$inc": {points: 1}})

    spoiled = await audit(shop.store)

    assert (lagging.ok, lagging.uncounted) == (True, 6)
    assert counted.ok
    assert [each.what.partition(": ")[2] for each in spoiled.differences] == [
        "programme/points has -49 of points, its journal -50"
    ]


async def test_the_audit_is_right_while_the_ledger_is_in_use(shop: Shop) -> None:
    members = [await shop.member() for _ in range(20)]
    worker = Worker(shop.store, shop.clock, shop.ledger)
    running = asyncio.create_task(worker.run())

    async def trade() -> None:
        for _ in range(10):
            await shop.all(shop.purchase(member, 10_00) for member in members)
            await shop.member()

    trading = asyncio.create_task(trade())
    reports = []
    while not trading.done():
        reports.append(await audit(shop.store))
    await trading
    worker.stop()
    await running

    assert [difference for report in reports for difference in report.differences] == []
    assert (await audit(shop.store)).entries == 230


async def test_progress_is_told_and_ends_at_the_whole(shop: Shop, member: Member) -> None:
    told: list[tuple[int, int]] = []

    await audit(shop.store, progress=lambda done, of: told.append((done, of)))

    assert told[-1] == (6, 6)
