"""A receipt is recorded once, whoever sends it, however often, under whatever key (SEMANTICS §1.5)."""

import asyncio
import multiprocessing
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

import pytest

from domain.ledger.commit import Ledger
from domain.ledger.entry import Entry
from domain.ledger.outcome import Outcome
from domain.members.member import Member, member_by_id
from domain.problems import DuplicateReceipt, IdempotencyMismatch, InsufficientBalance
from domain.programme.published import Programmes
from domain.settings import Settings
from domain.store.clock import SandboxClock
from domain.store.connection import open_store
from tests.ledger.shop import Shop, at_once


def first_entries(outcomes: Sequence[Outcome]) -> set[str]:
    return {one.decided.first_entry for one in outcomes if isinstance(one.decided, DuplicateReceipt)}


def posted(outcomes: Sequence[Outcome]) -> set[str]:
    return {one.decided.id for one in outcomes if isinstance(one.decided, Entry)}


async def test_a_second_key_for_a_receipt_is_told_the_first_entry(shop: Shop, member: Member) -> None:
    first = await shop.buy(member, 1000, receipt="R-1")
    command = shop.purchase(member, 1000, receipt="R-1")

    problem = await shop.refused(command)
    again = await shop.ledger.commit(command)

    assert isinstance(problem, DuplicateReceipt)
    assert problem.first_entry == first.id
    assert (again.replayed, again.decided) == (True, problem)


async def test_a_second_member_for_a_receipt_is_told_the_first_entry(shop: Shop, member: Member) -> None:
    first = await shop.buy(member, 1000, receipt="R-1")

    problem = await shop.refused(shop.purchase(await shop.member(), 1000, receipt="R-1"))

    assert isinstance(problem, DuplicateReceipt)
    assert problem.first_entry == first.id


async def test_another_partner_may_have_a_receipt_of_that_number(shop: Shop, member: Member) -> None:
    await shop.buy(member, 1000, receipt="R-1")
    shop.client = "cafe"

    await shop.buy(member, 1000, receipt="R-1")

    assert await shop.available(member) == 20


async def test_a_receipt_of_many_keys_and_members_in_one_batch_is_recorded_once(shop: Shop, member: Member) -> None:
    members = [member, await shop.member()]

    outcomes = await shop.all(shop.purchase(members[number % 2], 1000, receipt="R-1") for number in range(10))

    assert len(posted(outcomes)) == 1
    assert first_entries(outcomes) == posted(outcomes)
    assert await shop.available(members[0]) + await shop.available(members[1]) == 10


async def test_a_receipt_at_many_ledgers_at_once_is_recorded_once(shop: Shop, member: Member) -> None:
    members, desks = [member, await shop.member()], [shop.ledger, shop.another_ledger(), shop.another_ledger()]

    outcomes = await shop.spread_over(
        desks, [shop.purchase(members[number % 2], 1000, receipt="R-1") for number in range(12)]
    )

    assert len(posted(outcomes)) == 1
    assert first_entries(outcomes) == posted(outcomes)
    assert await shop.available(members[0]) + await shop.available(members[1]) == 10


async def test_a_returned_receipt_is_recorded_all_the_same(shop: Shop, member: Member) -> None:
    bought = await shop.buy(member, 1000, receipt="R-1")
    await shop.give_back(member, bought)

    problem = await shop.refused(shop.purchase(member, 1000, receipt="R-1"))

    assert isinstance(problem, DuplicateReceipt)


async def test_a_refused_purchase_leaves_its_receipt_free(shop: Shop, member: Member) -> None:
    refused = await shop.refused(shop.purchase(member, 1000, receipt="R-1", paid_minor=100))

    entry = await shop.buy(await shop.member(), 1000, receipt="R-1")

    assert isinstance(refused, InsufficientBalance)
    assert entry.receipt == "R-1"


@pytest.mark.parametrize("same_member", [True, False])
async def test_a_request_with_a_used_key_does_not_spoil_its_receipt(
    shop: Shop, member: Member, *, same_member: bool
) -> None:
    other = member if same_member else await shop.member()
    await shop.buy(member, 1000, key="the-key-of-it", receipt="R-1")
    problem = await shop.refused(shop.purchase(other, 1000, key="the-key-of-it", receipt="R-2"))

    entry = await asyncio.wait_for(shop.buy(other, 2000, receipt="R-2"), timeout=30)

    assert isinstance(problem, IdempotencyMismatch)
    assert entry.receipt == "R-2"


async def test_a_request_with_the_key_of_an_enrolment_does_not_spoil_its_receipt(shop: Shop, member: Member) -> None:
    await shop.enrol(key="the-key-of-it")
    await shop.refused(shop.purchase(member, 1000, key="the-key-of-it", receipt="R-2"))

    entry = await asyncio.wait_for(shop.buy(await shop.member(), 2000, receipt="R-2"), timeout=30)

    assert entry.receipt == "R-2"


@pytest.mark.slow
async def test_processes_that_send_the_same_at_once_post_it_once(
    shop: Shop, member: Member, settings: Settings
) -> None:
    other = await shop.member()
    context = multiprocessing.get_context("spawn")
    pairs = [context.Pipe() for _ in range(2)]
    processes = [
        context.Process(target=_till, args=(theirs, settings, member.id, other.id), daemon=True) for _, theirs in pairs
    ]
    for process in processes:
        process.start()
    for ours, _ in pairs:
        assert await asyncio.to_thread(ours.recv) == "ready"
    for ours, _ in pairs:
        ours.send("go")

    answers = [answer for ours, _ in pairs for answer in await asyncio.to_thread(ours.recv)]
    for process in processes:
        await asyncio.to_thread(process.join)

    one_key = [answer for answer in answers if answer["what"] == "one key"]
    assert sorted(answer["replayed"] for answer in one_key) == [False] + [True] * 19
    assert {answer["entry"] for answer in one_key} == {one_key[0]["entry"]}
    one_receipt = [answer for answer in answers if answer["what"] == "one receipt"]
    assert [answer["duplicate_of"] for answer in one_receipt].count(None) == 1
    assert {answer["entry"] or answer["duplicate_of"] for answer in one_receipt} == {
        answer["entry"] for answer in one_receipt if answer["entry"]
    }
    assert sum(answer["what"] == "own key" for answer in answers) == 40
    assert await shop.available(member) + await shop.available(other) == 10 + 10 + 40
    entries = await shop.entries(member)
    assert [entry.sequence for entry in entries] == list(range(1, len(entries) + 1))


def _till(line: "Connection[Any, Any]", settings: Settings, member: str, other: str) -> None:
    asyncio.run(_ring_up(line, settings, member, other))


async def _ring_up(line: "Connection[Any, Any]", settings: Settings, member: str, other: str) -> None:
    """What a process of the test does: the same key, the same receipt and keys of its own, all at once."""
    store = await open_store(settings)
    clock = SandboxClock(store)
    await clock.refresh()
    programmes = await Programmes.open(store)
    ledger = Ledger(store, clock, programmes)
    shop = Shop(store=store, clock=clock, programmes=programmes, ledger=ledger)
    members = [await member_by_id(store, identifier) for identifier in (member, other)]
    first, second = members
    assert first is not None
    assert second is not None
    line.send("ready")
    await asyncio.to_thread(line.recv)
    same_key = [shop.purchase(first, 1000, key="the-key-of-it", receipt="R-0")] * 10
    own_keys = [shop.purchase(first, 100, key=f"{id(line)}-{n}", receipt=f"{id(line)}-{n}") for n in range(20)]
    one_receipt = [shop.purchase(one, 1000, key=f"{id(line)}-{one.id}", receipt="R-1") for one in (first, second)]
    outcomes = await at_once(ledger, [*same_key, *own_keys, *one_receipt])
    await ledger.close()
    await store.close()
    what = ["one key"] * 10 + ["own key"] * 20 + ["one receipt"] * 2
    line.send([_answer(kind, outcome) for kind, outcome in zip(what, outcomes, strict=True)])


def _answer(what: str, outcome: Outcome) -> dict[str, Any]:
    return {
        "what": what,
        "entry": outcome.decided.id if isinstance(outcome.decided, Entry) else None,
        "duplicate_of": getattr(outcome.decided, "first_entry", None),
        "replayed": outcome.replayed,
    }
