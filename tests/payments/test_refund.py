"""refundTopUp: unspent paid money back to the card it came from, however often the provider must be asked."""

import asyncio

import pytest

from domain.ledger.audit import audit
from domain.ledger.entry import EntryKind
from domain.payments import due
from tests.api.shop import Shop, codes, new_key
from tests.payments.member import (
    REFUND,
    available,
    entries,
    give_back,
    pay,
    provider_of,
    refund,
    top_up,
    top_up_at_till,
    work,
)


async def test_it_takes_its_own_scope(shop: Shop) -> None:
    member = await shop.enrol()
    entry = await top_up(shop, member)
    wanted = {"input": {"topUp": entry.id, "idempotencyKey": new_key()}}
    tokens = [await shop.member_token(member), await shop.till_token("prepaid:topup"), await shop.staff_token()]

    answers = [await shop.ask(REFUND, wanted, token=token) for token in tokens]

    assert [set(codes(each)) for each in answers] == [{"FORBIDDEN"}] * 3
    assert await available(shop, member) == "20.00"


async def test_a_part_goes_back_and_then_the_rest(shop: Shop) -> None:
    member = await shop.enrol()
    entry = await top_up(shop, member)

    part = await refund(shop, entry.id, "5.00")
    rest = await refund(shop, entry.id)
    nothing = await refund(shop, entry.id)
    await work(shop, member)

    assert (part["refunded"]["amount"], rest["refunded"]["amount"]) == ("5.00", "15.00")
    assert part["entry"]["reverses"] == entry.id
    assert (nothing["__typename"], nothing["state"]) == ("WrongState", "REFUNDED")
    assert await available(shop, member) == "0.00"
    refunds = [each async for each in provider_of(shop).refunds(since=entry.posted_at, until=shop.clock.now())]
    assert sorted(each.amount_minor for each in refunds) == [5_00, 15_00]
    states = [each["state"] async for each in shop.services.store.top_up_refunds.find()]
    assert states == ["CONFIRMED", "CONFIRMED"]
    assert (await audit(shop.services.store)).ok


async def test_what_was_spent_does_not_go_back(shop: Shop) -> None:
    member = await shop.enrol()
    entry = await top_up(shop, member)
    await pay(shop, member, 12_00)

    answered = await refund(shop, entry.id)

    assert answered["__typename"] == "InsufficientBalance"
    assert (answered["available"], answered["required"]) == ("8.00", "20.00")
    assert await available(shop, member) == "8.00"


async def test_money_that_staff_gave_does_not_go_to_a_card(shop: Shop) -> None:
    member = await shop.enrol()
    entry = await top_up(shop, member)
    await pay(shop, member, 20_00)
    gift = {"amount": "50.00", "currency": "USD"}
    await shop.adjust(
        {"member": member, "money": gift, "pocket": "PREPAID", "reason": "Sorry", "idempotencyKey": new_key()}
    )

    answered = await refund(shop, entry.id, "1.00")

    assert (answered["__typename"], answered["available"]) == ("InsufficientBalance", "0.00")


async def test_cash_paid_at_a_till_does_not_go_to_a_card(shop: Shop) -> None:
    member = await shop.enrol()
    entry = await top_up(shop, member)
    await pay(shop, member, 15_00)
    await top_up_at_till(shop, member, 50_00)

    more = await refund(shop, entry.id, "5.01")
    rest = await refund(shop, entry.id, "5.00")

    assert (more["__typename"], more["available"]) == ("InsufficientBalance", "5.00")
    assert rest["refunded"]["amount"] == "5.00"
    assert await available(shop, member) == "50.00"
    assert (await audit(shop.services.store)).ok


async def test_money_of_another_card_does_not_go_back_to_the_one_whose_money_was_spent(shop: Shop) -> None:
    member = await shop.enrol()
    older = await top_up(shop, member, "20.00", card="GOOD")
    newer = await top_up(shop, member, "30.00", card="FAILS_LATER")
    await pay(shop, member, 15_00)

    of_older = await refund(shop, older.id)
    rest = await refund(shop, older.id, "5.00")
    of_newer = await refund(shop, newer.id)

    assert (of_older["__typename"], of_older["available"]) == ("InsufficientBalance", "5.00")
    assert (rest["refunded"]["amount"], of_newer["refunded"]["amount"]) == ("5.00", "30.00")
    assert await available(shop, member) == "0.00"
    assert (await audit(shop.services.store)).ok


async def test_what_was_charged_goes_back_to_the_money_of_its_card_and_one_card_is_one_lot(shop: Shop) -> None:
    member = await shop.enrol()
    tops = [await top_up(shop, member, "10.00") for _ in range(3)]
    await top_up(shop, member, "10.00", card="FAILS_LATER")
    charged = await pay(shop, member, 35_00)

    await give_back(shop, charged)

    stored = await shop.services.ledger.journal.wallet(member)
    assert [(lot.remaining, lot.key.origin.partition("/")[0]) for lot in stored.lots if lot.asset == "prepaid/USD"] == [
        (10_00, "TOP_UP"),
        (30_00, "TOP_UP"),
    ]
    assert [(await refund(shop, each.id))["__typename"] for each in tops] == ["TopUpRefunded"] * 3
    assert await available(shop, member) == "10.00"


async def test_more_than_the_top_up_brought_does_not_go_back(shop: Shop) -> None:
    member = await shop.enrol()
    entry = await top_up(shop, member)
    await top_up(shop, member)
    await refund(shop, entry.id, "15.00")

    answered = await refund(shop, entry.id, "5.01")

    assert (answered["__typename"], answered["headroom"]) == ("LimitReached", "5.00")


async def test_the_same_key_refunds_once_and_another_input_is_refused(shop: Shop) -> None:
    member, key = await shop.enrol(), new_key()
    entry = await top_up(shop, member)

    answers = await asyncio.gather(*(refund(shop, entry.id, "5.00", key=key) for _ in range(5)))
    other = await refund(shop, entry.id, "6.00", key=key)
    await work(shop, member)

    assert sorted(each["replayed"] for each in answers) == [False, True, True, True, True]
    assert other["differs"] == ["amount"]
    assert await available(shop, member) == "15.00"
    assert await shop.services.store.sandbox_payments.count_documents({"kind": "refund"}) == 1


@pytest.mark.parametrize("entry", ["nobody.1", "nonsense"])
async def test_an_entry_that_is_no_top_up_is_not_found(shop: Shop, entry: str) -> None:
    answered = await refund(shop, entry)

    assert (answered["__typename"], answered["what"]) == ("NotFound", "topUp")


async def test_a_join_entry_is_no_top_up(shop: Shop) -> None:
    member = await shop.enrol()

    answered = await refund(shop, f"{member}.1")

    assert answered["__typename"] == "NotFound"


async def test_a_refund_whose_document_was_never_written_is_made_from_its_entry(shop: Shop) -> None:
    member = await shop.enrol()
    entry = await top_up(shop, member)
    await refund(shop, entry.id, "5.00")
    await shop.services.store.top_up_refunds.delete_many({})

    await due.look_at(shop.services.ledger, provider_of(shop), [member])
    await work(shop, member)

    (refunded,) = await entries(shop, member, EntryKind.TOP_UP_REFUND)
    kept = await shop.services.store.top_up_refunds.find_one({"_id": refunded.id})
    assert kept is not None
    assert (kept["state"], kept["amount_minor"]) == ("CONFIRMED", 5_00)
