"""What a process knows of tokens that ended and of partners: what it changes while it reads is heard at once."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

from domain.partners.denial import Denials, deny, of_session
from domain.partners.partner import create_partner, disable_partner
from domain.partners.standing import Standing
from domain.store.connection import Store

NOW = datetime(2026, 7, 6, 8, 30, tzinfo=UTC)
NAMES = frozenset({of_session("s")})


@dataclass
class Slow:
    """A collection whose first answer has left the server and arrives when it may."""

    real: Any
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    may_arrive: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def partners(self) -> "Slow":
        return self

    denials = partners

    async def find(self, *asked: Any) -> AsyncIterator[Any]:
        found = [document async for document in self.real.find(*asked)]
        await self._arrive()
        for document in found:
            yield document

    async def find_one(self, *asked: Any) -> Any:
        found = await self.real.find_one(*asked)
        await self._arrive()
        return found

    async def _arrive(self) -> None:
        self.asked.set()
        await self.may_arrive.wait()


async def test_a_token_that_ends_while_the_names_are_read_is_denied_by_the_next_question(store: Store) -> None:
    slow = Slow(store.denials)
    denials = Denials(cast("Store", slow))

    reading = asyncio.create_task(denials.denied(NAMES, NOW))
    await slow.asked.wait()
    await deny(store, of_session("s"), now=NOW)
    denials.forget()
    slow.may_arrive.set()
    await reading

    assert await denials.denied(NAMES, NOW)


async def test_a_partner_that_is_disabled_while_it_is_looked_up_is_not_welcome_to_the_next_question(
    store: Store,
) -> None:
    partner, _ = await create_partner(store, "s" * 32, name="Till", scopes=["activity:write"], now=NOW)
    slow = Slow(store.partners)
    standing = Standing(cast("Store", slow))

    reading = asyncio.create_task(standing.welcome(partner.client_id))
    await slow.asked.wait()
    await disable_partner(store, partner.client_id, disabled=True)
    standing.forget(partner.client_id)
    slow.may_arrive.set()
    await reading

    assert not await standing.welcome(partner.client_id)
