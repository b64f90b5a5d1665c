"""Published versions of the programme: 1, 2, 3 …, one document each, never changed (SEMANTICS §11).

The document's id is its version, so publishing is one insert and of two publishers one is told so. Each process
follows the collection: what another one publishes is in force here within two seconds. Old versions stay, since
entries name theirs.
"""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import structlog
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import DuplicateKeyError, PyMongoError
from pymongo.read_concern import ReadConcern

from domain.failure import Failure
from domain.programme.definition import (
    Checked,
    DefinitionInvalid,
    ProgrammeProblem,
    Severity,
    check_source,
    load_definition,
)
from domain.programme.programme import Programme, compile_programme, digest_of
from domain.programme.succession import check_succession
from domain.store.codec import to_bson
from domain.store.connection import Store

MAX_VERSIONS_HELD = 32
WATCH_MS = 500
RETRY_SECONDS = (0.1, 0.2, 0.4, 0.8, 1.0)
"""Waits after a lost change stream; the last one repeats, so that a publication is never seen too late."""

_LOG: Final = structlog.get_logger(__name__)


class NoProgramme(Failure):
    """Nothing was ever published here."""

    def __init__(self) -> None:
        super().__init__("No programme is published; publish one with `wallet init --programme FILE`.")


class UnknownVersion(Exception):  # noqa: N818 - says what is the case
    """An entry names a version that the collection does not have: data is missing."""

    def __init__(self, version: int) -> None:
        self.version = version
        super().__init__(f"There is no version {version} of the programme.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What is now in force."""

    programme: Programme
    warnings: tuple[ProgrammeProblem, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgrammeInvalid:
    """Nothing was published; `problems` has the errors, and the warnings beside them."""

    problems: tuple[ProgrammeProblem, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionConflict:
    """Nothing was published; `current_version` is in force, 0 when none is."""

    current_version: int


async def publish(
    store: Store, source: str, *, expected_version: int, now: datetime
) -> Published | ProgrammeInvalid | VersionConflict:
    """Publish the source as the version after the expected one, which must be in force; 0 when none is.

    An invalid programme is never published. It is in force here after :meth:`Programmes.refresh`, and in every
    other process within two seconds.
    """
    checked = await check_next(store, source)
    if checked.definition is None:
        return ProgrammeInvalid(problems=checked.problems)
    current = await _latest_version(store.programmes)
    if current != expected_version:
        return VersionConflict(current_version=current)
    digest, version = digest_of(source), expected_version + 1
    programme = await asyncio.to_thread(compile_programme, checked.definition, version, digest=digest)
    document = {"_id": version, "source": source, "digest": digest, "published_at": now}
    try:
        await store.programmes.insert_one(to_bson(document))
    except DuplicateKeyError:
        return VersionConflict(current_version=await _latest_version(store.programmes))
    return Published(programme=programme, warnings=checked.problems)


async def check_next(store: Store, source: str) -> Checked:
    """All problems of the source as the next version, beside the one in force too."""
    checked = await asyncio.to_thread(check_source, source)
    document = await _latest(store.programmes)
    if checked.definition is None or document is None:
        return checked
    try:
        before = await asyncio.to_thread(load_definition, document["source"])
    except ValueError:
        return checked
    is_used = await store.wallets.find_one({}, {"_id": 1}) is not None
    found = check_succession(before, checked.definition, is_used=is_used)
    refused = any(problem.severity is Severity.ERROR for problem in found)
    return Checked(
        definition=None if refused else checked.definition,
        problems=tuple(sorted((*checked.problems, *found), key=lambda problem: problem.severity)),
    )


async def ensure_first(store: Store, source: str, *, now: datetime) -> int:
    """Publish the source as version 1 if nothing is published, and say which version is in force.

    Raises :class:`DefinitionInvalid` when it would have been published but has errors. Any number of processes
    may call it at once.
    """
    current = await _latest_version(store.programmes)
    if current:
        return current
    outcome = await publish(store, source, expected_version=0, now=now)
    match outcome:
        case Published():
            return outcome.programme.version
        case VersionConflict():
            return outcome.current_version
        case ProgrammeInvalid():
            raise DefinitionInvalid(outcome.problems)


class Programmes:
    """The programme in force, and the versions before it. One per process and event loop; see :meth:`open`."""

    def __init__(self, documents: AsyncCollection[dict[str, Any]], current: Programme) -> None:
        self._documents = documents
        self._current = current
        self._held = OrderedDict({current.version: current})

    @classmethod
    async def open(cls, store: Store) -> "Programmes":
        """The published programmes of the store. Raises :class:`NoProgramme` when there is none."""
        document = await _latest(store.programmes)
        if document is None:
            raise NoProgramme
        return cls(store.programmes, await _compiled(document))

    @property
    def current(self) -> Programme:
        """The version in force, as far as this process knows: see :meth:`follow`."""
        return self._current

    async def at(self, version: int) -> Programme:
        """That version. Raises :class:`UnknownVersion`."""
        held = self._held.get(version)
        if held is None:
            document = await self._documents.find_one({"_id": version})
            if document is None:
                raise UnknownVersion(version)
            held = await _compiled(document)
            self._hold(held)
        else:
            self._held.move_to_end(version)
        return held

    async def refresh(self) -> Programme:
        """Take the latest version into force now. A source that this program cannot load leaves what there is."""
        latest = await _latest_version(self._documents)
        if latest > self._current.version:
            try:
                programme = await self.at(latest)
            except ValueError as error:
                _LOG.error("programme_not_loaded", version=latest, error=type(error).__name__)
                return self._current
            if programme.version > self._current.version:
                self._current = programme
                _LOG.info("programme_in_force", version=programme.version, digest=programme.digest)
        return self._current

    async def follow(self) -> None:
        """Keep :attr:`current` current until cancelled. Run it as a task; it survives the database going away."""
        # A change stream takes no other read concern than majority.
        followed = self._documents.with_options(read_concern=ReadConcern("majority"))
        task, failures = asyncio.current_task(), 0
        assert task is not None
        # The driver may swallow a cancellation while it puts a connection away: the task remembers it.
        while not task.cancelling():
            try:
                await self.refresh()
                stream = await followed.watch([{"$match": {"operationType": "insert"}}], max_await_time_ms=WATCH_MS)
                async with stream:
                    await self.refresh()
                    failures = 0
                    while stream.alive and not task.cancelling():
                        if await stream.try_next() is not None:
                            await self.refresh()
            except PyMongoError as error:
                _LOG.warning("programme_follow_lost", error=type(error).__name__, failures=failures)
            await asyncio.sleep(RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)])
            failures += 1

    def _hold(self, programme: Programme) -> None:
        self._held[programme.version] = programme
        while len(self._held) > MAX_VERSIONS_HELD:
            self._held.popitem(last=False)


async def _compiled(document: dict[str, Any]) -> Programme:
    def compiled() -> Programme:
        definition = load_definition(document["source"])
        return compile_programme(definition, document["_id"], digest=document["digest"])

    return await asyncio.to_thread(compiled)


async def _latest(documents: AsyncCollection[dict[str, Any]]) -> dict[str, Any] | None:
    return await documents.find_one({}, sort=[("_id", -1)])


async def _latest_version(documents: AsyncCollection[dict[str, Any]]) -> int:
    document = await documents.find_one({}, {"_id": 1}, sort=[("_id", -1)])
    return 0 if document is None else int(document["_id"])
