"""A channel carries one rendered message to one endpoint of a member, and says what became of it.

The engine decides that a message is sent; a carrier (push, e-mail, SMS) sends it. The outcome is a value, never an
exception: what it means for the run, the endpoint and the next channel is decided by who asked
(SEMANTICS §10.8, and the table of answers in `notifications.firebase`).
"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol


class Channel(StrEnum):
    """The contract's enumeration. INBOX is the record of every message and needs no carrier."""

    PUSH = "PUSH"
    EMAIL = "EMAIL"
    SMS = "SMS"
    INBOX = "INBOX"


class MessageCategory(StrEnum):
    """The contract's enumeration: what a member may mute, and what quiet hours and caps mean for a message."""

    TRANSACTIONAL = "TRANSACTIONAL"
    SERVICE = "SERVICE"
    MARKETING = "MARKETING"


class EndpointKind(StrEnum):
    """How a message finds an endpoint: two kinds of address at Firebase, and the two of a profile."""

    FID = "FID"
    TOKEN = "TOKEN"  # noqa: S105 -- the name of a kind
    EMAIL = "EMAIL"
    PHONE = "PHONE"


class Platform(StrEnum):
    """The contract's enumeration."""

    IOS = "IOS"
    ANDROID = "ANDROID"
    WEB = "WEB"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a message goes. `id` is the device's for push; `platform` is None for an address of the profile.

    `registration` is that of the device from which it was read: a device that registered again since is another one.
    """

    id: str
    kind: EndpointKind
    value: str = field(repr=False)
    platform: Platform | None = None
    registration: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One logical message, rendered. It goes to all endpoints of the member under one `delivery_id` and counts once.

    `label` is cascade and step for statistics, never a member. After `expires_at` it must not arrive any more.
    With `recalls` it is the silent message that takes one with the same `delivery_id` off the screen again.
    """

    delivery_id: str
    category: MessageCategory
    body: str
    title: str | None = None
    link: str | None = None
    image_url: str | None = None
    label: str
    expires_at: datetime
    recalls: bool = False


class Fate(StrEnum):
    """What became of one message at one endpoint.

    ACCEPTED    taken by the carrier's server
    AMBIGUOUS   may have been taken: a MARKETING message is not sent again, others under the same delivery id
    RETRY       certainly not taken; not before `retry_at`
    GONE        the endpoint no longer exists: delete it
    SET_ASIDE   the endpoint is not ours to use: keep it, use it no more
    REFUSED     the message itself is wrong: nobody can get it, and nothing is deleted
    UNFIT       what it became for this member cannot be sent; what it becomes for others may
    """

    ACCEPTED = "ACCEPTED"
    AMBIGUOUS = "AMBIGUOUS"
    RETRY = "RETRY"
    GONE = "GONE"
    SET_ASIDE = "SET_ASIDE"
    REFUSED = "REFUSED"
    UNFIT = "UNFIT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """`reason` is the carrier's word for it, for the run's history; `retry_at` comes with RETRY and AMBIGUOUS.

    `asked` is False where the carrier's server was not asked at all: that is no try.
    """

    fate: Fate
    reason: str
    retry_at: datetime | None = None
    asked: bool = True


class Carrier(Protocol):
    """Sends on one channel. One per process; safe to call many times at once."""

    channel: Channel

    async def send(self, message: Message, endpoint: Endpoint, *, now: datetime) -> Outcome:
        """Sends once, without a retry of its own; `now` is the wallet's clock, which a sandbox moves."""
        ...

    async def close(self) -> None:
        """Gives the connections up."""
        ...
