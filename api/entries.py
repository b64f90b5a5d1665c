"""Entries of the journal, as the contract shows them: what happened, what moved, and why.

`entry_types` makes finished values: what they show beside the entry is found first, for all of them at once.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Final

import strawberry

from api.awards import Awards, badge_awards, challenges_won, stamp_awards
from api.bonuses import bonus_type
from api.context import Services
from api.money import Money, money
from api.node import Node
from api.places import Place, place_type
from api.scalars import Long
from api.streaks import awarded_streaks
from api.titles import entry_texts
from api.vouchers import voucher_type
from domain.ledger.entry import Entry as JournalEntry
from domain.ledger.entry import EntryKind
from domain.ledger.issued import Issued, vouchers_by_id
from domain.ledger.posting import POINTS, currency_of, pocket_of
from domain.ledger.voucher import Voucher as IssuedVoucher
from domain.ledger.voucher import entry_of_voucher
from domain.programme.programme import Programme

strawberry.enum(EntryKind)

GIFTS: Final = frozenset({EntryKind.GIFT_SENT, EntryKind.GIFT_RECEIVED})


@strawberry.enum
class Pocket(StrEnum):
    PREPAID = "PREPAID"
    CASHBACK = "CASHBACK"
    BONUS = "BONUS"


@strawberry.type
class EntryMoney:
    pocket: Pocket
    amount: Money


@strawberry.type(
    description="Value went from one account to the other: every entry balances by construction.",
)
class Posting:
    source: str
    destination: str
    asset: str
    amount: Long


@strawberry.type
class Explanation:
    rule: strawberry.ID
    text: str
    points: Long
    cashback: Money | None


@strawberry.type
class BalanceAfter:
    points: Long
    prepaid: list[Money]
    cashback: list[Money]


@strawberry.type(description="One line of the journal: what happened, what moved, and why.")
class Entry(Node):
    sequence: Long
    kind: EntryKind
    occurred_at: datetime
    posted_at: datetime
    title: str
    place: Place | None
    receipt: str | None
    points: Long = strawberry.field(description="Signed, from the member's side.")
    money: list[EntryMoney]
    postings: list[Posting]
    explanation: list[Explanation] = strawberry.field(description="Which rule gave what, in the order applied.")
    awards: Awards
    balance_after: BalanceAfter
    reverses: strawberry.ID | None
    message: str | None = strawberry.field(
        description="What a member wrote to another with a gift; null for everything else."
    )
    hash: str = strawberry.field(description="SHA-256 over this entry and the one before it, hexadecimal.")


async def entry_types(
    entries: Sequence[JournalEntry], services: Services, locale: str, *, now: datetime
) -> list[Entry]:
    """The entries with the texts of the versions that made them and the vouchers that they awarded, found first.

    The vouchers are shown as they are now.
    """
    versions = list({entry.programme_version for entry in entries})
    found = dict(zip(versions, await asyncio.gather(*map(services.programmes.at, versions)), strict=True))
    awarded = [voucher.id for entry in entries for voucher in entry.changes.vouchers if is_issued_by(entry, voucher)]
    issued = await vouchers_by_id(services.store, awarded, now=now)
    return [entry_type(entry, found[entry.programme_version], locale, issued=issued, now=now) for entry in entries]


async def cashback_of(entry: JournalEntry, services: Services) -> Money:
    """The cashback that the one row of the entry's explanation gave, in the currency of the version that it names."""
    (row,) = entry.explanation
    programme = await services.programmes.at(entry.programme_version)
    return money(row.cashback_minor, programme.currency)


def entry_type(
    entry: JournalEntry, programme: Programme, locale: str, *, issued: Mapping[str, Issued], now: datetime
) -> Entry:
    """The entry in the reader's language; `programme` is the version that it names."""
    texts = entry_texts(programme, locale)
    currency = programme.currency
    after = {f"{pocket}/{currency}": 0 for pocket in ("prepaid", "cashback")} | dict(entry.balances.money)
    tier = entry.changes.tier
    return Entry(
        id=strawberry.ID(entry.id),
        sequence=Long(entry.sequence),
        kind=entry.kind,
        occurred_at=entry.occurred_at,
        posted_at=entry.posted_at,
        title=texts.title(entry),
        place=place_type(programme, entry.place),
        receipt=entry.receipt,
        points=Long(entry.points),
        money=_moved_money(entry),
        postings=[
            Posting(
                source=posting.source,
                destination=posting.destination,
                asset=posting.asset,
                amount=Long(posting.amount),
            )
            for posting in entry.postings
        ],
        explanation=explanations(entry, programme, locale),
        awards=Awards(
            badges=badge_awards(entry),
            vouchers=[
                voucher_type(issued[voucher.id], programme, locale)
                for voucher in entry.changes.vouchers
                if voucher.id in issued
            ],
            bonuses=[bonus_type(bonus, now) for bonus in entry.changes.bonuses],
            stamps=stamp_awards(entry),
            streaks=awarded_streaks(entry, programme, locale),
            challenges=challenges_won(entry),
            tier=None if tier is None or entry.kind is not EntryKind.PURCHASE else strawberry.ID(tier.level),
        ),
        balance_after=BalanceAfter(
            points=Long(entry.balances.points),
            prepaid=_of_pocket(after, "prepaid"),
            cashback=_of_pocket(after, "cashback"),
        ),
        reverses=None if entry.reverses is None else strawberry.ID(entry.reverses),
        message=entry.note.text if entry.note is not None and entry.kind in GIFTS else None,
        hash=entry.hash,
    )


def is_issued_by(entry: JournalEntry, voucher: IssuedVoucher) -> bool:
    """Whether the entry awarded the voucher, and did not bring it back."""
    return entry_of_voucher(voucher.id) == entry.id


def explanations(entry: JournalEntry, programme: Programme, locale: str) -> list[Explanation]:
    """The rows of the entry with their texts."""
    texts = entry_texts(programme, locale)
    return [
        Explanation(
            rule=strawberry.ID(row.rule),
            text=texts.reason(entry, row),
            points=Long(row.points),
            cashback=money(row.cashback_minor, programme.currency) if row.cashback_minor else None,
        )
        for row in entry.explanation
    ]


def _moved_money(entry: JournalEntry) -> list[EntryMoney]:
    """What the member gained or lost; of a hold and its end, what left the available money and came back to it.

    So the lines of a payment add up to what it cost: a hold of 10.00 and a capture of 7.00 are −10.00 and +3.00.
    """
    moved = entry.became_available if entry.kind in _OF_HOLDS else entry.moved
    assets = dict.fromkeys(posting.asset for posting in entry.postings if posting.asset != POINTS)
    return [entry_money(asset, minor) for asset in assets if (minor := moved(asset))]


def entry_money(asset: str, minor: int) -> EntryMoney:
    """An amount of a money asset with its pocket."""
    return EntryMoney(pocket=Pocket(pocket_of(asset).upper()), amount=money(minor, currency_of(asset)))


_OF_HOLDS: Final = frozenset({EntryKind.HOLD, EntryKind.CAPTURE, EntryKind.VOID})


def _of_pocket(after: dict[str, int], pocket: str) -> list[Money]:
    return [money(minor, currency_of(asset)) for asset, minor in after.items() if pocket_of(asset) == pocket]
