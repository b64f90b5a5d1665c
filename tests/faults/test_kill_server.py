"""A server killed with SIGKILL at the worst places: nothing lost, nothing double, and the audit passes."""

import signal
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from domain.ledger import commit
from domain.ledger.audit import audit
from domain.ledger.entry import Entry
from domain.ledger.outcome import Unavailable
from domain.members.member import Member
from domain.problems import DuplicateReceipt, InsufficientBalance
from domain.settings import Settings
from tests.faults.process import commit_all
from tests.forked import fork
from tests.ledger.conftest import OpenShop
from tests.ledger.shop import POINT_PER_EURO, Shop

JOURNAL_ABOUT_TO_BE_WRITTEN: Final = {"command": "insert", "collection": "journal", "when": "before"}
JOURNAL_WRITTEN: Final = {"command": "insert", "collection": "journal", "when": "after"}
WALLET_ABOUT_TO_BE_WRITTEN: Final = {"command": "update", "collection": "wallets", "when": "before"}
WALLET_WRITTEN: Final = {"command": "update", "collection": "wallets", "when": "after"}

PURCHASE: Final = {"total_minor": 30_00, "key": "the-key", "receipt": "R-1"}


@pytest.fixture
async def shop(shop_with: OpenShop) -> Shop:
    return await shop_with(POINT_PER_EURO)


async def killed_server(settings: Settings, member: Member, *commands: dict[str, Any], killed: dict[str, str]) -> None:
    """Another process commits the commands and dies at the place."""
    process = fork(commit_all, settings=settings, killed=killed, member=member.id, commands=commands)
    assert await process.ended() == -signal.SIGKILL


async def stored_sequence(shop: Shop, member: Member) -> int:
    wallet = await shop.store.wallets.find_one({"_id": member.id}, {"seq": 1})
    return 0 if wallet is None else wallet["seq"]


def same_purchase(shop: Shop, member: Member) -> Any:
    return shop.purchase(member, 30_00, key="the-key", receipt="R-1")


@pytest.mark.parametrize(
    ("killed", "stored"), [(JOURNAL_WRITTEN, 2), (WALLET_ABOUT_TO_BE_WRITTEN, 2), (WALLET_WRITTEN, 3)]
)
async def test_killed_after_the_journal_was_written_nothing_is_lost(
    shop: Shop, settings: Settings, killed: dict[str, str], stored: int
) -> None:
    member = await shop.member()
    await shop.buy(member, 10_00)

    await killed_server(settings, member, PURCHASE, killed=killed)

    assert await stored_sequence(shop, member) == stored
    assert await shop.available(member) == 40
    report = await audit(shop.store)
    assert report.ok, report.differences
    assert report.behind == (stored == 2)
    again = await shop.ledger.commit(same_purchase(shop, member))
    assert again.replayed
    assert isinstance(again.decided, Entry)
    assert again.decided.sequence == 3


async def test_the_next_command_stands_on_what_the_killed_server_wrote(shop: Shop, settings: Settings) -> None:
    member = await shop.member()
    await shop.buy(member, 10_00)

    await killed_server(settings, member, PURCHASE, killed=WALLET_ABOUT_TO_BE_WRITTEN)
    entry = await shop.buy(member, 5_00)

    assert entry.sequence == 4
    assert await stored_sequence(shop, member) == 4
    assert await shop.available(member) == 45


async def test_a_wallet_left_behind_is_brought_up_by_settling(shop: Shop, settings: Settings) -> None:
    member = await shop.member()
    await killed_server(settings, member, PURCHASE, killed=WALLET_ABOUT_TO_BE_WRITTEN)
    before = await stored_sequence(shop, member)

    await shop.ledger.settle([member.id])

    assert (before, await stored_sequence(shop, member)) == (1, 2)


async def test_a_first_wallet_that_was_never_written_is_made_by_the_next_command(
    shop: Shop, settings: Settings
) -> None:
    member = await shop.member()
    await shop.store.wallets.delete_one({"_id": member.id})

    await shop.buy(member, 10_00)

    assert await stored_sequence(shop, member) == 2
    assert (await audit(shop.store)).behind == 0


async def test_a_claim_left_behind_blocks_others_until_it_is_abandoned(
    shop: Shop, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    member, other = await shop.member(), await shop.member()
    await killed_server(settings, member, PURCHASE, killed=JOURNAL_ABOUT_TO_BE_WRITTEN)
    assert await shop.store.claims.count_documents({"_id": "receipt|partner:till|R-1"}) == 1
    assert await shop.available(member) == 0
    monkeypatch.setattr(commit, "DEADLINE_SECONDS", 0.5)

    with pytest.raises(Unavailable):
        await shop.ledger.commit(shop.purchase(other, 30_00, key="other-key", receipt="R-1"))
    assert len(await shop.entries(other)) == 1

    await shop.store.claims.update_many(
        {"member": member.id}, {"$set": {"at": datetime.now(UTC) - timedelta(minutes=2)}}
    )
    taken = await shop.posted(shop.purchase(other, 30_00, key="other-key", receipt="R-1"))
    late = await shop.refused(same_purchase(shop, member))

    assert isinstance(late, DuplicateReceipt)
    assert late.first_entry == taken.id
    report = await audit(shop.store)
    assert report.ok, report.differences


async def test_the_owner_of_a_claim_left_behind_goes_on_at_once_with_the_same_key(
    shop: Shop, settings: Settings
) -> None:
    member = await shop.member()
    await killed_server(settings, member, PURCHASE, killed=JOURNAL_ABOUT_TO_BE_WRITTEN)

    entry = await shop.posted(same_purchase(shop, member))

    assert entry.sequence == 2
    assert (await audit(shop.store)).ok


async def test_killed_in_the_middle_of_a_chain_its_first_part_stands_and_the_rest_is_decided_anew(
    shop: Shop, settings: Settings
) -> None:
    member = await shop.member()
    refused = await shop.refused(shop.adjustment(member, -1_000, key="second"))
    chain: list[dict[str, Any]] = [
        {"adjust": 2_000, "key": "first"},
        {"adjust": -1_000, "key": "second"},
        {"adjust": 1, "key": "third"},
    ]

    await killed_server(settings, member, *chain, killed=JOURNAL_WRITTEN)

    assert [entry.key for entry in await shop.entries(member)] == ["system|join", "staff:anna|first"]
    assert await stored_sequence(shop, member) == 1
    assert (await audit(shop.store)).ok
    outcomes = await shop.all(shop.adjustment(member, each["adjust"], key=each["key"]) for each in chain)
    assert isinstance(refused, InsufficientBalance)
    assert [outcome.replayed for outcome in outcomes] == [True, True, False]
    assert outcomes[1].decided == refused
    assert await shop.available(member) == 2_001
    assert await stored_sequence(shop, member) == 3
