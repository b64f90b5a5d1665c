"""Members with phones, and runs that wait for their time, put straight into the collections of an office's store."""

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from pymongo import WriteConcern
from pymongo.asynchronous.collection import AsyncCollection

from benchmarks.ledger import PROGRAMME
from domain.ledger.commit import Ledger
from domain.programme.published import Programmes, ensure_first
from domain.settings import read_settings
from domain.store.clock import SystemClock
from domain.store.codec import to_bson
from domain.store.connection import Document, opened_store
from domain.store.slots import slot_of
from notifications.channel import EndpointKind, Platform
from notifications.devices import device_id
from notifications.firebase.bearer import FixedBearer
from notifications.firebase.carrier import FirebaseCarrier
from notifications.firebase.rate import Rate
from notifications.office import Office
from notifications.run import Run, RunEvent, run_document, run_id

CASCADE: Final = "earned"
BATCH: Final = 5_000
NO_LIMIT: Final = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """An office on the machine's clock, with the example programme, and the ledger beside it."""

    office: Office
    ledger: Ledger
    clock: SystemClock


@asynccontextmanager
async def opened_office(url: str, name: str, *, phones: str | None = None) -> AsyncIterator[Opened]:
    """On a database of its own, which is dropped at the end; pushes go to the stand-in at `phones`, if any."""
    settings = read_settings({"WALLET_MONGODB_URL": url, "WALLET_DATABASE": f"benchmark_{name}"}, mode="sandbox")
    async with opened_store(settings) as store:
        clock = SystemClock()
        await ensure_first(store, PROGRAMME.read_text(encoding="utf-8"), now=clock.now())
        programmes = await Programmes.open(store)
        ledger = Ledger(store, clock, programmes)
        bearer, rate = FixedBearer("bearer"), Rate(NO_LIMIT)
        carrier = None if phones is None else FirebaseCarrier(url=phones, project="test", bearer=bearer, rate=rate)
        carriers = {} if carrier is None else {carrier.channel: carrier}
        try:
            yield Opened(
                office=Office(store=store, clock=clock, programmes=programmes, carriers=carriers),
                ledger=ledger,
                clock=clock,
            )
        finally:
            if carrier is not None:
                await carrier.close()
            await ledger.close()
            await store.client.drop_database(store.database)


def member_name(number: int) -> str:
    return f"member-{number:07}"


def members(count: int, now: datetime) -> Iterator[Document]:
    for number in range(count):
        identifier = member_name(number)
        yield {"_id": identifier, "slot": slot_of(identifier), "joined_at": now, "profile": {}}


def phones_of(count: int, now: datetime) -> Iterator[Document]:
    """One for each member."""
    for number in range(count):
        value = f"phone-{number:07}"
        yield {
            "_id": device_id(value),
            "member": member_name(number),
            "platform": Platform.ANDROID.value,
            "kind": EndpointKind.FID.value,
            "value": value,
            "push_permitted": True,
            "last_seen_at": now,
            "registration": "1",
            "kept_until": now + timedelta(days=1),
        }


def waiting_run(number: int, *, now: datetime, due_at: datetime) -> Run:
    """A run of the member with that number, which sends its one message at `due_at`."""
    member, signal = member_name(number), f"signal-{number:07}"
    return Run(
        id=run_id(CASCADE, member, signal),
        member=member,
        cascade=CASCADE,
        version=1,
        signal=signal,
        event="purchase",
        facts={"entry": {"kind": "PURCHASE", "points": 5, "cashback_minor": 0, "amount_minor": 500}},
        category="TRANSACTIONAL",
        started_at=now,
        due_at=due_at,
        is_timed=True,
        history=(RunEvent(at=now, what="started", reason="purchase"),),
    )


def run_documents(runs: Iterable[Run]) -> Iterator[Document]:
    return (run_document(run) for run in runs)


async def fill(collection: AsyncCollection[Document], documents: Iterable[Document]) -> None:
    quick = collection.with_options(write_concern=WriteConcern(w=1, j=False))
    batch: list[dict[str, Any]] = []
    for document in documents:
        batch.append(to_bson(document))
        if len(batch) == BATCH:
            await quick.insert_many(batch, ordered=False)
            batch = []
    if batch:
        await quick.insert_many(batch, ordered=False)
