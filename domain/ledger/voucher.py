"""A voucher as the wallet holds it: active, with a code that is shown at a till.

Ended vouchers leave the wallet; the journal remembers them, and a projection by code and by member, which
the journal can rebuild, is what they are looked up in (DESIGN §2). A code is Crockford base32, 4-4-4, its
last character a check over the others (SEMANTICS §5.5).
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from domain.ledger.lot import Allocation, allocation_documents, allocations_from

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_LOOKALIKES = str.maketrans({"O": "0", "I": "1", "L": "1"})
_GAPS = re.compile(r"[\s_\u00ad\u200b\u2010-\u2015\u2212\ufeff-]+")
"""What stands between characters when a code is typed, pasted or scanned: white space and every kind of dash."""
_RANDOM_CHARACTERS = 11


class VoucherStatus(StrEnum):
    """The contract's enumeration."""

    ACTIVE = "ACTIVE"
    USED = "USED"
    EXPIRED = "EXPIRED"
    CANCELLED = "CANCELLED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Voucher:
    """An active voucher. `definition` names its kind in the programme, `reward` what points were spent on, if any.

    `paid` is what was taken from which lot of points, in order; `returns_points` says that they come back when it
    expires unused, `is_limited` that a piece of the reward's stock went with it. `issued_on` is the programme's day.
    `keeps_from_minor` is the least that must remain of the purchase that awarded it (SEMANTICS §4.4), None if it
    was not awarded by a purchase. `sku` narrows a same-item offer.
    """

    id: str
    code: str
    definition: str
    issued_at: datetime
    issued_on: str
    expires_at: datetime | None = None
    reward: str | None = None
    paid: tuple[Allocation, ...] = ()
    returns_points: bool = False
    is_limited: bool = False
    keeps_from_minor: int | None = None
    sku: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VoucherEnd:
    """A voucher that an entry ended: used (on `receipt`), expired or cancelled."""

    id: str
    status: VoucherStatus
    receipt: str | None = None


def voucher_id(entry_id: str, number: int) -> str:
    """The id of the n-th voucher (from 0) that an entry issued; the member stands in it."""
    return f"{entry_id}.v{number}"


def entry_of_voucher(identifier: str) -> str | None:
    """The id of the entry that issued the voucher, or None if it is not a voucher's id."""
    entry, dot, number = identifier.rpartition(".v")
    return entry if dot and number.isascii() and number.isdigit() else None


def code_from(seed: bytes, identifier: str) -> str:
    """The code of a voucher: 55 bits drawn from the command's random seed, and a check character."""
    bits = int.from_bytes(hashlib.sha256(seed + identifier.encode()).digest()[:8], "big")
    body = "".join(ALPHABET[(bits >> (5 * position)) & 31] for position in range(_RANDOM_CHARACTERS))
    text = body + _check_character(body)
    return f"{text[:4]}-{text[4:8]}-{text[8:]}"


def normal_code(text: str) -> str | None:
    """The code as stored, however it was typed; None when its form or its check character is wrong."""
    plain = _GAPS.sub("", text).upper().translate(_LOOKALIKES)
    if len(plain) != _RANDOM_CHARACTERS + 1 or any(character not in ALPHABET for character in plain):
        return None
    if _check_character(plain[:-1]) != plain[-1]:
        return None
    return f"{plain[:4]}-{plain[4:8]}-{plain[8:]}"


def voucher_document(voucher: Voucher) -> dict[str, Any]:
    """The voucher as entries and wallets store it."""
    document = {
        name: value
        for name in Voucher.__slots__
        if (value := getattr(voucher, name)) not in (None, (), False) and name != "paid"
    }
    if voucher.paid:
        document["paid"] = allocation_documents(voucher.paid)
    return document


def voucher_from(document: Mapping[str, Any]) -> Voucher:
    """The voucher that :func:`voucher_document` wrote."""
    return Voucher(**{**document, "paid": allocations_from(document.get("paid", ()))})


def voucher_end_document(end: VoucherEnd) -> dict[str, Any]:
    """The end of a voucher as an entry stores it."""
    document = {"id": end.id, "status": end.status.value}
    return document if end.receipt is None else {**document, "receipt": end.receipt}


def voucher_end_from(document: Mapping[str, Any]) -> VoucherEnd:
    """The end of a voucher as an entry stored it."""
    return VoucherEnd(**{**document, "status": VoucherStatus(document["status"])})


def _check_character(body: str) -> str:
    """A sum over the field of 32 elements with a weight of its own for each place, the check character's being 1.

    So every wrong character is noticed, and every two that changed places.
    """
    total = 0
    for character in body:
        total = _times_root(total ^ ALPHABET.index(character))
    return ALPHABET[total]


def _times_root(element: int) -> int:
    """Times a root of x^5 + x^2 + 1, whose powers are all 31 elements but zero."""
    doubled = element << 1
    return doubled ^ 0b100101 if doubled & 0b100000 else doubled
