"""One key, one attempt: replays, refusals that stay, and who else may use a key (SEMANTICS §1)."""

from datetime import UTC, datetime, timedelta

import pytest

from domain.ledger.entry import Entry, entry_document
from domain.ledger.wallet import Wallet, fold, wallet_document
from domain.members.enrolment import Enrolled
from domain.members.member import Member
from domain.problems import IdempotencyMismatch, InsufficientBalance, NotFound
from tests.ledger.conftest import OpenShop
from tests.ledger.shop import Shop, at_once


async def test_a_key_sent_again_is_answered_again_and_posts_nothing(shop: Shop, member: Member) -> None:
    command = shop.purchase(member, 1000, key="again-and-again")
    first = await shop.posted(command)

    again = await shop.ledger.commit(command)

    assert again.replayed
    assert again.decided == first
    assert await shop.available(member) == 10


async def test_a_key_sent_again_at_another_ledger_is_answered_again(shop: Shop, member: Member) -> None:
    command = shop.purchase(member, 1000)
    first = await shop.posted(command)

    again = await shop.another_ledger().commit(command)

    assert (again.replayed, again.decided) == (True, first)


@pytest.mark.parametrize("callers", [20, 40])
async def test_callers_with_one_key_at_once_get_one_entry_and_replays(shop: Shop, member: Member, callers: int) -> None:
    command = shop.purchase(member, 1000)

    outcomes = await shop.all([command] * callers)

    assert sorted(outcome.replayed for outcome in outcomes) == [False] + [True] * (callers - 1)
    assert len({outcome.decided.id for outcome in outcomes if isinstance(outcome.decided, Entry)}) == 1
    assert await shop.available(member) == 10


@pytest.mark.parametrize("ledgers", [2, 4])
async def test_callers_with_one_key_at_many_ledgers_get_one_entry(shop: Shop, member: Member, ledgers: int) -> None:
    command = shop.purchase(member, 1000)
    desks = [shop.ledger, *(shop.another_ledger() for _ in range(ledgers - 1))]

    outcomes = await shop.at_all(desks, [command] * 10)

    assert sorted(outcome.replayed for outcome in outcomes) == [False] + [True] * (10 * ledgers - 1)
    assert len({outcome.decided.id for outcome in outcomes if isinstance(outcome.decided, Entry)}) == 1
    assert await shop.available(member) == 10


async def test_forty_callers_with_forty_keys_on_one_wallet_lose_no_update(shop: Shop, member: Member) -> None:
    outcomes = await shop.all(shop.purchase(member, 100 * number) for number in range(1, 41))

    assert not any(outcome.replayed for outcome in outcomes)
    assert [entry.sequence for entry in await shop.entries(member)] == list(range(1, 42))
    assert await shop.available(member) == 820


@pytest.mark.parametrize("ledgers", [2, 4])
async def test_forty_keys_at_many_ledgers_on_one_wallet_lose_no_update(
    shop: Shop, member: Member, ledgers: int
) -> None:
    desks = [shop.ledger, *(shop.another_ledger() for _ in range(ledgers - 1))]
    commands = [shop.purchase(member, 100) for _ in range(40)]

    outcomes = await shop.spread_over(desks, commands)

    assert not any(outcome.replayed for outcome in outcomes)
    assert [entry.sequence for entry in await shop.entries(member)] == list(range(1, 42))
    assert await shop.available(member) == 40


async def test_spenders_at_many_ledgers_never_take_more_than_there_is(shop: Shop, member: Member) -> None:
    desks = [shop.ledger, shop.another_ledger()]
    await shop.adjust(member, 25)

    outcomes = await shop.spread_over(desks, [shop.adjustment(member, -10) for _ in range(12)])

    assert sum(isinstance(outcome.decided, Entry) for outcome in outcomes) == 2
    assert sum(isinstance(outcome.decided, InsufficientBalance) for outcome in outcomes) == 10
    assert await shop.available(member) == 5


async def test_a_refusal_stays_what_it_was_when_it_could_be_granted_later(shop: Shop, member: Member) -> None:
    command = shop.adjustment(member, -10)
    problem = await shop.refused(command)
    await shop.adjust(member, 100)

    again = await shop.ledger.commit(command)
    elsewhere = await shop.another_ledger().commit(command)

    assert (again.replayed, again.decided) == (True, problem)
    assert (elsewhere.replayed, elsewhere.decided) == (True, problem)
    assert await shop.available(member) == 100


async def test_a_refusal_takes_no_place_in_the_sequence(shop: Shop, member: Member) -> None:
    await shop.refused(shop.adjustment(member, -10))
    await shop.adjust(member, 10)

    assert [entry.sequence for entry in await shop.entries(member)] == [1, 2]


async def test_one_refused_key_at_once_is_decided_once(shop: Shop, member: Member) -> None:
    command = shop.adjustment(member, -10)

    outcomes = await shop.at_all([shop.ledger, shop.another_ledger()], [command] * 10)

    assert sorted(outcome.replayed for outcome in outcomes) == [False] + [True] * 19
    assert {type(outcome.decided) for outcome in outcomes} == {InsufficientBalance}


async def test_one_key_with_another_input_is_refused_with_the_paths_that_differ(shop: Shop, member: Member) -> None:
    await shop.buy(member, 1000, key="the-key-of-it", receipt="R-1")

    problem = await shop.refused(shop.purchase(member, 1500, key="the-key-of-it", receipt="R-2"))

    assert isinstance(problem, IdempotencyMismatch)
    assert problem.differs == ("receipt", "total.amount")
    assert await shop.available(member) == 10


async def test_one_key_for_another_operation_is_a_mismatch(shop: Shop, member: Member) -> None:
    bought = await shop.buy(member, 1000, key="the-key-of-it")

    problem = await shop.refused(shop.refund(member, bought.id, key="the-key-of-it"))

    assert isinstance(problem, IdempotencyMismatch)
    assert "purchase" in problem.differs


async def test_one_key_with_two_inputs_at_once_posts_one_of_them(shop: Shop, member: Member) -> None:
    commands = [shop.purchase(member, 100 * number, key="the-key-of-it", receipt="R-1") for number in (1, 2, 3)]

    outcomes = await shop.at_all([shop.ledger, shop.another_ledger()], commands)

    posted = {outcome.decided.id for outcome in outcomes if isinstance(outcome.decided, Entry)}
    others = [outcome.decided for outcome in outcomes if not isinstance(outcome.decided, Entry)]
    assert len(posted) == 1
    assert len(others) == 4
    assert {other.differs for other in others if isinstance(other, IdempotencyMismatch)} == {("total.amount",)}


async def test_a_key_used_for_one_member_is_a_mismatch_for_another(shop: Shop, member: Member) -> None:
    other = await shop.member()
    await shop.buy(member, 1000, key="the-key-of-it", receipt="R-1")

    problem = await shop.refused(shop.purchase(other, 1000, key="the-key-of-it", receipt="R-1"))

    assert isinstance(problem, IdempotencyMismatch)
    assert problem.differs == ("member.id",)


async def test_a_key_used_for_two_members_at_once_posts_for_one(shop: Shop, member: Member) -> None:
    other = await shop.member()
    commands = [shop.adjustment(one, 10, key="the-key-of-it") for one in (member, other)]

    outcomes = await shop.at_all([shop.ledger, shop.another_ledger()], commands)

    assert await shop.available(member) + await shop.available(other) == 10
    assert sorted(outcome.replayed for outcome in outcomes if isinstance(outcome.decided, Entry)) == [False, True]
    assert sum(isinstance(outcome.decided, IdempotencyMismatch) for outcome in outcomes) == 2


async def test_a_refused_key_of_one_member_is_a_mismatch_for_another(shop: Shop, member: Member) -> None:
    other = await shop.member()
    await shop.refused(shop.adjustment(member, -10, key="the-key-of-it"))

    problem = await shop.refused(shop.adjustment(other, -10, key="the-key-of-it"))

    assert isinstance(problem, IdempotencyMismatch)
    assert problem.differs == ("member.id",)


async def test_two_callers_may_use_one_key(shop: Shop, member: Member) -> None:
    await shop.buy(member, 1000, key="the-key-of-it", receipt="R-1")
    await shop.posted(shop.adjustment(member, 5, key="the-key-of-it"))
    shop.client = "cafe"

    await shop.buy(member, 1000, key="the-key-of-it", receipt="R-1")

    assert await shop.available(member) == 25


async def test_a_key_that_enrolled_a_member_records_no_purchase(shop: Shop) -> None:
    enrolled = await shop.enrol(key="the-key-of-it")
    assert isinstance(enrolled, Enrolled)

    problem = await shop.refused(shop.purchase(enrolled.member, 1000, key="the-key-of-it"))

    assert isinstance(problem, IdempotencyMismatch)
    assert problem.differs == ("operation",)


async def test_a_key_that_recorded_a_purchase_enrols_nobody(shop: Shop, member: Member) -> None:
    await shop.buy(member, 1000, key="the-key-of-it")

    problem = await shop.enrol(key="the-key-of-it", reference="somebody")

    assert isinstance(problem, IdempotencyMismatch)
    assert problem.differs == ("operation",)


async def test_what_was_not_decided_may_be_sent_corrected_with_the_same_key(shop: Shop, member: Member) -> None:
    bought = await shop.buy(member, 1000)
    problem = await shop.refused(shop.refund(member, f"{member.id}.99", key="the-key-of-it"))

    back = await shop.posted(shop.refund(member, bought.id, key="the-key-of-it"))

    assert isinstance(problem, NotFound)
    assert back.points == -10


async def test_what_was_not_decided_for_one_member_may_be_sent_for_another_with_the_same_key(
    shop: Shop, member: Member
) -> None:
    other = await shop.member()
    bought = await shop.buy(other, 1000)
    await shop.refused(shop.refund(member, f"{member.id}.99", key="the-key-of-it"))

    back = await shop.posted(shop.refund(other, bought.id, key="the-key-of-it"))

    assert back.points == -10


async def test_a_key_of_what_was_not_decided_enrols_a_member(shop: Shop, member: Member) -> None:
    await shop.refused(shop.refund(member, f"{member.id}.99", key="the-key-of-it"))

    enrolled = await shop.enrol(key="the-key-of-it")
    again = await shop.refused(shop.purchase(member, 1000, key="the-key-of-it"))

    assert isinstance(enrolled, Enrolled)
    assert isinstance(again, IdempotencyMismatch)


async def test_a_command_that_is_sent_again_holds_its_claims_for_as_long_as_it_may_take(
    shop: Shop, member: Member
) -> None:
    command, most_of_a_minute_ago = shop.purchase(member, 1000), datetime.now(UTC) - timedelta(seconds=50)
    await shop.store.claims.insert_many(
        [
            {"_id": each, "member": member.id, "key": command.stored_key, "at": most_of_a_minute_ago}
            for each in command.claims
        ]
    )

    await shop.posted(command)

    held_since = [claim["at"] async for claim in shop.store.claims.find({"_id": {"$in": list(command.claims)}})]
    assert len(held_since) == 2
    assert min(held_since) > most_of_a_minute_ago


async def test_a_claim_that_its_caller_abandoned_is_taken_over(shop: Shop, member: Member) -> None:
    other, command = await shop.member(), shop.purchase(member, 1000, receipt="R-1")
    claims = [{"_id": claim, "member": other.id, "key": command.stored_key} for claim in command.claims]
    await shop.store.claims.insert_many([{**claim, "at": shop.long_ago()} for claim in claims])

    entry = await shop.posted(command)

    assert entry.points == 10
    assert {claim["member"] async for claim in shop.store.claims.find({"_id": {"$in": list(command.claims)}})} == {
        member.id
    }


async def test_an_abandoned_claim_whose_entry_did_come_is_no_ones_to_take(shop: Shop, member: Member) -> None:
    other = await shop.member()
    first = await shop.buy(member, 1000, key="the-key-of-it", receipt="R-1")
    await shop.store.claims.update_many({}, {"$set": {"at": shop.long_ago()}})

    reused = await shop.refused(shop.purchase(other, 1000, key="the-key-of-it", receipt="R-2"))
    again = await shop.ledger.commit(shop.purchase(other, 1000, receipt="R-1"))

    assert isinstance(reused, IdempotencyMismatch)
    assert getattr(again.decided, "first_entry", None) == first.id


async def test_a_wallet_behind_its_journal_refuses_nothing_that_the_journal_allows(shop: Shop, member: Member) -> None:
    await shop.buy(member, 1000)
    older = await shop.store.wallets.find_one({"_id": member.id})
    assert older is not None
    await shop.adjust(member, 500)
    await shop.store.wallets.replace_one({"_id": member.id}, older)

    entry = await shop.posted(shop.adjustment(member, -400))

    assert entry.balances.points == 110
    assert await shop.store.wallets.find_one({"_id": member.id}) == wallet_document(await shop.wallet(member))


async def test_a_wallet_behind_its_journal_grants_nothing_that_the_journal_refuses(shop: Shop, member: Member) -> None:
    await shop.adjust(member, 500)
    older = await shop.store.wallets.find_one({"_id": member.id})
    assert older is not None
    await shop.adjust(member, -500)
    await shop.store.wallets.replace_one({"_id": member.id}, older)

    outcome = await shop.ledger.commit(shop.adjustment(member, -400))

    assert isinstance(outcome.decided, InsufficientBalance)
    assert outcome.decided.available == "0"


async def test_a_wallet_that_is_lost_is_rebuilt_from_its_journal(shop: Shop, member: Member) -> None:
    await shop.buy(member, 1000)
    await shop.store.wallets.delete_one({"_id": member.id})

    assert await shop.available(member) == 10
    await shop.buy(member, 500)

    wallet = fold(Wallet(member=member.id), await shop.entries(member))
    assert await shop.store.wallets.find_one({"_id": member.id}) == wallet_document(wallet)


async def test_settling_a_wallet_behind_its_journal_brings_it_up_and_posts_what_is_due(shop_with: OpenShop) -> None:
    shop = await shop_with(
        "points: {expiry: {policy: rolling, after: P1M}}\nearning:\n  - {id: b, event: purchase, award: {points: 7}}\n"
    )
    member = await shop.member()
    older = await shop.store.wallets.find_one({"_id": member.id})
    assert older is not None
    await shop.buy(member, 1000)
    await shop.store.wallets.replace_one({"_id": member.id}, older)
    await shop.move_by(days=60)

    await shop.ledger.settle([member.id])

    assert [entry.points for entry in await shop.entries(member)] == [0, 7, -7]
    assert await shop.store.wallets.find_one({"_id": member.id}) == wallet_document(await shop.wallet(member))


async def test_the_journal_holds_the_entry_that_the_caller_was_given(shop: Shop, member: Member) -> None:
    entry = await shop.buy(member, 1234)

    assert await shop.store.journal.find_one({"_id": entry.id}) == entry_document(entry)
    assert shop.clock.now() - entry.posted_at < timedelta(minutes=1)
    assert (await at_once(shop.ledger, [shop.purchase(member, 1)]))[0].wallet == await shop.wallet(member)
