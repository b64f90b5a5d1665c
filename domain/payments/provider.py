"""A payment provider, as the wallet needs one: intents, charges of a saved method, refunds, signed events.

The protocol is shaped after Stripe's, since two others of the trade are shaped after it too. Amounts are minor
units of ISO 4217, whatever the provider counts in. Everything that moves money takes a key, and the same key is
the same money however often it is asked for.

    ProviderUnavailable   no answer, or one that says to ask again: nothing is known, use the same key
    Declined              the money was not given; `attempt` of a saved method is over
    SignatureInvalid      a webhook that is not the provider's, or too old
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol

from domain.failure import Failure

TOLERANCE_SECONDS: Final = 300
"""How old a webhook may be (SEMANTICS §6.3), by the machine's clock: who signs it is outside the sandbox's time."""


class ProviderUnavailable(Failure):
    """Whether it happened is not known; the same call with the same key finds out."""


class Declined(Exception):  # noqa: N818 -- says what is the case
    """The payment method gave nothing; `reason` is the provider's code for it."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class SignatureInvalid(Exception):  # noqa: N818 -- says what is the case
    """Not signed with the secret we share, or signed too long ago, or no event at all."""


class IntentStatus(StrEnum):
    OPEN = "OPEN"
    PROCESSING = "PROCESSING"
    SUCCEEDED = "SUCCEEDED"
    CANCELLED = "CANCELLED"


class RefundStatus(StrEnum):
    PENDING = "PENDING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"


class EventKind(StrEnum):
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    REFUND = "REFUND"
    CHARGE_REFUNDED = "CHARGE_REFUNDED"
    DISPUTE = "DISPUTE"
    OTHER = "OTHER"


@dataclass(frozen=True, slots=True, kw_only=True)
class IntentWanted:
    """`top_up` is our id, which comes back with every event. `saves_method` keeps the card for later charges."""

    top_up: str
    amount_minor: int
    currency: str
    customer: str
    saves_method: bool = False
    attempt: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """`amount_minor` is what was asked for, or what was received once it succeeded."""

    id: str
    status: IntentStatus
    amount_minor: int
    currency: str
    created_at: datetime
    client_secret: str | None = None
    method: str | None = None
    top_up: str | None = None
    attempt: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderRefund:
    """`entry` is the TOP_UP_REFUND entry that it was made for; None for one that was made by hand."""

    id: str
    status: RefundStatus
    intent: str | None
    amount_minor: int
    currency: str
    created_at: datetime
    entry: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderEvent:
    """`type` is the provider's own word. An intent's event has `intent`, a refund's `refund`.

    `charged_intent` and `refunded_minor` are of an event that tells of a charge as a whole.
    """

    id: str
    kind: EventKind
    type: str
    intent: Intent | None = None
    refund: ProviderRefund | None = None
    charged_intent: str | None = None
    refunded_minor: int = 0


class Provider(Protocol):
    """All methods but `event` and `close` raise ProviderUnavailable."""

    @property
    def name(self) -> str:
        """`stripe`, `sandbox`: part of the contract of startTopUp, and of the actor of what its webhooks post."""

    async def customer(self, member: str, *, key: str) -> str:
        """The provider's id of a new customer who is known to it by the member's opaque id alone."""

    async def intent(self, wanted: IntentWanted, *, key: str) -> Intent:
        """An intent that the phone confirms with its client secret."""

    async def charge_saved(self, wanted: IntentWanted, *, method: str, key: str) -> Intent:
        """Charge a saved method while the member is away. Raises Declined."""

    async def find_intent(self, identifier: str) -> Intent | None:
        """The intent as it stands, with its client secret; None when the provider knows none of that id."""

    async def cancel(self, identifier: str) -> Intent:
        """The intent cancelled, or as it stands when it cannot be any more."""

    async def refund(self, intent: str, amount_minor: int, currency: str, *, entry: str, key: str) -> ProviderRefund:
        """Back to the instrument that paid. Raises Declined when it can never be."""

    async def find_refund(self, intent: str, *, entry: str) -> ProviderRefund | None:
        """The refund of the intent that was made for that entry, if one was."""

    def succeeded(self, *, since: datetime, until: datetime) -> AsyncIterator[Intent]:
        """The intents created in [since, until) that succeeded."""

    def refunds(self, *, since: datetime, until: datetime) -> AsyncIterator[ProviderRefund]:
        """The refunds created in [since, until), failed ones left out."""

    def event(self, body: bytes, signature: str | None) -> ProviderEvent:
        """The event of a webhook whose signature holds. Raises SignatureInvalid."""

    async def close(self) -> None:
        """Close what is open."""
