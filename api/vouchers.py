"""Vouchers, as the contract shows them: what they are good for, in the reader's language, and their status."""

from datetime import datetime
from decimal import Decimal as Exact
from fractions import Fraction
from typing import Final

import strawberry

from api.context import Context
from api.money import Money, money
from api.node import Node
from api.pages import MOMENT, Connection, connection, moment, window
from api.scalars import Decimal
from domain.ledger.issued import Issued, vouchers_of
from domain.ledger.voucher import VoucherStatus
from domain.money import to_minor
from domain.programme.format import Discount as DiscountSection
from domain.programme.programme import Programme
from domain.programme.wording import localised

strawberry.enum(VoucherStatus)

VOUCHERS: Final = "vouchers"


@strawberry.type
class Discount:
    percent: Decimal | None
    amount: Money | None
    free_item: str | None
    minimum_spend: Money | None


@strawberry.type
class Voucher(Node):
    code: str
    name: str
    status: VoucherStatus
    discount: Discount | None
    issued_at: datetime
    expires_at: datetime | None
    used_at: datetime | None
    sku: str | None = strawberry.field(description="The one item it is good for; null if it is good for any.")


async def voucher_connection(
    context: Context, member: str, *, locale: str, first: int, after: str | None, status: VoucherStatus | None
) -> Connection[Voucher]:
    """A page of the member's vouchers, newest first."""
    asked, services = window(VOUCHERS, first, after, by=MOMENT), context.wallet
    issued = await vouchers_of(
        services.store, member, now=context.now, limit=asked.fetch, status=status, after=asked.after_moment
    )
    nodes = [voucher_type(each, services.programmes.current, locale) for each in issued]
    return connection(VOUCHERS, asked, items=nodes, key=lambda node: moment(node.issued_at, str(node.id)))


def voucher_type(issued: Issued, programme: Programme, locale: str) -> Voucher:
    """The voucher in that language; one whose kind the programme has given up is named by its kind's id."""
    voucher = issued.voucher
    kind = programme.vouchers.get(voucher.definition)
    return Voucher(
        id=strawberry.ID(voucher.id),
        code=voucher.code,
        name=voucher.definition if kind is None else localised(programme, kind.name, locale),
        status=issued.status,
        discount=None if kind is None else _discount(kind.discount, programme.currency),
        issued_at=voucher.issued_at,
        expires_at=voucher.expires_at,
        used_at=issued.used_at,
        sku=voucher.sku,
    )


def _discount(discount: DiscountSection, currency: str) -> Discount:
    amount, least = discount.amount, discount.minimum_spend
    return Discount(
        percent=None if discount.percent is None else _decimal(discount.percent),
        amount=None if amount is None else money(to_minor(amount, currency), currency),
        free_item=discount.free_item,
        minimum_spend=None if least is None else money(to_minor(least, currency), currency),
    )


def _decimal(value: Fraction) -> Decimal:
    """A fraction that was a decimal in the programme, as a decimal again."""
    exact = Exact(value.numerator) / Exact(value.denominator)
    return Decimal(f"{exact.normalize():f}")
