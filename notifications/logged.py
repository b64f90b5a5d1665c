"""A carrier for a sandbox: it logs that a message would have been sent, and nothing about the member."""

from datetime import datetime

import structlog

from notifications.channel import Channel, Endpoint, Fate, Message, Outcome

log = structlog.get_logger(__name__)


class LoggedCarrier:
    """Takes every message of its channel and sends none."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel

    async def send(self, message: Message, endpoint: Endpoint, *, now: datetime) -> Outcome:
        """Accepts it. The log has the delivery, the category and the label, never an address or a text."""
        log.info(
            "message.logged",
            channel=self.channel.value,
            delivery=message.delivery_id,
            category=message.category.value,
            label=message.label,
            kind=endpoint.kind.value,
            at=now.isoformat(),
        )
        return Outcome(fate=Fate.ACCEPTED, reason="LOGGED")

    async def close(self) -> None:
        """There is nothing to give up."""
