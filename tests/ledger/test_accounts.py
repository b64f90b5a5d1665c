"""The programme's accounts: every entry counted once, whoever counts, dies, or is taken over."""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping

import pytest

from domain.ledger.accounts import Account, SlotLost, account_sums, following, scan
from domain.ledger.posting import POINTS, is_members
from domain.store.connection import Store
from domain.store.slots import SLOTS, Leases, slot_of
from tests.ledger.conftest import OpenShop
from tests.ledger.shop import CASHBACK, Shop

GIVING = """
earning:
  - {id: base, event: purchase, award: {points: {per: "1.00", give: 1}}}
  - {id: back, event: purchase, award: {cashback: {percent: "5"}}}
"""


@pytest.fixture
async def shop(shop_with: OpenShop) -> Shop:
    return await shop_with(GIVING)


async def count_all(store: Store, held: Mapping[int, int], *, until: int) -> None:
    """Follows the slots until that many entries are counted in all."""
    deadline = time.monotonic() + 60
    async with following(store, held) as journal:
        while await counted(store) < until:
            assert time.monotonic() < deadline, "it never came"
            await journal.count(await journal.arrived())


async def counted(store: Store) -> int:
    return sum([slot.get("entries", 0) async for slot in store.accounts.find()])


async def recounted(store: Store) -> dict[Account, int]:
    """The same from the journal, one posting after the other."""
    sums: Counter[Account] = Counter()
    async for entry in store.journal.find({"seq": {"$exists": True}}):
        for posting in entry["postings"]:
            for account, amount in (
                (posting["source"], -posting["amount"]),
                (posting["destination"], posting["amount"]),
            ):
                if not is_members(account):
                    sums[account, posting["asset"]] += amount
    return dict(sums)


def all_slots(fence: int = 1) -> dict[int, int]:
    return dict.fromkeys(range(SLOTS), fence)


async def test_the_programmes_side_of_every_posting_is_summed(shop: Shop) -> None:
    member = await shop.member()
    async with following(shop.store, all_slots()) as journal:
        purchase = await shop.buy(member, 40_00)
        await shop.buy(member, 10_00, paid_minor=1_50)
        await shop.give_back(member, purchase, 20_00)
        while await counted(shop.store) < 4:
            await journal.count(await journal.arrived())

    assert await account_sums(shop.store) == {
        ("programme/points", POINTS): -50 + 20,
        ("programme/cashback", CASHBACK): -2_42 + 1_00,
        ("merchant/till", CASHBACK): 1_50,
    }
    assert await account_sums(shop.store) == await recounted(shop.store)


async def test_entries_from_before_anybody_followed_are_counted_once(shop: Shop) -> None:
    member = await shop.member()
    await shop.buy(member, 40_00)

    await count_all(shop.store, all_slots(1), until=2)
    await shop.buy(member, 10_00)
    await count_all(shop.store, all_slots(2), until=3)
    await count_all(shop.store, all_slots(3), until=3)

    assert await account_sums(shop.store) == {
        ("programme/points", POINTS): -50,
        ("programme/cashback", CASHBACK): -2_50,
    }
    assert await counted(shop.store) == 3


async def test_what_arrived_while_nobody_followed_is_counted_from_the_stored_position(shop: Shop) -> None:
    member = await shop.member()
    await count_all(shop.store, all_slots(1), until=1)
    await shop.buy(member, 40_00)
    await shop.store.accounts.insert_one({"_id": 99, "balances": {"marker|points": 7}})

    await count_all(shop.store, all_slots(2), until=2)

    sums = await account_sums(shop.store)
    assert sums == {
        ("programme/points", POINTS): -40,
        ("programme/cashback", CASHBACK): -2_00,
        ("marker", POINTS): 7,
    }


async def test_whoever_lost_a_slot_counts_nothing_more_and_its_successor_counts_it_all(shop: Shop) -> None:
    member = await shop.member()
    async with following(shop.store, all_slots(1)) as stale:
        await shop.buy(member, 40_00)
        arrived = await stale.arrived()
        while not arrived.entries:
            arrived = await stale.arrived()
        await count_all(shop.store, all_slots(2), until=2)

        with pytest.raises(SlotLost):
            await stale.count(arrived)

    assert await account_sums(shop.store) == {
        ("programme/points", POINTS): -40,
        ("programme/cashback", CASHBACK): -2_00,
    }
    assert await counted(shop.store) == 2


async def test_counting_the_same_arrival_twice_is_refused(shop: Shop) -> None:
    member = await shop.member()
    async with following(shop.store, all_slots()) as journal:
        await shop.buy(member, 40_00)
        arrived = await journal.arrived()
        while not arrived.entries:
            arrived = await journal.arrived()
        await journal.count(arrived)

        with pytest.raises(SlotLost):
            await journal.count(arrived)

    assert (await account_sums(shop.store))["programme/points", POINTS] == -40


async def test_a_position_that_the_log_no_longer_reaches_is_replaced_by_a_scan(shop: Shop) -> None:
    member = await shop.member()
    async with following(shop.store, all_slots(1)) as journal:
        await shop.buy(member, 10_00)
        while await counted(shop.store) < 2:
            await journal.count(await journal.arrived())
    position = await shop.store.accounts.find_one({"_id": slot_of(member.id)})
    assert position is not None
    long_ago = {"_data": "82" + "00000001" + position["token"]["_data"][10:]}
    await shop.store.accounts.update_many({}, {"$set": {"token": long_ago}})
    await shop.buy(member, 30_00)

    with pytest.raises(SlotLost):
        await count_all(shop.store, all_slots(2), until=3)
    await count_all(shop.store, all_slots(2), until=3)

    assert (await account_sums(shop.store))["programme/points", POINTS] == -40
    assert await counted(shop.store) == 3


async def test_two_holders_who_swap_slots_again_and_again_lose_and_double_nothing(shop: Shop) -> None:
    members = [await shop.member() for _ in range(20)]
    busy = asyncio.Event()

    async def hold(name: str) -> None:
        leases = Leases(shop.store, name, lease_seconds=2)
        while not busy.is_set():
            held = dict(await leases.acquire())
            if not held:
                continue  # the others have them all
            try:
                async with following(shop.store, held) as journal:
                    for _ in range(2):
                        await journal.count(await journal.arrived())
            except SlotLost:
                continue
            finally:
                await leases.release()

    holders = [asyncio.create_task(hold(name)) for name in ("one", "other", "third")]
    for _ in range(10):
        await shop.all(shop.purchase(member, 1_00) for member in members)
        await asyncio.sleep(0.1)
    busy.set()
    await asyncio.gather(*holders)
    await count_all(shop.store, all_slots(1_000), until=220)

    assert await account_sums(shop.store) == await recounted(shop.store)
    assert (await account_sums(shop.store))["programme/points", POINTS] == -200
    assert await counted(shop.store) == 220


async def test_a_scan_sums_each_slot_at_one_instant(shop: Shop) -> None:
    member = await shop.member()
    await shop.buy(member, 40_00)

    summed = await scan(shop.store, [slot_of(member.id)])

    assert summed.entries == {slot_of(member.id): 2}
    assert summed.sums == {
        slot_of(member.id): {("programme/points", POINTS): -40, ("programme/cashback", CASHBACK): -2_00}
    }


async def test_an_account_may_have_any_name(shop: Shop) -> None:
    shop.client = "shop.eu|$5%2E"
    member = await shop.member()
    await shop.buy(member, 40_00)
    async with following(shop.store, all_slots()) as journal:
        await shop.buy(member, 10_00, paid_minor=1_50)
        while await counted(shop.store) < 3:
            await journal.count(await journal.arrived())

    assert (await account_sums(shop.store))["merchant/shop.eu|$5%2E", CASHBACK] == 1_50
