"""Vouchers, as the contract shows them."""

from datetime import datetime
from enum import StrEnum

import strawberry

from api.money import Money
from api.node import Node
from api.scalars import Decimal


@strawberry.enum
class VoucherStatus(StrEnum):
    ACTIVE = "ACTIVE"
    USED = "USED"
    EXPIRED = "EXPIRED"
    CANCELLED = "CANCELLED"


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
