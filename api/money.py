"""Money on the wire: a decimal string and a currency; minor units inside."""

import strawberry

from api.scalars import Currency, Decimal
from domain.money import to_decimal


@strawberry.type
class Money:
    amount: Decimal
    currency: Currency


@strawberry.input
class MoneyInput:
    amount: Decimal
    currency: Currency


def money(minor: int, currency: str) -> Money:
    """The amount of minor units as the contract writes it."""
    return Money(amount=Decimal(to_decimal(minor, currency)), currency=Currency(currency))
