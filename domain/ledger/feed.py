"""A member's wallet as it changes: every entry after a version, each with the wallet that it made, for ever.

What was missed comes first; then what arrives. Both are one reading of the journal that goes on from the last
sequence that was given out, so between them nothing is missing and nothing comes twice.

    VersionAhead    the version lies after the wallet's own
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final

from pymongo.errors import PyMongoError
from pymongo.read_concern import ReadConcern

from domain.ledger.entry import Entry, entry_from
from domain.ledger.wallet import Wallet, apply, wallet_from
from domain.store import collections
from domain.store.changes import Changes
from domain.store.connection import Store
from domain.store.outage import is_outage

PAGE: Final = 100
RETRY_SECONDS: Final = 0.5


class VersionAhead(Exception):  # noqa: N818 -- says what is the case
    """The wallet has not come to the version that was named; it is at `version`."""

    def __init__(self, version: int) -> None:
        self.version = version
        super().__init__(f"The wallet is at version {version}.")


async def wallet_changes(
    store: Store, changes: Changes, member: str, *, since: int | None
) -> AsyncGenerator[tuple[Entry, Wallet], None]:
    """Each entry after the version `since` (None: the present one) with the wallet after it, as they come.

    Raises VersionAhead, ChangesClosed when the process stops, and what the database raises.
    """
    async with changes.listening(collections.JOURNAL, member) as arrivals:
        stored = await store.wallets.find_one({"_id": member})
        wallet = Wallet(member=member) if stored is None else wallet_from(stored)
        if since is not None and since < wallet.sequence:
            # Wallets of the past are not stored: they are folded from the beginning.
            wallet = Wallet(member=member)
        async for entry in _after(store, member, wallet.sequence):
            wallet = apply(wallet, entry)
            if since is not None and entry.sequence > since:
                yield entry, wallet
        if since is not None and since > wallet.sequence:
            raise VersionAhead(wallet.sequence)
        while True:
            await arrivals.wait()
            try:
                async for entry in _after(store, member, wallet.sequence):
                    wallet = apply(wallet, entry)
                    yield entry, wallet
            except PyMongoError as error:
                if not is_outage(error):
                    raise
                await asyncio.sleep(RETRY_SECONDS)
                arrivals.tell()


async def _after(store: Store, member: str, sequence: int) -> AsyncIterator[Entry]:
    """The entries after that sequence, of which a majority has every one, read in pages as they are taken."""
    journal = store.journal.with_options(read_concern=ReadConcern("majority"))
    while True:
        wanted = {"member": member, "seq": {"$gt": sequence}}
        page = await journal.find(wanted).sort("seq", 1).limit(PAGE).to_list()
        for document in page:
            entry = entry_from(document)
            assert entry.sequence == sequence + 1, f"{member} has a gap after {sequence}"
            sequence = entry.sequence
            yield entry
        if len(page) < PAGE:
            return
