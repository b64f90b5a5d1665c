"""A posting: value goes from one account to another, so an entry balances by construction.

Accounts on the member's side are `member/available`, `member/pending`, `member/held` and `member/owed`;
all others are the programme's side (`programme/points`, `merchant/<client>`, `psp/clearing` …) and are
summed from the journal, never kept as a balance. An asset is `points`, or a pocket and a currency:
`prepaid/USD` (paid money), `cashback/USD` and `bonus/USD` (promotional value). Assets never mix.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bson.int64 import Int64

from domain.ledger.lot import LotKey, lot_key_document, lot_key_from
from domain.money import to_decimal

POINTS = "points"

AVAILABLE = "member/available"
PENDING = "member/pending"
HELD = "member/held"
OWED = "member/owed"

POINT_AWARDS = "programme/points"
CASHBACK_AWARDS = "programme/cashback"
"""Where points and cashback that the programme gives come from."""

MAX_AMOUNT = 2**53 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Posting:
    """`amount` of `asset`, above zero, went from `source` to `destination`; a side that is in lots names its lot."""

    source: str
    destination: str
    asset: str
    amount: int
    from_lot: LotKey | None = None
    to_lot: LotKey | None = None

    def __post_init__(self) -> None:
        assert 0 < self.amount <= MAX_AMOUNT, self
        assert self.source != self.destination or self.from_lot != self.to_lot, self


def is_members(account: str) -> bool:
    """Whether the account belongs to the member's side of the ledger."""
    return account.startswith("member/")


def pocket_of(asset: str) -> str:
    """`points`, `prepaid`, `cashback` or `bonus`."""
    return asset.partition("/")[0]


def currency_of(asset: str) -> str:
    """The currency of a money asset; an assertion for points."""
    currency = asset.partition("/")[2]
    assert currency, asset
    return currency


def amount_text(asset: str, amount: int) -> str:
    """An amount of the asset as callers see it: whole points, or a decimal in the currency."""
    return str(amount) if asset == POINTS else to_decimal(amount, currency_of(asset))


def posting_document(posting: Posting) -> dict[str, Any]:
    """The posting as the journal stores it."""
    document: dict[str, Any] = {
        "source": posting.source,
        "destination": posting.destination,
        "asset": posting.asset,
        "amount": Int64(posting.amount),
    }
    if posting.from_lot is not None:
        document["from_lot"] = lot_key_document(posting.from_lot)
    if posting.to_lot is not None:
        document["to_lot"] = lot_key_document(posting.to_lot)
    return document


def posting_from(document: Mapping[str, Any]) -> Posting:
    """The posting that :func:`posting_document` wrote."""
    source, destination = document.get("from_lot"), document.get("to_lot")
    return Posting(
        source=document["source"],
        destination=document["destination"],
        asset=document["asset"],
        amount=document["amount"],
        from_lot=None if source is None else lot_key_from(source),
        to_lot=None if destination is None else lot_key_from(destination),
    )
