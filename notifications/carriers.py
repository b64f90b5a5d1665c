"""The carriers that a process sends with: one for each channel that the settings provide."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from domain.settings import Settings
from notifications.channel import Carrier, Channel
from notifications.firebase.opening import open_firebase
from notifications.logged import LoggedCarrier
from notifications.smtp import SmtpCarrier, smtp_server
from notifications.unsubscribing import unsubscribe_links


@asynccontextmanager
async def opened_carriers(settings: Settings) -> AsyncIterator[Mapping[Channel, Carrier]]:
    """The carriers by channel, until the end of the context; a channel that is not here reaches nobody.

    A sandbox without a mail server writes e-mail and SMS down instead, and every production sends no SMS.

    Raises FirebaseUnusable.
    """
    async with AsyncExitStack() as stack:
        carriers: dict[Channel, Carrier] = {}
        push = open_firebase(settings)
        if push is not None:
            stack.push_async_callback(push.close)
            carriers[push.channel] = push
        if settings.smtp_url is not None and settings.smtp_from is not None:
            server = smtp_server(settings.smtp_url, needs_tls=not settings.sandbox)
            carriers[Channel.EMAIL] = SmtpCarrier(server, sender=settings.smtp_from, links=unsubscribe_links(settings))
        if settings.sandbox:
            for channel in (Channel.EMAIL, Channel.SMS):
                carriers.setdefault(channel, LoggedCarrier(channel))
        yield carriers
