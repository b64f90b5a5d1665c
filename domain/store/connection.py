"""The connection to MongoDB, and the collections by name.

Writes are acknowledged by a majority and journaled, and retried once by the driver. Reads go to the primary
with read concern `local`: a command that decides on what it read and then writes is safe with it, since the
acknowledgement of its own write covers all that came before. Who answers from reading alone and must not be
contradicted after a failover (a replayed outcome) reads with_options(read_concern=ReadConcern("majority")).
Every wait has an end: for a server 10 s, for a connection of the pool 10 s, for an answer 20 s.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from pymongo import AsyncMongoClient
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import PyMongoError

from domain.failure import Failure
from domain.settings import Settings
from domain.store import collections
from domain.store.codec import TYPE_REGISTRY
from domain.store.embedded import Embedded, open_embedded
from domain.store.together import Together

Document = dict[str, Any]

POOL_SIZE: Final = 64
SELECTION_MS: Final = 10_000
CONNECT_MS: Final = 5_000
POOL_WAIT_MS: Final = 10_000
WRITE_MS: Final = 15_000
SOCKET_MS: Final = 20_000


class StoreUnavailable(Failure):
    """The server does not answer, or is none that this program can work with; the message says which."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Store:
    """An open database. Belongs to the event loop that it was opened on."""

    client: AsyncMongoClient[Document]
    database: AsyncDatabase[Document]
    embedded: Embedded | None = None

    wallets: AsyncCollection[Document] = field(init=False)
    journal: AsyncCollection[Document] = field(init=False)
    claims: AsyncCollection[Document] = field(init=False)
    members: AsyncCollection[Document] = field(init=False)
    sessions: AsyncCollection[Document] = field(init=False)
    partners: AsyncCollection[Document] = field(init=False)
    programmes: AsyncCollection[Document] = field(init=False)
    signing_keys: AsyncCollection[Document] = field(init=False)
    leases: AsyncCollection[Document] = field(init=False)
    clock: AsyncCollection[Document] = field(init=False)
    accounts: AsyncCollection[Document] = field(init=False)
    day_sums: AsyncCollection[Document] = field(init=False)
    member_days: AsyncCollection[Document] = field(init=False)
    vouchers: AsyncCollection[Document] = field(init=False)
    stock: AsyncCollection[Document] = field(init=False)
    top_ups: AsyncCollection[Document] = field(init=False)
    top_up_refunds: AsyncCollection[Document] = field(init=False)
    payers: AsyncCollection[Document] = field(init=False)
    provider_events: AsyncCollection[Document] = field(init=False)
    sandbox_payments: AsyncCollection[Document] = field(init=False)
    codes: AsyncCollection[Document] = field(init=False)
    presences: AsyncCollection[Document] = field(init=False)
    wrong_codes: AsyncCollection[Document] = field(init=False)
    grants: AsyncCollection[Document] = field(init=False)
    authorizations: AsyncCollection[Document] = field(init=False)
    assertions: AsyncCollection[Document] = field(init=False)
    denials: AsyncCollection[Document] = field(init=False)
    feedback: AsyncCollection[Document] = field(init=False)
    signals: AsyncCollection[Document] = field(init=False)
    runs: AsyncCollection[Document] = field(init=False)
    recipients: AsyncCollection[Document] = field(init=False)
    deliveries: AsyncCollection[Document] = field(init=False)
    cascade_states: AsyncCollection[Document] = field(init=False)
    devices: AsyncCollection[Document] = field(init=False)
    inbox: AsyncCollection[Document] = field(init=False)
    transitions: AsyncCollection[Document] = field(init=False)
    buckets: AsyncCollection[Document] = field(init=False)
    persisted_documents: AsyncCollection[Document] = field(init=False)

    inbox_writes: Together = field(init=False)
    delivery_writes: Together = field(init=False)

    def __post_init__(self) -> None:
        for name in collections.ALL:
            object.__setattr__(self, name, self.database[name])
        object.__setattr__(self, "inbox_writes", Together(self.inbox))
        object.__setattr__(self, "delivery_writes", Together(self.deliveries))

    async def prepare(self) -> None:
        """Makes all collections and indexes; see `collections.prepare`. To be awaited before any traffic."""
        await collections.prepare(self.database)

    async def ping(self) -> None:
        """One round trip to the server; raises StoreUnavailable when it does not answer."""
        try:
            await self.client.admin.command("ping")
        except PyMongoError as error:
            raise StoreUnavailable(f"The database does not answer: {error}") from error

    async def close(self) -> None:
        """Closes the connections, and gives up the use of an embedded server. Call once."""
        await self.client.close()
        if self.embedded is not None:
            self.embedded.close()


async def open_store(settings: Settings) -> Store:
    """The database of `settings`, connected and seen to answer, but not prepared.

    Without a URL in the settings the embedded server on their folder is started or joined. Raises
    StoreUnavailable when the server does not answer or is no replica set, and EmbeddedUnavailable.
    """
    if settings.mongodb_url is not None:
        return await _connect(settings.mongodb_url, settings.database, embedded=None)
    embedded = await asyncio.to_thread(open_embedded, settings.data)
    try:
        return await _connect(embedded.url, settings.database, embedded=embedded)
    except BaseException:
        embedded.close()
        raise


@asynccontextmanager
async def opened_store(settings: Settings) -> AsyncIterator[Store]:
    """`open_store`, prepared, and closed at the end."""
    store = await open_store(settings)
    try:
        await store.prepare()
        yield store
    finally:
        await store.close()


async def _connect(url: str, database: str, *, embedded: Embedded | None) -> Store:
    client: AsyncMongoClient[Document] = AsyncMongoClient(
        url,
        type_registry=TYPE_REGISTRY,
        appname="member-wallet",
        maxPoolSize=POOL_SIZE,
        serverSelectionTimeoutMS=SELECTION_MS,
        connectTimeoutMS=CONNECT_MS,
        waitQueueTimeoutMS=POOL_WAIT_MS,
        socketTimeoutMS=SOCKET_MS,
        w="majority",
        journal=True,
        wTimeoutMS=WRITE_MS,
        readConcernLevel="local",
        retryWrites=True,
        retryReads=True,
    )
    try:
        hello = await client.admin.command("hello")
    except PyMongoError as error:
        await client.close()
        raise StoreUnavailable(f"The database does not answer: {error}") from error
    except BaseException:
        await client.close()
        raise
    if "setName" not in hello and hello.get("msg") != "isdbgrid":
        await client.close()
        raise StoreUnavailable(
            "The database is a single server. It must be a replica set (one member is enough, started with "
            "--replSet and initiated) or a sharded cluster: changes are followed and majorities counted."
        )
    return Store(client=client, database=client[database], embedded=embedded)
