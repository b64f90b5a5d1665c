import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from time import monotonic

import pytest

from domain.programme.definition import DefinitionInvalid
from domain.programme.programme import digest_of
from domain.programme.published import (
    NoProgramme,
    ProgrammeInvalid,
    Programmes,
    Published,
    UnknownVersion,
    VersionConflict,
    ensure_first,
    publish,
)
from domain.store.connection import Store

NOW = datetime(2026, 7, 6, 12, tzinfo=UTC)


def dearer(source: str) -> str:
    return source.replace("late_days: 400", "late_days: 30")


@asynccontextmanager
async def following(programmes: Programmes) -> AsyncIterator[None]:
    task = asyncio.create_task(programmes.follow())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def seconds_until(programmes: Programmes, version: int) -> float:
    started = monotonic()
    for _ in range(1_000):
        if programmes.current.version >= version:
            break
        await asyncio.sleep(0.01)
    return monotonic() - started


async def test_without_a_programme_nothing_opens(store: Store) -> None:
    with pytest.raises(NoProgramme, match="wallet init"):
        await Programmes.open(store)


async def test_the_first_programme_is_version_1_and_is_published_once(store: Store, example_source: str) -> None:
    versions = await asyncio.gather(*(ensure_first(store, example_source, now=NOW) for _ in range(8)))

    assert versions == [1] * 8
    assert await ensure_first(store, "not even looked at", now=NOW) == 1
    assert await store.programmes.find({}).to_list() == [
        {"_id": 1, "source": example_source, "digest": digest_of(example_source), "published_at": NOW}
    ]


async def test_a_first_programme_with_errors_is_refused(store: Store) -> None:
    with pytest.raises(DefinitionInvalid):
        await ensure_first(store, "programme: x", now=NOW)

    assert await store.programmes.count_documents({}) == 0


async def test_a_version_follows_the_expected_one(store: Store, example_source: str) -> None:
    await ensure_first(store, example_source, now=NOW)

    second = await publish(store, dearer(example_source), expected_version=1, now=NOW)

    assert isinstance(second, Published)
    assert (second.programme.version, second.programme.late_days) == (2, 30)
    assert second.programme.digest == digest_of(dearer(example_source))
    assert await publish(store, example_source, expected_version=1, now=NOW) == VersionConflict(current_version=2)
    assert await publish(store, example_source, expected_version=7, now=NOW) == VersionConflict(current_version=2)


async def test_of_publishers_at_one_moment_one_wins(store: Store, example_source: str) -> None:
    await ensure_first(store, example_source, now=NOW)

    outcomes = await asyncio.gather(*(publish(store, example_source, expected_version=1, now=NOW) for _ in range(6)))

    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Published"] + ["VersionConflict"] * 5
    assert [outcome for outcome in outcomes if isinstance(outcome, VersionConflict)] == [
        VersionConflict(current_version=2)
    ] * 5
    assert await store.programmes.count_documents({}) == 2


async def test_an_invalid_programme_is_never_published(store: Store, example_source: str) -> None:
    await ensure_first(store, example_source, now=NOW)

    outcome = await publish(
        store, example_source.replace("currency: USD", "currency: USX"), expected_version=1, now=NOW
    )

    assert isinstance(outcome, ProgrammeInvalid)
    assert [problem.path for problem in outcome.problems] == ["currency"]
    assert await store.programmes.count_documents({}) == 1


async def test_what_another_process_publishes_is_in_force_within_two_seconds(store: Store, example_source: str) -> None:
    await ensure_first(store, example_source, now=NOW)
    programmes = await Programmes.open(store)

    async with following(programmes):
        await asyncio.sleep(0.3)
        await publish(store, dearer(example_source), expected_version=1, now=NOW)
        seconds = await seconds_until(programmes, 2)

    assert seconds < 2
    assert programmes.current.late_days == 30


async def test_what_was_published_before_following_is_not_missed(store: Store, example_source: str) -> None:
    await ensure_first(store, example_source, now=NOW)
    programmes = await Programmes.open(store)
    await publish(store, dearer(example_source), expected_version=1, now=NOW)
    assert programmes.current.version == 1

    async with following(programmes):
        seconds = await seconds_until(programmes, 2)

    assert seconds < 2


async def test_following_survives_its_stream_being_killed(store: Store, example_source: str) -> None:
    await ensure_first(store, example_source, now=NOW)
    programmes = await Programmes.open(store)

    async with following(programmes):
        await asyncio.sleep(0.3)
        await store.client.admin.command("killAllSessions", [])
        await publish(store, dearer(example_source), expected_version=1, now=NOW)
        seconds = await seconds_until(programmes, 2)

    assert seconds < 2


async def test_old_versions_stay_readable(store: Store, example_source: str) -> None:
    await ensure_first(store, example_source, now=NOW)
    await publish(store, dearer(example_source), expected_version=1, now=NOW)
    programmes = await Programmes.open(store)

    first = await programmes.at(1)

    assert (programmes.current.version, programmes.current.late_days) == (2, 30)
    assert (first.version, first.late_days) == (1, 400)
    assert await programmes.at(1) is first
    with pytest.raises(UnknownVersion):
        await programmes.at(3)


async def test_a_stored_source_that_cannot_be_loaded_leaves_what_is_in_force(store: Store, example_source: str) -> None:
    await ensure_first(store, example_source, now=NOW)
    programmes = await Programmes.open(store)
    await store.programmes.insert_one({"_id": 2, "source": "new: format", "digest": "", "published_at": NOW})

    await programmes.refresh()

    assert programmes.current.version == 1
