"""An office as a worker has it, whose pushes go to FCM's stand-in."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

from domain.store.slots import SLOTS
from notifications import cascades
from notifications.advance import advance
from notifications.channel import Channel
from notifications.firebase.bearer import FixedBearer
from notifications.firebase.carrier import FirebaseCarrier
from notifications.firebase.rate import Rate
from notifications.office import Office
from tests.ledger.shop import Shop
from tests.notifications.phones import Phones


@asynccontextmanager
async def opened_office(shop: Shop, phones: Phones) -> AsyncIterator[Office]:
    carrier = FirebaseCarrier(
        url=phones.url, project="test", bearer=FixedBearer("test"), rate=Rate(10_000.0), read_seconds=1.0
    )
    try:
        yield Office(store=shop.store, clock=shop.clock, programmes=shop.programmes, carriers={Channel.PUSH: carrier})
    finally:
        await carrier.close()


async def catch_up(office: Office, *, now: datetime) -> None:
    """Hears all that was posted and told up to now."""
    await cascades.hear_posted(office, now=now)
    await cascades.hear_told(office, range(SLOTS), now=now)


async def move(shop: Shop, office: Office, by: timedelta) -> None:
    """Moves the clock on, doing all that falls due on the way."""
    await advance(shop.store, shop.clock, shop.ledger, shop.clock.now() + by, office=office)
