"""How a person becomes a member: enrolled by a partner under its own reference, or signing in.

The member's document is written first and its JOIN entry after it; whoever dies in between is made good by
the next one who looks, since joining has one key per member. An enrolment posts nothing of its own, so its
claim on the caller's key carries the decision (SEMANTICS §1). A referral code counts when it makes the member: he
keeps the one referrer for good, and the same code sent again is no second one (§9.3).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from domain.commands.joining import joining
from domain.ledger.claim import claim_on_key
from domain.ledger.command import Fingerprint, claim_of_key, mismatch
from domain.ledger.commit import Ledger
from domain.members.member import (
    Member,
    Profile,
    is_visible,
    member_by_id,
    member_from,
    new_member_id,
    profile_document,
    reference_key,
)
from domain.members.referral import member_by_referral_code
from domain.problems import IdempotencyMismatch, InvalidInput, invalid
from domain.store.connection import Store
from domain.store.slots import slot_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolled:
    """`is_new` when this key made the member; `replayed` when the key had been used before."""

    member: Member
    is_new: bool
    replayed: bool


async def enrol(
    ledger: Ledger,
    *,
    client_id: str,
    reference: str,
    profile: Profile,
    key: str,
    fingerprint: Fingerprint,
    now: datetime,
    referral_code: str | None = None,
) -> Enrolled | IdempotencyMismatch | InvalidInput:
    """The member of that reference, made if there is none, linked to the partner, with his JOIN entry posted.

    An existing member's profile is his own and stays as it is.
    """
    store, stored_key = ledger.store, f"partner:{client_id}|{key}"
    if (before := await claim_on_key(ledger.journal, stored_key)) is not None:
        return await _again(ledger, before, fingerprint, client_id=client_id)
    member = await _member(
        store,
        {"references": reference_key(client_id, reference)},
        {
            "references": [reference_key(client_id, reference)],
            "linked": [client_id],
            "enrolled_by": stored_key,
        },
        profile=profile,
        referral_code=referral_code,
        now=now,
    )
    if isinstance(member, InvalidInput):
        return member
    claim = {
        "_id": claim_of_key(stored_key),
        "member": member.id,
        "key": f"enrolled|{stored_key}",
        "at": datetime.now(UTC),
        "enrolled": {"digest": fingerprint.digest, "leaves": fingerprint.leaves},
    }
    try:
        await store.claims.insert_one(claim)
    except DuplicateKeyError:
        standing = await store.claims.find_one({"_id": claim["_id"]})
        assert standing is not None, claim["_id"]
        return await _again(ledger, standing, fingerprint, client_id=client_id)
    member = await joined(ledger, member)
    return Enrolled(member=member, is_new=member.enrolled_by == stored_key, replayed=False)


async def member_for_subject(
    ledger: Ledger, *, issuer: str, subject: str, profile: Profile, now: datetime, referral_code: str | None = None
) -> tuple[Member, bool] | InvalidInput:
    """The member who signs in with that identity, made on first sight; and whether he is new."""
    identity, fresh = f"{issuer}|{subject}", new_member_id()
    member = await _member(
        ledger.store,
        {"subjects": identity},
        {"subjects": [identity]},
        profile=profile,
        referral_code=referral_code,
        now=now,
        identifier=fresh,
    )
    if isinstance(member, InvalidInput):
        return member
    return await joined(ledger, member), member.id == fresh


async def joined(ledger: Ledger, member: Member) -> Member:
    """The member with his JOIN entry posted, if it was not yet."""
    if member.is_joined:
        return member
    await ledger.commit(joining(member))
    await ledger.store.members.update_one({"_id": member.id}, {"$set": {"is_joined": True}})
    return replace(member, is_joined=True)


async def _again(
    ledger: Ledger, claim: Mapping[str, Any], fingerprint: Fingerprint, *, client_id: str
) -> Enrolled | IdempotencyMismatch | InvalidInput:
    """What the key came to; a member who has ended the link since then is not shown to the partner again (§9.2)."""
    enrolled = claim.get("enrolled")
    if enrolled is None or enrolled["digest"] != fingerprint.digest:
        stored = Fingerprint(digest="", leaves=enrolled.get("leaves", "") if enrolled else "operation=")
        return mismatch(stored, fingerprint if enrolled else Fingerprint(digest="", leaves=""))
    member = await member_by_id(ledger.store, claim["member"])
    assert member is not None, claim["member"]
    if not is_visible(member, client_id):
        return invalid("idempotencyKey", "The member that it enrolled is no longer linked to you. Use a new key.")
    is_new = claim["key"] == f"enrolled|{member.enrolled_by}"
    return Enrolled(member=await joined(ledger, member), is_new=is_new, replayed=True)


async def _member(
    store: Store,
    known_by: Mapping[str, Any],
    known_as: Mapping[str, Any],
    *,
    profile: Profile,
    referral_code: str | None,
    now: datetime,
    identifier: str | None = None,
) -> Member | InvalidInput:
    """The member known by that, made with it on first sight; of two callers at once both get the one.

    A referral code is wrong that is nobody's, or does not stand for the referrer that he has.
    """
    identifier = identifier or new_member_id()
    referrer = None if referral_code is None else await _referrer(store, known_by, referral_code, profile)
    if isinstance(referrer, InvalidInput):
        return referrer
    fresh = {
        "_id": identifier,
        "slot": slot_of(identifier),
        "joined_at": now,
        "profile": profile_document(profile),
        **known_as,
    }
    if profile.birthday is not None:
        fresh["birthday_due_at"] = now
    if referrer is not None:
        fresh["referrer"] = referrer.id
    inserted = {name: value for name, value in fresh.items() if name not in known_by}
    for _ in range(2):
        try:
            document = await store.members.find_one_and_update(
                {name: {"$in": [value]} for name, value in known_by.items()},
                {"$setOnInsert": {**inserted, **{name: known_as[name] for name in known_by}}},
                upsert=True,
                return_document=ReturnDocument.AFTER,
            )
            assert document is not None, known_by
            member = member_from(document)
            return member if referrer is None or member.referrer == referrer.id else _too_late(member, referrer)
        except DuplicateKeyError:
            continue
    raise AssertionError(known_by)


async def _referrer(store: Store, known_by: Mapping[str, Any], code: str, profile: Profile) -> Member | InvalidInput:
    """Who invites the one who joins with that code; or why he cannot have, or have had, that referrer."""
    referrer = await member_by_referral_code(store, code)
    known = await store.members.find_one(dict(known_by))
    if known is not None:
        member = member_from(known)
        return referrer if referrer is not None and member.referrer == referrer.id else _too_late(member, referrer)
    if referrer is None:
        return invalid(_CODE, "There is no such referral code. Leave it out to join without one.")
    theirs = referrer.profile
    same_email = profile.email is not None and profile.email.casefold() == (theirs.email or "").casefold()
    if same_email or (profile.phone is not None and profile.phone == theirs.phone):
        return invalid(_CODE, "It is the code of the very person who joins. It is for friends; leave it out.")
    return referrer


def _too_late(member: Member, referrer: Member | None) -> InvalidInput:
    if referrer is not None and referrer.id == member.id:
        return invalid(_CODE, "It is the member's own code. It is for friends; leave it out.")
    return invalid(_CODE, JOINED_ALREADY)


_CODE = "profile.referralCode"

JOINED_ALREADY = "The member has joined already; a referral code counts only on joining. Leave it out."
