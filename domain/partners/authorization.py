"""Authorization codes: what a partner app trades for tokens, once, after a member let it in (RFC 6749 §4.1, RFC 7636).

A code holds for a minute of the wallet's clock, for the one client and address that it was made for, and for whoever
knows the verifier of its challenge. Shown a second time it ends what it gave the first time. Only its hash is kept.
"""

import hashlib
import hmac
import re
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from domain.members.grant import Grant, find_grant
from domain.members.session import Delegation, Session, begin_session, end_session
from domain.store.connection import Store

CODE_LIFE: Final = timedelta(seconds=60)
_CODE_BYTES: Final = 32
_SWEPT_AFTER: Final = timedelta(days=30)
_LONGEST: Final = 200
_CHALLENGE: Final = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)
_VERIFIER: Final = re.compile(r"[A-Za-z0-9._~-]{43,128}", re.ASCII)


class CodeRefusal(StrEnum):
    """Why a code gives nothing."""

    UNKNOWN = "UNKNOWN"
    USED = "USED"
    EXPIRED = "EXPIRED"
    ADDRESS_DIFFERS = "ADDRESS_DIFFERS"
    VERIFIER_WRONG = "VERIFIER_WRONG"


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorization:
    """What a code stands for. `session` is what its first use gave, None before."""

    member: str
    client_id: str
    redirect_uri: str
    challenge: str
    scopes: frozenset[str]
    grant: str
    expires_at: datetime
    session: str | None = None


def is_challenge(text: str) -> bool:
    """Whether it is one that S256 makes: 32 bytes as base64url without padding."""
    return _CHALLENGE.fullmatch(text) is not None


def challenge_of(verifier: str) -> str | None:
    """The challenge of a verifier by S256 (RFC 7636 §4.2); None for a text that is no verifier."""
    if not _VERIFIER.fullmatch(verifier):
        return None
    return urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def judge_code(
    authorization: Authorization, *, client_id: str, redirect_uri: str, verifier: str, now: datetime
) -> CodeRefusal | None:
    """What keeps the code from being traded, or None. Pure. Another client is told as little as of no code at all."""
    if authorization.client_id != client_id:
        return CodeRefusal.UNKNOWN
    if authorization.session is not None:
        return CodeRefusal.USED
    if now >= authorization.expires_at:
        return CodeRefusal.EXPIRED
    if not hmac.compare_digest(authorization.redirect_uri.encode(), redirect_uri.encode()):
        return CodeRefusal.ADDRESS_DIFFERS
    challenge = challenge_of(verifier)
    if challenge is None or not hmac.compare_digest(challenge, authorization.challenge):
        return CodeRefusal.VERIFIER_WRONG
    return None


async def make_code(
    store: Store, grant: Grant, *, scopes: frozenset[str], redirect_uri: str, challenge: str, now: datetime
) -> tuple[str, datetime]:
    """A code for these scopes of the grant, and the first instant at which it no longer holds."""
    code, expires_at = secrets.token_urlsafe(_CODE_BYTES), now + CODE_LIFE
    await store.authorizations.insert_one(
        {
            "_id": _hash(code),
            "member": grant.member,
            "client": grant.client_id,
            "redirect_uri": redirect_uri,
            "challenge": challenge,
            "scopes": sorted(scopes),
            "grant": grant.nonce,
            "expires_at": expires_at,
            "kept_until": datetime.now(UTC) + _SWEPT_AFTER,
        }
    )
    return code, expires_at


async def trade_code(
    store: Store,
    operator_secret: str,
    code: str,
    *,
    client_id: str,
    redirect_uri: str,
    verifier: str,
    now: datetime,
) -> Session | CodeRefusal:
    """The app's stay as the member, with its first refresh token; or why not.

    The session is made before the code is claimed, so that whoever comes second always finds what to end.
    """
    identifier = _hash(code[:_LONGEST])
    document = await store.authorizations.find_one({"_id": identifier})
    if document is None:
        return CodeRefusal.UNKNOWN
    found = _authorization_from(document)
    refusal = judge_code(found, client_id=client_id, redirect_uri=redirect_uri, verifier=verifier, now=now)
    if refusal is CodeRefusal.USED:
        await _end_first(store, found, now=now)
    if refusal is not None:
        return refusal
    grant = await find_grant(store, found.member, client_id=client_id, nonce=found.grant)
    if grant is None:
        return CodeRefusal.UNKNOWN
    delegation = Delegation(client_id=client_id, grant=grant.nonce, scopes=found.scopes)
    session = await begin_session(store, operator_secret, member=found.member, now=now, delegation=delegation)
    claimed = await store.authorizations.find_one_and_update(
        {"_id": identifier, "session": {"$exists": False}}, {"$set": {"session": session.id}}
    )
    if claimed is None:
        await store.sessions.delete_one({"_id": session.id})
        first = await store.authorizations.find_one({"_id": identifier})
        if first is not None:
            await _end_first(store, _authorization_from(first), now=now)
        return CodeRefusal.USED
    return session


async def _end_first(store: Store, authorization: Authorization, *, now: datetime) -> None:
    assert authorization.session is not None
    await end_session(store, authorization.session, now=now)


def _hash(code: str) -> str:
    return hashlib.sha256(code.encode()).hexdigest()


def _authorization_from(document: Mapping[str, Any]) -> Authorization:
    return Authorization(
        member=document["member"],
        client_id=document["client"],
        redirect_uri=document["redirect_uri"],
        challenge=document["challenge"],
        scopes=frozenset(document["scopes"]),
        grant=document["grant"],
        expires_at=document["expires_at"],
        session=document.get("session"),
    )
