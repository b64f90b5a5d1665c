"""Sessions: a member signed in on one phone. A refresh token is opaque; only its HMAC is kept.

A session is one family of refresh tokens (DESIGN §5): each is used once and followed by the next.
"""

import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from domain.derived_key import derive_key
from domain.store.connection import Store
from domain.store.slots import slot_of

_PURPOSE: Final = "refresh-token"


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """`refresh_token` is known only now; it cannot be had again."""

    id: str
    member: str
    refresh_token: str


async def begin_session(store: Store, operator_secret: str, *, member: str, now: datetime) -> Session:
    """A new session of the member, with its first refresh token."""
    identifier, token = secrets.token_urlsafe(12), f"rt_{secrets.token_urlsafe(32)}"
    await store.sessions.insert_one(
        {
            "_id": identifier,
            "member": member,
            "slot": slot_of(member),
            "token_hmac": token_hmac(token, operator_secret),
            "began_at": now,
            "used_at": now,
        }
    )
    return Session(id=identifier, member=member, refresh_token=token)


def token_hmac(token: str, operator_secret: str) -> bytes:
    """HMAC-SHA256 of a refresh token, 32 bytes."""
    return hmac.digest(derive_key(operator_secret, _PURPOSE), token.encode(), "sha256")
