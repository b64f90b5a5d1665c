"""The carriers that a process sends with, one for each channel that the settings give it."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from domain.settings import Settings
from notifications.channel import Carrier, Channel
from notifications.firebase.opening import open_firebase


@asynccontextmanager
async def opened_carriers(settings: Settings) -> AsyncIterator[Mapping[Channel, Carrier]]:
    """The carriers by channel, until the end of the context; a channel that is not here reaches nobody.

    Raises FirebaseUnusable.
    """
    async with AsyncExitStack() as stack:
        carriers: dict[Channel, Carrier] = {}
        push = open_firebase(settings)
        if push is not None:
            stack.push_async_callback(push.close)
            carriers[push.channel] = push
        yield carriers
