"""Unsubscribing by one click in the mail program (RFC 8058): the address in a message, and what a click does.

The address names the message and is signed, so nobody can make one, and it tells nothing of the member. Whoever has it
may use it as often as he likes; what it does is to withdraw the MARKETING consent of the member whom it was sent to.
"""

import hmac
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from domain.derived_key import derive_key
from domain.members.consent import ConsentPurpose
from domain.settings import Settings
from domain.store.connection import Store
from notifications.delivery import delivery_of
from notifications.withdrawal import give_or_withdraw

PATH: Final = "/unsubscribe"
ONE_CLICK: Final = "one-click"
"""The version of the words under which the consent is withdrawn: there were none."""
_MAC_BYTES: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsubscribeLinks:
    """The addresses below `url`, signed with `key`."""

    url: str
    key: bytes = field(repr=False)

    def of(self, delivery: str) -> str:
        """The address that leaves what the message of that id was a part of."""
        return f"{self.url}{PATH}/{delivery}.{self._mac(delivery)}"

    def delivery_of(self, token: str) -> str | None:
        """The id of the message whose address ends with the token; None for what we never signed."""
        delivery, dot, mac = token.rpartition(".")
        is_ours = hmac.compare_digest(mac.encode(), self._mac(delivery).encode())
        return delivery if dot and is_ours else None

    def _mac(self, delivery: str) -> str:
        return urlsafe_b64encode(hmac.digest(self.key, delivery.encode(), "sha256")[:_MAC_BYTES]).decode().rstrip("=")


def unsubscribe_links(settings: Settings) -> UnsubscribeLinks:
    """Those of the settings' public address."""
    return UnsubscribeLinks(url=settings.public_url, key=derive_key(settings.secret, "unsubscribe"))


async def unsubscribe(store: Store, delivery: str, *, now: datetime) -> None:
    """Withdraws the MARKETING consent of the member whose message it was; nothing if he no longer exists."""
    found = await delivery_of(store, delivery)
    if found is not None:
        await give_or_withdraw(
            store, found.member, ConsentPurpose.MARKETING, is_granted=False, version=ONE_CLICK, now=now
        )
