"""The clock: whole milliseconds, never back; in a sandbox one hand moves it for every process."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from domain.store.clock import ClockMovedBack, SandboxClock, SystemClock
from domain.store.connection import Store

START = datetime(2025, 3, 1, 12, 0, tzinfo=UTC)
MOMENT = timedelta(seconds=5)


def test_the_systems_clock_tells_whole_milliseconds_of_utc() -> None:
    before = datetime.now(UTC)

    now = SystemClock().now()

    assert timedelta(0) <= now - before + timedelta(milliseconds=1) < MOMENT
    assert now.tzinfo is UTC
    assert now.microsecond % 1000 == 0


def test_the_systems_clock_never_steps_back(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SystemClock()
    first = clock.now()

    class Yesterday(datetime):
        @classmethod
        def now(cls, tz: object = None) -> "Yesterday":  # noqa: ARG003 -- as in datetime
            return cls(2020, 1, 1, tzinfo=UTC)

    monkeypatch.setattr("domain.store.clock.datetime", Yesterday)

    assert clock.now() == first


async def test_a_sandbox_begins_where_it_is_told_and_runs_on(store: Store) -> None:
    clock = SandboxClock(store)

    await clock.start_at(START)
    first = clock.now()
    await asyncio.sleep(0.02)

    assert timedelta(0) <= first - START < MOMENT
    assert clock.now() - first >= timedelta(milliseconds=19)


async def test_a_sandbox_that_has_begun_is_not_begun_again(store: Store) -> None:
    await SandboxClock(store).start_at(START)
    later = SandboxClock(store)

    await later.start_at(START - timedelta(days=400))

    assert timedelta(0) <= later.now() - START < MOMENT


async def test_a_sandbox_without_a_start_tells_the_machines_time(store: Store) -> None:
    clock = SandboxClock(store)

    await clock.start_at()

    assert abs(clock.now() - datetime.now(UTC)) < MOMENT


async def test_a_move_is_seen_by_every_process_at_its_next_refresh(store: Store) -> None:
    mine, other = SandboxClock(store), SandboxClock(store)
    await mine.start_at(START)
    await other.start_at(START)

    moved = await mine.move_to(START + timedelta(days=10))
    await other.refresh()

    assert timedelta(0) <= moved - (START + timedelta(days=10)) < MOMENT
    assert moved <= mine.now()
    assert timedelta(0) <= other.now() - moved < MOMENT


async def test_a_clock_is_not_moved_back_even_by_a_process_that_has_not_seen_the_last_move(
    store: Store,
) -> None:
    mine, stale = SandboxClock(store), SandboxClock(store)
    await mine.start_at(START)
    await stale.refresh()
    await mine.move_to(START + timedelta(days=10))

    with pytest.raises(ClockMovedBack) as refused:
        await stale.move_to(START + timedelta(days=9))

    assert refused.value.asked_at == START + timedelta(days=9)
    assert refused.value.now >= START + timedelta(days=10)
    await mine.refresh()
    assert timedelta(0) <= mine.now() - (START + timedelta(days=10)) < MOMENT


async def test_of_many_moves_at_once_the_latest_stands(store: Store) -> None:
    clocks = [SandboxClock(store) for _ in range(20)]
    await clocks[0].start_at(START)

    outcomes = await asyncio.gather(
        *(clock.move_to(START + timedelta(days=1 + day)) for day, clock in enumerate(clocks)),
        return_exceptions=True,
    )
    await clocks[0].refresh()

    assert {type(outcome) for outcome in outcomes} <= {datetime, ClockMovedBack}
    assert timedelta(0) <= clocks[0].now() - (START + timedelta(days=20)) < MOMENT


async def test_a_clock_that_was_never_begun_can_be_moved(store: Store) -> None:
    clock = SandboxClock(store)
    ahead = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)

    await clock.move_to(ahead)

    assert timedelta(0) <= clock.now() - ahead < MOMENT


async def test_a_hundred_refreshes_at_once_share_two_reads(store: Store) -> None:
    clock = SandboxClock(store)
    await clock.start_at(START)
    before = await reads(store)

    first = asyncio.create_task(clock.refresh())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await asyncio.gather(first, *(clock.refresh() for _ in range(99)))

    assert await reads(store) - before == 2


async def test_a_refresh_does_not_share_a_read_that_began_before_it(store: Store) -> None:
    clock, other = SandboxClock(store), SandboxClock(store)
    await clock.start_at(START)
    for day in range(1, 30):
        reading = asyncio.create_task(clock.refresh())
        await asyncio.sleep(0)
        await other.move_to(START + timedelta(days=day))

        await clock.refresh()

        assert clock.now() >= START + timedelta(days=day)
        await reading


async def test_a_refresh_that_is_given_up_takes_no_other_with_it(store: Store) -> None:
    clock = SandboxClock(store)
    await clock.start_at(START)

    given_up, kept = asyncio.create_task(clock.refresh()), asyncio.create_task(clock.refresh())
    await asyncio.sleep(0)
    given_up.cancel()

    await kept
    assert given_up.cancelled()


async def reads(store: Store) -> int:
    await asyncio.sleep(0.1)  # the server counts a read after it has answered
    status = await store.client.admin.command("top")
    return int(status["totals"][store.clock.full_name]["queries"]["count"])
