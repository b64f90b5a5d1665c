"""A task that swallows a cancellation, as the driver does at times, ends even so."""

import asyncio

from domain.store.cancelling import cancelled


async def test_a_task_that_swallows_a_cancellation_is_cancelled_again() -> None:
    begun, swallowed = asyncio.Event(), asyncio.Event()

    async def stubborn() -> None:
        try:
            begun.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            swallowed.set()
        await asyncio.Event().wait()

    async def failing() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError

    tasks = [asyncio.create_task(stubborn()), asyncio.create_task(failing())]
    await begun.wait()

    ending = asyncio.create_task(cancelled(*tasks))
    await swallowed.wait()
    ending.cancel()
    await asyncio.wait([ending], timeout=10)

    assert ending.cancelled()
    assert [each.done() for each in tasks] == [True, True]
