"""Referral codes: how a member invites friends, and whom a code stands for (SEMANTICS §9.3).

A code is made when it is first asked for and is the member's for good. It has eight characters that nobody takes
for each other, 39 random bits: short enough to say aloud, and knowing one gives nobody anything.
"""

import secrets
from typing import Final

from pymongo.errors import DuplicateKeyError

from domain.members.member import Member, member_from
from domain.store.connection import Store

ALPHABET: Final = "23456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Without 0 and O, 1, I and L, U (which sounds like V's neighbour)."""

_LENGTH: Final = 8
_DRAWS: Final = 20
_SEPARATORS: Final = str.maketrans("", "", " -")


def normal_referral_code(text: str) -> str | None:
    """The code as stored (``ABCD-2345``), however it was typed; None if it is not a code."""
    plain = text.upper().translate(_SEPARATORS)
    if len(plain) != _LENGTH or any(character not in ALPHABET for character in plain):
        return None
    return f"{plain[:4]}-{plain[4:]}"


async def referral_code_of(store: Store, member: str) -> str:
    """The member's code, the same for ever."""
    for _ in range(_DRAWS):
        document = await store.members.find_one({"_id": member}, {"referral_code": 1})
        assert document is not None, member
        if "referral_code" in document:
            return str(document["referral_code"])
        code = normal_referral_code("".join(secrets.choice(ALPHABET) for _ in range(_LENGTH)))
        try:
            wanted = {"_id": member, "referral_code": {"$exists": False}}
            await store.members.update_one(wanted, {"$set": {"referral_code": code}})
        except DuplicateKeyError:
            continue
    raise AssertionError(f"{_DRAWS} draws of a referral code were all taken")


async def member_by_referral_code(store: Store, code: str) -> Member | None:
    """Whose code it is, however it was typed."""
    normal = normal_referral_code(code)
    document = None if normal is None else await store.members.find_one({"referral_code": normal})
    return None if document is None else member_from(document)


async def invited_by(store: Store, member: str) -> int:
    """How many members joined by his code."""
    return await store.members.count_documents({"referrer": member})
