"""The wallet, its balances and its journal, as the contract shows them.

`wallet_type` and `entry_types` make finished values; of the fields only `activity` and `entry` load. Balances
are effective at the instant of the request (SEMANTICS §2.4).
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import strawberry

from api.awards import Awards, badge_awards, challenges_won, stamp_awards
from api.bonuses import Bonus, bonus_type
from api.context import Info, Services
from api.described import described
from api.faults import given
from api.money import Money, money
from api.node import Node
from api.pages import Connection, connection, window
from api.places import Place, place_type
from api.scalars import Long
from api.streaks import awarded_streaks
from api.titles import entry_texts
from api.vouchers import voucher_type
from domain.ledger.activity import activity as read_activity
from domain.ledger.due import as_settled
from domain.ledger.entry import Entry as JournalEntry
from domain.ledger.entry import EntryKind, member_of_entry
from domain.ledger.issued import Issued, vouchers_by_id
from domain.ledger.posting import POINTS, currency_of, pocket_of
from domain.ledger.voucher import Voucher as IssuedVoucher
from domain.ledger.voucher import entry_of_voucher
from domain.ledger.wallet import Wallet as WalletState
from domain.ledger.wallet import assets_of, standing
from domain.payments.payer import AutoTopUp as AutoTopUpSetting
from domain.payments.payer import find_payer, payer_from
from domain.programme.programme import Programme

strawberry.enum(EntryKind)

ACTIVITY: Final = "activity"
GIFTS: Final = frozenset({EntryKind.GIFT_SENT, EntryKind.GIFT_RECEIVED})


@strawberry.enum
class Pocket(StrEnum):
    PREPAID = "PREPAID"
    CASHBACK = "CASHBACK"
    BONUS = "BONUS"


@strawberry.type
class ExpiringPoints:
    amount: Long
    at: datetime


@strawberry.type
class PointsBalance:
    available: Long = strawberry.field(description="Can be spent now: neither pending, held nor expired.")
    pending: Long
    held: Long
    owed: Long = strawberry.field(
        description=(
            "Owed after a return took back points that were spent already; the next points earned pay it first."
        )
    )
    lifetime_earned: Long
    expiring: list[ExpiringPoints] = strawberry.field(description="Soonest first.")


@strawberry.type
class AutoTopUp:
    below: Money
    amount: Money
    enabled: bool
    stopped_at: datetime | None = strawberry.field(
        description="When three charges in a row had failed: it is off until the member turns it on again."
    )


@strawberry.type
class PrepaidBalance:
    member_id: strawberry.Private[str]
    stored_payer: strawberry.Private[Mapping[str, Any] | None]
    available: Money
    held: Money

    @strawberry.field
    async def auto_top_up(self, info: Info) -> AutoTopUp | None:
        if self.stored_payer is None:
            payer = await find_payer(info.context.wallet.store, self.member_id)
        else:
            payer = payer_from(self.stored_payer) if self.stored_payer else None
        if payer is None or payer.auto is None or payer.auto.currency != self.available.currency:
            return None
        return auto_top_up_type(payer.auto)


def auto_top_up_type(auto: AutoTopUpSetting) -> AutoTopUp:
    """The setting as the contract shows it."""
    return AutoTopUp(
        below=money(auto.below_minor, auto.currency),
        amount=money(auto.amount_minor, auto.currency),
        enabled=auto.enabled,
        stopped_at=auto.stopped_at,
    )


@strawberry.type
class ExpiringMoney:
    amount: Money
    at: datetime


@strawberry.type
class CashbackBalance:
    available: Money
    pending: Money
    owed: Money
    expiring: list[ExpiringMoney]


@strawberry.type
class Hold:
    id: strawberry.ID
    amount: Money
    partner: str
    expires_at: datetime
    created_at: datetime


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
    message: str | None = strawberry.field(description="What a member wrote to another with a gift; null for all else.")
    hash: str = strawberry.field(description="SHA-256 over this entry and the one before it, hexadecimal.")


@strawberry.type
class Wallet:
    member_id: strawberry.Private[str]
    locale: strawberry.Private[str]
    version: Long = strawberry.field(description="Grows by one with every entry; equal versions mean equal wallets.")
    points: PointsBalance
    prepaid: list[PrepaidBalance]
    cashback: list[CashbackBalance]
    bonuses: list[Bonus]
    holds: list[Hold]

    @described("Newest first.")
    async def activity(
        self,
        info: Info,
        first: int = 20,
        after: str | None = strawberry.UNSET,
        kinds: list[EntryKind] | None = strawberry.UNSET,
    ) -> Connection[Entry]:
        """Entries up to this version of the wallet, so that both tell of the same instant."""
        asked = window(ACTIVITY, first, given(after), by=(int,))
        below = self.version + 1 if asked.after is None else int(asked.after[0])
        services = info.context.wallet
        entries = await read_activity(
            services.store,
            self.member_id,
            below=min(below, self.version + 1),
            limit=asked.fetch,
            kinds=given(kinds),
        )
        nodes = await entry_types(entries, services, self.locale, now=info.context.now)
        return connection(ACTIVITY, asked, items=nodes, key=lambda entry: (entry.sequence,))

    @strawberry.field
    async def entry(self, info: Info, id: strawberry.ID) -> Entry | None:  # noqa: A002 -- the contract's name
        if member_of_entry(id) != self.member_id:
            return None
        services = info.context.wallet
        found = await services.ledger.journal.entry(id)
        if found is None or found.sequence > self.version:
            return None
        return (await entry_types([found], services, self.locale, now=info.context.now))[0]


def wallet_type(
    wallet: WalletState,
    programme: Programme,
    *,
    now: datetime,
    locale: str,
    payer: Mapping[str, Any] | None = None,
) -> Wallet:
    """The wallet at that instant, with a row per currency that the programme has or the wallet holds."""
    version, wallet = wallet.sequence, as_settled(wallet, programme, now)
    points = standing(wallet, POINTS, now)
    currencies: dict[str, list[str]] = {"prepaid": [programme.currency], "cashback": [programme.currency]}
    for asset in sorted(assets_of(wallet) - {POINTS}):
        rows = currencies.setdefault(pocket_of(asset), [])
        if currency_of(asset) not in rows:
            rows.append(currency_of(asset))
    return Wallet(
        member_id=wallet.member,
        locale=locale,
        version=Long(version),
        points=PointsBalance(
            available=Long(points.available),
            pending=Long(points.pending),
            held=Long(points.held),
            owed=Long(points.owed),
            lifetime_earned=Long(wallet.lifetime_points),
            expiring=[ExpiringPoints(amount=Long(amount), at=at) for amount, at in points.expiring],
        ),
        prepaid=[_prepaid(wallet, currency, now, payer) for currency in currencies["prepaid"]],
        cashback=[_cashback(wallet, currency, now) for currency in currencies["cashback"]],
        bonuses=[bonus_type(bonus, now) for bonus in wallet.bonuses.values() if now < bonus.expires_at],
        holds=[
            Hold(
                id=strawberry.ID(hold.id),
                amount=money(hold.amount, hold.currency),
                partner=hold.partner,
                expires_at=hold.expires_at,
                created_at=hold.created_at,
            )
            for hold in wallet.holds.values()
            if now < hold.expires_at
        ],
    )


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


def _prepaid(wallet: WalletState, currency: str, now: datetime, payer: Mapping[str, Any] | None) -> PrepaidBalance:
    found = standing(wallet, f"prepaid/{currency}", now)
    return PrepaidBalance(
        member_id=wallet.member,
        stored_payer=payer,
        available=money(found.available, currency),
        held=money(found.held, currency),
    )


def _cashback(wallet: WalletState, currency: str, now: datetime) -> CashbackBalance:
    found = standing(wallet, f"cashback/{currency}", now)
    return CashbackBalance(
        available=money(found.available, currency),
        pending=money(found.pending, currency),
        owed=money(found.owed, currency),
        expiring=[ExpiringMoney(amount=money(amount, currency), at=at) for amount, at in found.expiring],
    )


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
