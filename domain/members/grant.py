"""A grant: the scopes that a member gave a partner app when he let it in, until he takes them back (SEMANTICS §9.2).

There is one for each member and partner; letting the app in again adds scopes to it. Codes and refresh tokens belong
to the grant that they were given by, named by its `nonce`: taking the grant back ends them all with one delete,
and a later grant does not revive them.
"""

import secrets
from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from pymongo import ReturnDocument

from domain.partners.denial import deny, of_grant
from domain.store.connection import Store

MAX_APPS_SHOWN: Final = 100
USE_NOTED_EVERY: Final = timedelta(minutes=5)
GRANTS_KNOWN: Final = 10_000
_NONCE_BYTES: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """`used_at` is when the app last did something as the member, known to within five minutes."""

    member: str
    client_id: str
    nonce: str
    scopes: frozenset[str]
    granted_at: datetime
    used_at: datetime | None = None


async def let_in(store: Store, member: str, *, client_id: str, scopes: Collection[str], now: datetime) -> Grant:
    """The member's grant to that partner with these scopes in it; the partner is linked to him from now on."""
    document = await store.grants.find_one_and_update(
        {"_id": grant_id(member, client_id)},
        {
            "$addToSet": {"scopes": {"$each": sorted(scopes)}},
            "$setOnInsert": {
                "member": member,
                "client": client_id,
                "nonce": secrets.token_urlsafe(_NONCE_BYTES),
                "granted_at": now,
            },
        },
        upsert=True,
        return_document=ReturnDocument.AFTER,
    )
    await store.members.update_one({"_id": member}, {"$addToSet": {"linked": client_id}})
    assert document is not None, client_id
    return _grant_from(document)


async def connected(store: Store, member: str) -> list[Grant]:
    """The member's grants, the newest first; at most `MAX_APPS_SHOWN`."""
    found = store.grants.find({"member": member}).sort([("granted_at", -1), ("_id", 1)]).limit(MAX_APPS_SHOWN)
    return [_grant_from(document) async for document in found]


async def find_grant(store: Store, member: str, *, client_id: str, nonce: str) -> Grant | None:
    """That very grant, unless it was taken back."""
    document = await store.grants.find_one({"_id": grant_id(member, client_id), "nonce": nonce})
    return None if document is None else _grant_from(document)


async def take_back(store: Store, member: str, *, client_id: str, now: datetime) -> None:
    """Ends all that ties the partner to the member: grant, tokens, codes, presence, its reference to him, the link.

    There need not have been any; done again it finishes what was cut short.
    """
    document = await store.grants.find_one({"_id": grant_id(member, client_id)})
    if document is not None:
        await deny(store, of_grant(document["nonce"]), now=now)
        await store.grants.delete_one({"_id": document["_id"]})
    record = await store.members.find_one({"_id": member}, {"references": True})
    held = () if record is None else record.get("references", ())
    references = [each for each in held if each.startswith(f"{client_id}:")]
    remains: dict[str, Any] = {"$pull": {"linked": client_id}}
    if references and len(references) == len(held):
        # An empty array would be a value in the unique index.
        remains["$unset"] = {"references": ""}
    elif references:
        remains["$pull"]["references"] = {"$in": references}
    await store.members.update_one({"_id": member}, remains)
    await store.presences.delete_one({"_id": f"{member}|{client_id}"})
    await store.sessions.delete_many({"member": member, "client": client_id})
    await store.authorizations.delete_many({"member": member, "client": client_id})


async def grants_scope(store: Store, member: str, *, client_id: str, scope: str) -> bool:
    """Whether the member gave that partner that scope."""
    return await store.grants.find_one({"_id": grant_id(member, client_id), "scopes": scope}) is not None


def grant_id(member: str, client_id: str) -> str:
    """The id of the one grant that a member can give a partner."""
    return f"{member}|{client_id}"


class GrantUse:
    """Notes that a grant is used, with at most one write for each grant in five minutes from this process."""

    def __init__(self, store: Store) -> None:
        self._grants = store.grants
        self._noted: OrderedDict[str, datetime] = OrderedDict()

    async def note(self, member: str, *, client_id: str, now: datetime) -> None:
        """The app acts as the member at `now`."""
        identifier = grant_id(member, client_id)
        noted = self._noted.get(identifier)
        if noted is not None and timedelta() <= now - noted < USE_NOTED_EVERY:
            return
        self._noted[identifier] = now
        self._noted.move_to_end(identifier)
        if len(self._noted) > GRANTS_KNOWN:
            self._noted.popitem(last=False)
        await self._grants.update_one({"_id": identifier}, {"$max": {"used_at": now}})


def _grant_from(document: Mapping[str, Any]) -> Grant:
    return Grant(
        member=document["member"],
        client_id=document["client"],
        nonce=document["nonce"],
        scopes=frozenset(document["scopes"]),
        granted_at=document["granted_at"],
        used_at=document.get("used_at"),
    )
