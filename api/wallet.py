"""The wallet and its balances, as the contract shows them.

`wallet_type` makes a finished value; of its fields only `activity` and `entry` load. Balances are effective at the
instant of the request (SEMANTICS §2.4).
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import strawberry

from api.bonuses import Bonus, bonus_type
from api.context import Info
from api.described import described
from api.entries import Entry, entry_types
from api.faults import given
from api.money import Money, money
from api.pages import Connection, connection, window
from api.scalars import Long
from domain.ledger.activity import activity as read_activity
from domain.ledger.due import as_settled
from domain.ledger.entry import EntryKind, member_of_entry
from domain.ledger.posting import POINTS, currency_of, pocket_of
from domain.ledger.wallet import Wallet as WalletState
from domain.ledger.wallet import assets_of, standing
from domain.payments.payer import AutoTopUp as AutoTopUpSetting
from domain.payments.payer import find_payer, payer_from
from domain.programme.programme import Programme

ACTIVITY: Final = "activity"


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
        description="When three charges in a row had failed; it stays off until the member turns it on again."
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
