"""A report that is asked for over the API, and so within a deadline, is read to its end."""

from domain.reports.counting import BATCH, found_at
from domain.store.connection import Store
from domain.store.deadline import within


async def test_a_reading_of_several_batches_comes_to_its_end_within_a_deadline(store: Store) -> None:
    await store.inbox.insert_many([{"member": "m1"} for _ in range(2 * BATCH + 1)])

    with within(30.0):
        sizes = [len(each) async for each in found_at(store.inbox, {"member": "m1"}, None)]

    assert sizes == [BATCH, BATCH, 1]
