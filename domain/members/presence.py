"""The code at the till, and presence: that the member stands there (SEMANTICS §9.2).

The member's screen shows a code that is new every 30 seconds. It is accepted for its own step and the two
after it, and belongs to the first partner that shows it: any other finds nobody. Showing it links the partner
to the member, and for the next 15 minutes the member is present to that partner, so that it may take value.

A code is eight digits to say aloud, or the text of a QR picture, which holds the digits, their step and a
MAC. The digits follow from the operator's secret, the member and the step, so asking twice shows one code;
no two that are live are equal. All of it goes by the one clock; indexes only clean up.
"""

import asyncio
import hmac
import re
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from weakref import WeakValueDictionary

from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from domain.derived_key import derive_key
from domain.members.grant import grants_scope
from domain.members.member import Member, member_from
from domain.members.wrong_code import note_wrong_code, slowed_until
from domain.problems import NotEligible
from domain.store.codec import epoch_ms, from_epoch_ms
from domain.store.connection import Store

STEP_SECONDS: Final = 30
STEPS: Final = 3
PRESENT_FOR: Final = timedelta(minutes=15)
MOST_WRONG: Final = 20
"""Wrong digits a minute before a client is slowed: it may be a chain with a hundred tills and some mistyping."""

_DIGITS: Final = 8
_DRAWS: Final = 20
_KEPT_FOR: Final = timedelta(hours=1)
_KIND: Final = "member"
_PURPOSE: Final = "member-code"
_SAID: Final = re.compile(r"[0-9]{8}", re.ASCII)
_SHOWN: Final = re.compile(r"mw1\.([0-9]{8})\.([0-9]{1,12})\.([A-Za-z0-9_-]{22})", re.ASCII)
_SEPARATORS: Final = str.maketrans("", "", " -")


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """`payload` is the text for a QR picture. `expires_at` is the first instant at which neither is accepted."""

    payload: str
    digits: str
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """A code as somebody sent it; `step` is None for digits alone, which may have been guessed."""

    digits: str
    step: int | None


def step_of(now: datetime) -> int:
    """The number of the 30 seconds that the instant lies in."""
    return epoch_ms(now) // (STEP_SECONDS * 1000)


async def code_of(store: Store, member: str, *, operator_secret: str, now: datetime) -> Code:
    """The member's code of this step, the same however often it is asked for."""
    key, step = derive_key(operator_secret, _PURPOSE), step_of(now)
    expires_at = from_epoch_ms((step + STEPS) * STEP_SECONDS * 1000)
    for draw in range(_DRAWS):
        digits = _digits(key, member, step, draw)
        code = {"_id": digits, "member": member, "step": step, "expires_at": expires_at, "kept_until": _kept_until()}
        try:
            await store.codes.replace_one({"_id": digits, "expires_at": {"$lte": now}}, code, upsert=True)
        except DuplicateKeyError:
            if await store.codes.find_one({"_id": digits, "member": member, "step": step}) is None:
                continue
        return Code(payload=_payload(key, digits, step), digits=digits, expires_at=expires_at)
    raise AssertionError(f"{_DRAWS} draws of digits were all taken")


async def show_code(
    store: Store, text: str, *, client_id: str, operator_secret: str, now: datetime, only: str | None = None
) -> Member | None:
    """The member whose live code it is, present and linked to that partner from now on; None for all else.

    With `only`, a member's id, nobody else is found. Digits that nobody has count as a guess: who tries too
    many of them finds nobody for a while.
    """
    member = await _read_by(store, text, client_id=client_id, operator_secret=operator_secret, now=now, only=only)
    return None if member is None else await _arrive(store, member, client_id=client_id, now=now)


async def show_to_member(store: Store, text: str, *, reader: str, operator_secret: str, now: datetime) -> str | None:
    """The id of the member whose live code another member reads off his screen; nobody is linked or present by it.

    It belongs to that reader from then on, as it would to a partner, and guesses are counted alike.
    """
    as_client = f"member:{reader}"
    return await _read_by(store, text, client_id=as_client, operator_secret=operator_secret, now=now, only=None)


async def may_take_value(store: Store, member: str, *, client_id: str, scope: str, now: datetime) -> bool:
    """Whether that partner may take value from the member: he is present, or granted it that scope."""
    return await is_present(store, member, client_id=client_id, now=now) or await grants_scope(
        store, member, client_id=client_id, scope=scope
    )


def presence_needed() -> NotEligible:
    """What is answered in place of taking value; it is not kept, so the same key may be sent with the code."""
    return NotEligible(
        message="The member must first show you a current code, or let your app in with this scope.",
        reason="PRESENCE_NEEDED",
    )


async def is_present(store: Store, member: str, *, client_id: str, now: datetime) -> bool:
    """Whether the member's code was shown to that partner within the last 15 minutes."""
    found = await store.presences.find_one({"_id": f"{member}|{client_id}", "shown_at": {"$gt": now - PRESENT_FOR}})
    return found is not None


async def _read_by(
    store: Store, text: str, *, client_id: str, operator_secret: str, now: datetime, only: str | None
) -> str | None:
    read = _read(text, derive_key(operator_secret, _PURPOSE))
    if read is None:
        return None
    if read.step is not None:
        return await _claim(store, read, client_id=client_id, now=now, only=only)
    async with _one_by_one.setdefault((id(store), client_id), asyncio.Lock()):
        return await _guess(store, read, client_id=client_id, now=now, only=only)


async def _guess(store: Store, read: _Read, *, client_id: str, now: datetime, only: str | None) -> str | None:
    """As `_claim`, but not for a client that guesses; one at a time per client, so that no burst slips through."""
    if await slowed_until(store, client_id, kind=_KIND, most=MOST_WRONG, now=now) is not None:
        return None
    member = await _claim(store, read, client_id=client_id, now=now, only=only)
    if member is None and await store.codes.find_one({"_id": read.digits}) is None:
        await note_wrong_code(store, client_id, kind=_KIND, now=now)
    return member


async def _claim(store: Store, read: _Read, *, client_id: str, now: datetime, only: str | None) -> str | None:
    """The id of the member whose live code it is, if it is this partner's or nobody's yet; then it is this one's."""
    wanted: dict[str, Any] = {
        "_id": read.digits,
        "expires_at": {"$gt": now},
        "shown_to": {"$in": [None, client_id]},
    }
    if read.step is not None:
        wanted["step"] = read.step
    if only is not None:
        wanted["member"] = only
    code = await store.codes.find_one_and_update(wanted, {"$set": {"shown_to": client_id}})
    return None if code is None else str(code["member"])


async def _arrive(store: Store, member: str, *, client_id: str, now: datetime) -> Member | None:
    """Link the partner and note the presence; the member, if he is still there."""
    document, _ = await asyncio.gather(
        store.members.find_one_and_update(
            {"_id": member}, {"$addToSet": {"linked": client_id}}, return_document=ReturnDocument.AFTER
        ),
        store.presences.update_one(
            {"_id": f"{member}|{client_id}"},
            {"$max": {"shown_at": now}, "$set": {"member": member, "kept_until": _kept_until()}},
            upsert=True,
        ),
    )
    return None if document is None else member_from(document)


def _read(text: str, key: bytes) -> _Read | None:
    """The code in a text; None if it is not a code, or was not made with this key."""
    said = text.translate(_SEPARATORS)
    if _SAID.fullmatch(said):
        return _Read(digits=said, step=None)
    shown = _SHOWN.fullmatch(text)
    if shown is None or not hmac.compare_digest(text, _payload(key, shown[1], int(shown[2]))):
        return None
    return _Read(digits=shown[1], step=int(shown[2]))


def _digits(key: bytes, member: str, step: int, draw: int) -> str:
    drawn = hmac.digest(key, f"digits|{member}|{step}|{draw}".encode(), "sha256")
    return f"{int.from_bytes(drawn[:8]) % 10**_DIGITS:0{_DIGITS}}"


def _payload(key: bytes, digits: str, step: int) -> str:
    mac = hmac.digest(key, f"payload|{digits}|{step}".encode(), "sha256")[:16]
    return f"mw1.{digits}.{step}.{urlsafe_b64encode(mac).decode().rstrip('=')}"


def _kept_until() -> datetime:
    """By real time, as the server cleans up; a sandbox's clock runs no slower, so nothing live goes."""
    return datetime.now(UTC) + _KEPT_FOR


_one_by_one: WeakValueDictionary[tuple[int, str], asyncio.Lock] = WeakValueDictionary()
"""For each store and client, who may try digits."""
