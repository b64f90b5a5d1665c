"""What is looked up across members: vouchers by code, and a member's vouchers ended and open (DESIGN §2).

The journal is the truth. Each document carries the sequence of the entry that it shows, so writing it again,
late or out of order does no harm. It is written before the wallet: a wallet that is up to date has its
vouchers up to date, and one that is behind is brought up together with them.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from pymongo import ReplaceOne

from domain.ledger.entry import Entry
from domain.ledger.voucher import Voucher, VoucherStatus, voucher_document
from domain.ledger.wallet import Wallet


def voucher_writes(steps: Iterable[tuple[Wallet, Entry]]) -> list[ReplaceOne[dict[str, Any]]]:
    """The writes that show what each entry did to vouchers, given the wallet just before it."""
    writes: list[ReplaceOne[dict[str, Any]]] = []
    for wallet, entry in steps:
        active = {"status": VoucherStatus.ACTIVE.value}
        writes += [_write(voucher, entry, active) for voucher in entry.changes.vouchers]
        for end in entry.changes.ended_vouchers:
            ended = {"status": end.status.value, "ended_at": entry.occurred_at, "receipt": end.receipt}
            writes.append(_write(wallet.vouchers[end.id], entry, ended))
    return writes


def _write(voucher: Voucher, entry: Entry, state: Mapping[str, Any]) -> ReplaceOne[dict[str, Any]]:
    document = {**voucher_document(voucher), **state, "member": entry.member, "seq": entry.sequence}
    document["_id"] = document.pop("id")
    return ReplaceOne({"_id": voucher.id, "seq": {"$lt": entry.sequence}}, document, upsert=True)
