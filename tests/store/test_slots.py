"""Slots and leases: shared evenly, taken over from the dead with a higher fence, closed to the stale."""

import asyncio
import time
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from domain.store.connection import Store
from domain.store.slots import SLOTS, Leases, share_of, slot_of

SHORT = 2.0


def test_the_slot_of_a_member_never_changes() -> None:
    assert [slot_of(member) for member in ("", "a", "member-1", "é")] == [20, 10, 9, 19]


def test_members_spread_evenly_over_all_slots() -> None:
    counts = Counter(slot_of(f"member-{number}") for number in range(64_000))

    assert len(counts) == SLOTS
    assert min(counts.values()) > 850
    assert max(counts.values()) < 1150


@given(st.sets(st.text(min_size=1, max_size=5), min_size=1, max_size=100))
def test_the_shares_of_all_workers_are_all_slots_and_even(workers: set[str]) -> None:
    shares = [share_of(worker, workers) for worker in workers]

    assert sum(shares) == SLOTS
    assert max(shares) - min(shares) <= 1


async def test_one_worker_takes_every_slot(store: Store) -> None:
    worker = Leases(store, "one")

    held = await worker.acquire()

    assert held == dict.fromkeys(range(SLOTS), 1)
    assert worker.held == held


async def test_a_newcomer_gets_its_share_within_two_beats_and_no_slot_has_two_owners(store: Store) -> None:
    first, second = Leases(store, "first"), Leases(store, "second")
    await first.acquire()
    await second.acquire()

    await first.acquire()
    await second.acquire()

    assert (len(first.held), len(second.held)) == (32, 32)
    assert set(first.held) | set(second.held) == set(range(SLOTS))
    assert set(first.held.values()) == {1}
    assert set(second.held.values()) == {2}


async def test_workers_that_start_together_share_without_overlap(store: Store) -> None:
    workers = [Leases(store, f"worker-{number}") for number in range(5)]

    for _ in range(3):
        await asyncio.gather(*(worker.acquire() for worker in workers))
    # One of them may have looked just before another gave back; his next beat finds what that was.
    for worker in workers:
        await worker.acquire()

    assert sorted(len(worker.held) for worker in workers) == [12, 13, 13, 13, 13]
    assert sorted(slot for worker in workers for slot in worker.held) == list(range(SLOTS))


async def test_a_dead_workers_slots_are_taken_over_with_a_higher_fence(store: Store) -> None:
    dead, heir = Leases(store, "dead", lease_seconds=SHORT), Leases(store, "heir")
    await dead.acquire()
    assert await heir.acquire() == {}

    await asyncio.sleep(SHORT * 1.1)
    held = await heir.acquire()

    assert held == dict.fromkeys(range(SLOTS), 2)
    assert dead.held == {}
    assert await dead.renew() == {}


async def test_a_worker_that_renews_keeps_its_slots_and_its_fence(store: Store) -> None:
    worker, other = Leases(store, "worker", lease_seconds=SHORT), Leases(store, "other", want=0)
    held = await worker.acquire()

    end = time.monotonic() + SHORT * 1.5
    while time.monotonic() < end:
        await asyncio.sleep(SHORT / 10)
        assert await worker.renew() == held
        assert await other.acquire() == {}


async def test_what_is_given_back_is_free_at_once(store: Store) -> None:
    leaving, staying = Leases(store, "leaving"), Leases(store, "staying")
    await leaving.acquire()

    await leaving.release()

    assert leaving.held == {}
    assert await staying.acquire() == dict.fromkeys(range(SLOTS), 2)


async def test_a_worker_takes_no_more_than_it_wants(store: Store) -> None:
    assert len(await Leases(store, "modest", want=3).acquire()) == 3
