"""Sessions: a member's stay on one phone, or a partner app's stay as the member who let it in.

A refresh token is opaque; only its HMAC is kept. A session is one family of refresh tokens (DESIGN §5): each works
once and is followed by the next. A token names its session and its number in it under a seal, so that a used one is
told from an invented one without being kept: who shows a used one ends the family. Within `RETRY_WINDOW` the last used
one gives its successor again, for a phone that lost the answer; the successor is derived from the token itself, so it
need not be kept either.
"""

import hmac
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from domain.derived_key import derive_key
from domain.partners.denial import deny, of_session
from domain.store.connection import Store
from domain.store.slots import slot_of

RETRY_WINDOW: Final = timedelta(seconds=10)
IDLE_LIFE: Final = timedelta(days=60)
WHOLE_LIFE: Final = timedelta(days=365)
MAX_DEVICE_LENGTH: Final = 100
MAX_SESSIONS_SHOWN: Final = 100
_SWEPT_AFTER: Final = IDLE_LIFE + timedelta(days=30)
_ATTEMPTS: Final = 3
_PREFIX: Final = "rt_"
_ID_BYTES: Final = 12
_NUMBER_BYTES: Final = 4
_SECRET_BYTES: Final = 32
_SEAL_BYTES: Final = 16
_TOKEN_BYTES: Final = _ID_BYTES + _NUMBER_BYTES + _SECRET_BYTES + _SEAL_BYTES
_TOKEN_LENGTH: Final = len(_PREFIX) + -(-_TOKEN_BYTES * 4 // 3)


class Refusal(StrEnum):
    """Why a refresh token gives nothing."""

    UNKNOWN = "UNKNOWN"
    EXPIRED = "EXPIRED"
    REUSED = "REUSED"
    ENDED = "ENDED"


class Judgement(StrEnum):
    """What to do with a token that gives something: put the next in its place, or give that once more."""

    ROTATE = "ROTATE"
    REPEAT = "REPEAT"


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshToken:
    """A token that this server made. `text` is what the phone keeps; `number` counts from 0 within `session`."""

    text: str
    session: str
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Delegation:
    """Whose stay it is if it is not the member's own: the app's, with these scopes, by the grant of that nonce."""

    client_id: str
    grant: str
    scopes: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """`refresh_token` is known only now; it cannot be had again."""

    id: str
    member: str
    refresh_token: str
    delegation: Delegation | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A session as it is kept: `number` is that of its one live token, whose HMAC is `token_hmac` (32 bytes).

    `used_at` is when that token was given out, `device` what the phone called itself.
    """

    id: str
    member: str
    number: int
    token_hmac: bytes
    began_at: datetime
    used_at: datetime
    ended_at: datetime | None = None
    device: str | None = None
    delegation: Delegation | None = None

    @property
    def client_id(self) -> str | None:
        """The partner app that it belongs to, None for the member's own."""
        return None if self.delegation is None else self.delegation.client_id

    @property
    def expires_at(self) -> datetime:
        """The first instant at which it cannot be refreshed any more, unless it is refreshed before."""
        return min(self.used_at + IDLE_LIFE, self.began_at + WHOLE_LIFE)

    def is_live(self, now: datetime) -> bool:
        return self.ended_at is None and now < self.expires_at

    def holds(self, text: str, operator_secret: str, *, now: datetime) -> bool:
        """Whether that is its live token, which would give the next one."""
        return self.is_live(now) and hmac.compare_digest(token_hmac(text, operator_secret), self.token_hmac)


def read_token(text: str, operator_secret: str) -> RefreshToken | None:
    """The token of this text; None for one that this server did not make."""
    if len(text) != _TOKEN_LENGTH or not text.startswith(_PREFIX) or not text.isascii():
        return None
    try:
        content = urlsafe_b64decode(text[len(_PREFIX) :] + "==")
    except ValueError:
        return None
    sealed, seal = content[:-_SEAL_BYTES], content[-_SEAL_BYTES:]
    if not hmac.compare_digest(seal, _seal(sealed, operator_secret)) or _text(content) != text:
        return None
    number = int.from_bytes(sealed[_ID_BYTES : _ID_BYTES + _NUMBER_BYTES], "big")
    return RefreshToken(text=text, session=urlsafe_b64encode(sealed[:_ID_BYTES]).decode(), number=number)


def first_token(operator_secret: str) -> RefreshToken:
    """The first token of a new family."""
    return _token(secrets.token_bytes(_ID_BYTES), 0, secrets.token_bytes(_SECRET_BYTES), operator_secret)


def successor(token: RefreshToken, operator_secret: str) -> RefreshToken:
    """The one token that follows; whoever knows the operator's secret and the token can make it again."""
    secret = hmac.digest(derive_key(operator_secret, "refresh-successor"), token.text.encode(), "sha256")
    return _token(urlsafe_b64decode(token.session), token.number + 1, secret, operator_secret)


def token_hmac(token: str, operator_secret: str) -> bytes:
    """HMAC-SHA256 of a refresh token, 32 bytes."""
    return hmac.digest(derive_key(operator_secret, "refresh-token"), token.encode(), "sha256")


def judge(token: RefreshToken, family: Family, *, operator_secret: str, now: datetime) -> Judgement | Refusal:
    """What the token is worth at `now`. Pure; the whole decision."""
    if family.ended_at is not None:
        return Refusal.ENDED
    if not family.is_live(now):
        return Refusal.EXPIRED
    if token.number == family.number:
        shown = token_hmac(token.text, operator_secret)
        return Judgement.ROTATE if hmac.compare_digest(shown, family.token_hmac) else Refusal.UNKNOWN
    if token.number > family.number:
        # Sealed by us and from a future that the database does not know: it was restored from a backup.
        return Refusal.UNKNOWN
    if token.number == family.number - 1 and now < family.used_at + RETRY_WINDOW:
        return Judgement.REPEAT
    return Refusal.REUSED


async def begin_session(
    store: Store,
    operator_secret: str,
    *,
    member: str,
    now: datetime,
    device: str | None = None,
    delegation: Delegation | None = None,
) -> Session:
    """A new session of the member, or of an app as him, with its first refresh token."""
    token = first_token(operator_secret)
    await store.sessions.insert_one(
        {
            "_id": token.session,
            "member": member,
            "slot": slot_of(member),
            "number": token.number,
            "token_hmac": token_hmac(token.text, operator_secret),
            "began_at": now,
            "used_at": now,
            "kept_until": _kept_until(),
            **({} if device is None else {"device": device}),
            **({} if delegation is None else _delegation_document(delegation)),
        }
    )
    return Session(id=token.session, member=member, refresh_token=token.text, delegation=delegation)


async def refresh_session(
    store: Store, operator_secret: str, text: str, *, now: datetime, client_id: str | None = None
) -> Session | Refusal:
    """The session with its next refresh token, or why not. A used token ends the session.

    `client_id` is the app that shows the token, None for the member's phone; another's token is unknown to it.

    Of any number of callers with one token at once, one moves the session on; the others find it moved and are given
    the same successor.
    """
    token = read_token(text, operator_secret)
    if token is None:
        return Refusal.UNKNOWN
    for _ in range(_ATTEMPTS):
        family = await _family(store, token.session)
        if family is None:
            return Refusal.ENDED
        if family.client_id != client_id:
            return Refusal.UNKNOWN
        judgement = judge(token, family, operator_secret=operator_secret, now=now)
        if judgement is Refusal.REUSED:
            await end_session(store, family.id, now=now, because=Refusal.REUSED)
        if isinstance(judgement, Refusal):
            return judgement
        follower = successor(token, operator_secret)
        if judgement is Judgement.ROTATE:
            moved = await _move_on(store, family, follower, operator_secret=operator_secret, now=now)
        else:
            moved = hmac.compare_digest(token_hmac(follower.text, operator_secret), family.token_hmac)
            if not moved:
                return Refusal.UNKNOWN
        if moved:
            return Session(
                id=family.id, member=family.member, refresh_token=follower.text, delegation=family.delegation
            )
    raise AssertionError("a session that another caller moves on again and again gives no successor to this token")


async def sign_out(store: Store, operator_secret: str, text: str, *, now: datetime) -> bool:
    """Ends the session of any of its tokens, used or not.

    True when it has ended, now or before; False for a text that is no token of this server.
    """
    token = read_token(text, operator_secret)
    if token is None:
        return False
    await end_session(store, token.session, now=now)
    return True


async def family_of(store: Store, operator_secret: str, text: str) -> Family | None:
    """The session that a refresh token belongs to, whether or not the token still works; None for no such token."""
    token = read_token(text, operator_secret)
    return None if token is None else await _family(store, token.session)


async def end_session(
    store: Store, identifier: str, *, now: datetime, member: str | None = None, because: Refusal = Refusal.ENDED
) -> bool:
    """Ends the session for good, and its access tokens within seconds (domain.partners.denial).

    With `member`, only if it is his own. Whether there is such a session, ended or not.
    """
    whose = {"_id": identifier} if member is None else {"_id": identifier, "member": member, "client": None}
    if await store.sessions.find_one(whose, {"_id": True}) is None:
        return False
    await deny(store, of_session(identifier), now=now)
    ended = await store.sessions.find_one_and_update(
        whose,
        [
            {
                "$set": {
                    "ended_at": {"$ifNull": ["$ended_at", now]},
                    "ended_because": {"$ifNull": ["$ended_because", because.value]},
                }
            }
        ],
        projection={"_id": True},
    )
    return ended is not None


async def live_sessions(store: Store, member: str, *, now: datetime) -> list[Family]:
    """The member's sessions that can be refreshed at `now`, the last used first; at most `MAX_SESSIONS_SHOWN`."""
    query = {"member": member, "client": None, "ended_at": None, "used_at": {"$gt": now - IDLE_LIFE}}
    found = store.sessions.find(query).sort([("used_at", -1), ("_id", 1)]).limit(MAX_SESSIONS_SHOWN)
    families = [_family_from(document) async for document in found]
    return [family for family in families if family.is_live(now)]


async def ended_sessions(store: Store, identifiers: Collection[str]) -> set[str]:
    """Those of the sessions that have ended."""
    if not identifiers:
        return set()
    ended = store.sessions.find({"_id": {"$in": list(identifiers)}, "ended_at": {"$exists": True}}, {"_id": True})
    return {document["_id"] async for document in ended}


async def _family(store: Store, identifier: str) -> Family | None:
    document = await store.sessions.find_one({"_id": identifier})
    return None if document is None else _family_from(document)


async def _move_on(
    store: Store, family: Family, follower: RefreshToken, *, operator_secret: str, now: datetime
) -> bool:
    """Puts the follower in the place of the live token, unless another caller did so or ended the session."""
    moved = await store.sessions.update_one(
        {"_id": family.id, "number": family.number, "ended_at": None},
        {
            "$set": {
                "number": follower.number,
                "token_hmac": token_hmac(follower.text, operator_secret),
                "used_at": max(now, family.used_at),
                "kept_until": _kept_until(),
            }
        },
    )
    return moved.matched_count == 1


def _family_from(document: Mapping[str, Any]) -> Family:
    return Family(
        id=document["_id"],
        member=document["member"],
        number=document["number"],
        token_hmac=bytes(document["token_hmac"]),
        began_at=document["began_at"],
        used_at=document["used_at"],
        ended_at=document.get("ended_at"),
        device=document.get("device"),
        delegation=_delegation_from(document),
    )


def _delegation_document(delegation: Delegation) -> dict[str, Any]:
    return {"client": delegation.client_id, "grant": delegation.grant, "scopes": sorted(delegation.scopes)}


def _delegation_from(document: Mapping[str, Any]) -> Delegation | None:
    if "client" not in document:
        return None
    return Delegation(client_id=document["client"], grant=document["grant"], scopes=frozenset(document["scopes"]))


def _token(identifier: bytes, number: int, secret: bytes, operator_secret: str) -> RefreshToken:
    sealed = identifier + number.to_bytes(_NUMBER_BYTES, "big") + secret
    text = _text(sealed + _seal(sealed, operator_secret))
    return RefreshToken(text=text, session=urlsafe_b64encode(identifier).decode(), number=number)


def _text(content: bytes) -> str:
    return _PREFIX + urlsafe_b64encode(content).decode().rstrip("=")


def _seal(content: bytes, operator_secret: str) -> bytes:
    return hmac.digest(derive_key(operator_secret, "refresh-seal"), content, "sha256")[:_SEAL_BYTES]


def _kept_until() -> datetime:
    """By real time, as the server cleans up; a sandbox's clock runs no slower, so nothing live goes."""
    return datetime.now(UTC) + _SWEPT_AFTER
