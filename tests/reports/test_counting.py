"""What reports add up: every entry counted once, whoever counts, dies, is taken over, or counts again."""

import asyncio
from collections.abc import Mapping
from datetime import date, timedelta
from random import Random

import pytest

from domain.ledger import accounts
from domain.ledger.accounts import Change, SlotLost, following
from domain.ledger.audit import audit
from domain.reports.counting import Counting
from domain.store.slots import SLOTS, Leases, slot_of
from notifications.worker import Worker
from tests.ledger.conftest import OpenShop
from tests.ledger.shop import Shop
from tests.reports.fortnight import PERIOD, PERIODS, PROGRAMME, a_fortnight, asked, buyers, by_hand, numbers


@pytest.fixture
async def shop(shop_with: OpenShop) -> Shop:
    return await shop_with(PROGRAMME)


def all_slots(fence: int = 1) -> dict[int, int]:
    return dict.fromkeys(range(SLOTS), fence)


async def count_all(shop: Shop, held: Mapping[int, int]) -> None:
    """Follows the slots until every entry of the journal is counted."""
    entries = await shop.store.journal.count_documents({"seq": {"$exists": True}})
    async with following(shop.store, held, beside=Counting(shop.store, shop.programmes)) as journal:
        for _ in range(200):
            if await counted(shop) >= entries:
                return
            await journal.count(await journal.arrived())
    raise AssertionError("it never came")


async def counted(shop: Shop) -> int:
    return sum([slot.get("entries", 0) async for slot in shop.store.accounts.find()])


async def test_a_report_equals_a_recomputation_whoever_has_counted(shop: Shop) -> None:
    await a_fortnight(shop)
    uncounted = await asked(shop)

    await count_all(shop, all_slots())
    counted_whole = await asked(shop)
    await a_fortnight(shop, seed=2)
    tail = await asked(shop, PERIOD[0], date(2026, 5, 1))

    expected = await by_hand(shop, *PERIOD)
    assert expected["active"] > 5
    assert numbers(uncounted) == numbers(counted_whole)
    assert numbers(counted_whole)["purchases"] > 10
    assert numbers(await asked(shop)) == expected
    assert numbers(tail) == await by_hand(shop, PERIOD[0], date(2026, 5, 1))
    for period in PERIODS:
        assert numbers(await asked(shop, *period)) == await by_hand(shop, *period), period
    assert numbers(tail)["expired"] > 0
    assert numbers(tail)["tiers"]["fine"] > 0


async def test_both_sides_of_a_pilot_make_up_the_whole(shop: Shop) -> None:
    await a_fortnight(shop)
    await count_all(shop, all_slots())

    found = await asked(shop)
    (pilot,) = found.pilots

    assert pilot.rule == "trial"
    assert min(pilot.inside.purchases, pilot.outside.purchases) > 0
    assert pilot.inside.purchases + pilot.outside.purchases == found.buying.purchases
    assert pilot.inside.active + pilot.outside.active == found.buying.active
    assert pilot.inside.repeating + pilot.outside.repeating == found.buying.repeating


PLACES = """
late_days: 400
places:
  - {id: here, name: Here, location: {latitude: 46.0, longitude: 14.5}, radius_m: 150}
  - {id: there, name: There, location: {latitude: 46.1, longitude: 14.6}, radius_m: 150}
"""


async def test_members_are_told_apart_over_any_period_in_whatever_order_a_year_of_receipts_came(
    shop_with: OpenShop,
) -> None:
    shop = await shop_with(PROGRAMME.replace('{percent: "50"}', "{places: [here]}") + PLACES)
    random = Random(7)
    members = [await shop.member() for _ in range(8)]
    for _ in range(3):
        await count_all(shop, all_slots())
        await shop.all(
            shop.purchase(
                random.choice(members),
                random.randint(1_00, 20_00),
                occurred_at=shop.clock.now() - timedelta(days=random.randint(0, 390)),
                place=random.choice(["here", "there"]),
            )
            for _ in range(50)
        )

    for _ in range(40):
        since = date(2025, 1, 25) + timedelta(days=random.randint(0, 400))
        until = since + timedelta(days=random.choice([1, 10, 31, 70, 365]))
        if random.random() < 0.3:
            since, until = since.replace(day=1), (until + timedelta(days=31)).replace(day=1)
        found = await asked(shop, since, until)
        told = [(side.active, side.repeating) for pilot in found.pilots for side in (pilot.inside, pilot.outside)]
        bought = [await buyers(shop, since, until, place=place) for place in ("here", "there")]
        assert numbers(found) == await by_hand(shop, since, until), (since, until)
        assert told == [(len(side), sum(count > 1 for count in side.values())) for side in bought if any(bought)]


async def test_what_is_handed_over_again_counts_once(shop: Shop) -> None:
    await count_all(shop, all_slots(1))
    async with following(shop.store, all_slots(2), beside=Counting(shop.store, shop.programmes)) as journal:
        member = await shop.member()
        await shop.buy(member, 10_00)
        arrived = await journal.arrived()
        while len(arrived.changes) < 2:
            arrived.changes += (await journal.arrived()).changes
        counting = Counting(shop.store, shop.programmes)

        await counting.count(arrived.changes[:1])
        await asyncio.gather(*(counting.count(arrived.changes) for _ in range(5)))
        await counting.count(arrived.changes[1:])

    expected = await by_hand(shop, date(2026, 3, 1), date(2026, 4, 1))
    assert expected["purchases"] == 1
    assert numbers(await asked(shop, date(2026, 3, 1), date(2026, 4, 1))) == expected


async def test_who_dies_between_the_days_and_the_position_leaves_nothing_to_count_twice(shop: Shop) -> None:
    counting = Counting(shop.store, shop.programmes)
    member = await shop.member()
    await count_all(shop, all_slots(1))
    async with following(shop.store, all_slots(2), beside=counting) as journal:
        await shop.buy(member, 10_00)
        await shop.buy(member, 20_00)
        changes: list[Change] = []
        while len(changes) < 2:
            changes += (await journal.arrived()).changes
        await counting.count(changes[:1])
    await shop.buy(member, 30_00)

    await count_all(shop, all_slots(3))

    period = date(2026, 3, 1), date(2026, 4, 1)
    assert numbers(await asked(shop, *period)) == await by_hand(shop, *period)
    assert (await asked(shop, *period)).buying.ordered_minor == {"EUR": 60_00}


async def test_a_position_that_the_log_no_longer_reaches_has_everything_counted_anew(shop: Shop) -> None:
    members = await a_fortnight(shop)
    await count_all(shop, all_slots(1))
    await shop.buy(members[0], 10_00)
    await count_all(shop, all_slots(1))
    position = await shop.store.accounts.find_one({"_id": slot_of(members[0].id)})
    assert position is not None
    long_ago = {"_data": "82" + "00000001" + position["token"]["_data"][10:]}
    await shop.store.accounts.update_many({}, {"$set": {"token": long_ago}})
    await shop.buy(members[0], 30_00)

    meanwhile = await asked(shop)
    with pytest.raises(SlotLost):
        await count_all(shop, all_slots(2))
    await count_all(shop, all_slots(2))

    assert numbers(meanwhile) == await by_hand(shop, *PERIOD)
    assert numbers(await asked(shop)) == await by_hand(shop, *PERIOD)


async def test_a_long_journal_is_counted_anew_some_slots_at_a_time(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "SUMMED_TOGETHER", 10)
    await a_fortnight(shop)

    await count_all(shop, all_slots())
    positions = [slot["token"]["_data"] async for slot in shop.store.accounts.find()]
    await a_fortnight(shop, seed=2)

    assert len(positions) == SLOTS
    assert numbers(await asked(shop)) == await by_hand(shop, *PERIOD)
    await count_all(shop, all_slots(2))
    assert (await audit(shop.store)).ok
    assert numbers(await asked(shop)) == await by_hand(shop, *PERIOD)


async def test_what_another_version_counted_is_counted_anew(shop: Shop) -> None:
    await a_fortnight(shop)
    await count_all(shop, all_slots(1))
    await shop.store.accounts.update_many({}, {"$set": {"beside": "days 0"}})
    await shop.store.day_sums.update_many({}, {"$set": {"sums.purchases": 1_000, "sums.else": 1}})

    assert numbers(await asked(shop)) == await by_hand(shop, *PERIOD)
    await count_all(shop, all_slots(2))
    assert numbers(await asked(shop)) == await by_hand(shop, *PERIOD)


async def test_workers_who_swap_slots_lose_and_double_nothing(shop: Shop) -> None:
    members = [await shop.member() for _ in range(20)]
    busy = asyncio.Event()

    async def hold(name: str) -> None:
        leases = Leases(shop.store, name, lease_seconds=2)
        while not busy.is_set():
            held = dict(await leases.acquire())
            if not held:
                continue  # the others have them all
            try:
                counting = Counting(shop.store, shop.programmes)
                async with following(shop.store, held, beside=counting) as journal:
                    for _ in range(2):
                        await journal.count(await journal.arrived())
            except SlotLost:
                continue
            finally:
                await leases.release()

    holders = [asyncio.create_task(hold(name)) for name in ("one", "other", "third")]
    for _ in range(8):
        await shop.all(shop.purchase(member, 1_00) for member in members)
        await asked(shop)
    busy.set()
    await asyncio.gather(*holders)
    await count_all(shop, all_slots(1_000))

    period = date(2026, 3, 1), date(2026, 4, 1)
    assert numbers(await asked(shop, *period)) == await by_hand(shop, *period)
    assert (await asked(shop, *period)).buying.purchases == 160
    assert (await asked(shop, *period)).buying.repeating == 20


async def test_the_worker_counts_for_reports(shop: Shop) -> None:
    await shop.buy(await shop.member(), 10_00)
    worker = Worker(shop.store, shop.clock, shop.ledger, lease_seconds=2)
    running = asyncio.create_task(worker.run())

    for _ in range(400):
        if await counted(shop) == 2:
            break
        await asyncio.sleep(0.02)
    worker.stop()
    await running

    day, month = await shop.store.day_sums.find({"sums.purchases": 1}).sort("_id", 1).to_list()
    assert day["_id"].startswith("2026-03-02|")
    assert month["_id"].startswith("m2026-03|")
    assert day["sums"]["ordered:EUR"] == month["sums"]["ordered:EUR"] == 10_00


async def test_the_audit_proves_what_is_kept_for_reports(shop: Shop) -> None:
    members = await a_fortnight(shop)
    await count_all(shop, all_slots())
    sound = await audit(shop.store)
    day = await shop.store.day_sums.find_one({"_id": {"$lt": "m"}, "sums.purchases": {"$gte": 1}})
    assert day is not None

    await shop.store.day_sums.update_one({"_id": day["_id"]}, {"$inc": {"sums.purchases": 1}})
    await shop.store.member_days.update_one({"_id": members[0].id}, {"$set": {"purchases": bytes(8)}})
    spoilt = await audit(shop.store)

    bought = day["sums"]["purchases"]
    assert sound.ok, sound.differences
    assert sound.uncounted == 0
    assert [(each.member, each.what) for each in spoilt.differences] == [
        (members[0].id, "the days that are kept for reports are not those of the journal"),
        (None, f"sums {day['_id']}: purchases is {bought + 1}, its journal says {bought}"),
    ]
