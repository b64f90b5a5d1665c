"""What a process opens before it works, in the right order, and closes afterwards.

Every command that touches members' value goes through here, so that indexes stand before traffic, a programme
is in force before a rule is asked for, and the clock is the mode's.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime

from api.auth.tokens import open_tokens
from api.context import Services
from domain.ledger.commit import Ledger
from domain.payments.opening import open_provider
from domain.programme.published import Programmes, ensure_first
from domain.programme.source import read_file
from domain.settings import Settings
from domain.store.clock import Clock, SandboxClock, open_clock
from domain.store.connection import Store, opened_store
from notifications.carriers import opened_carriers


async def begin_time(clock: Clock, start_at: datetime | None) -> None:
    """Begins a sandbox's time at `start_at`, by default the machine's now, unless it has begun before."""
    if isinstance(clock, SandboxClock):
        await clock.start_at(start_at)


async def ensure_programme(store: Store, settings: Settings, clock: Clock) -> None:
    """Publishes the settings' programme as version 1, if there is one and none is published yet.

    Raises DefinitionInvalid.
    """
    if settings.programme is not None:
        source = await asyncio.to_thread(read_file, settings.programme)
        await ensure_first(store, source, now=clock.now())


@asynccontextmanager
async def opened_services(
    settings: Settings, *, serves: bool, start_at: datetime | None = None
) -> AsyncIterator[Services]:
    """Everything open and following what other processes publish, until the end of the context.

    Who `serves` begins a sandbox's time, at `start_at`; others leave that to it.

    Raises what opening the store raises, KeysLocked, DefinitionInvalid, FirebaseUnusable, and NoProgramme where
    none is published and the settings name none.
    """
    async with opened_carriers(settings) as carriers, opened_store(settings) as store:
        clock = await open_clock(store, settings)
        if serves:
            await begin_time(clock, start_at)
        await ensure_programme(store, settings, clock)
        programmes = await Programmes.open(store)
        ledger = Ledger(store, clock, programmes)
        provider = open_provider(settings, store, clock)
        tokens = await open_tokens(store, settings, clock.now())
        following = asyncio.create_task(programmes.follow(), name="follow-programme")
        services = Services(
            settings=settings,
            store=store,
            clock=clock,
            tokens=tokens,
            programmes=programmes,
            ledger=ledger,
            provider=provider,
            carriers=carriers,
        )
        try:
            yield services
        finally:
            await services.close()
            following.cancel()
            with suppress(asyncio.CancelledError):
                await following
            await ledger.close()
            if provider is not None:
                await provider.close()
