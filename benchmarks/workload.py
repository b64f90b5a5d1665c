"""What all contestants are asked to do: purchases of the example programme by a few thousand members.

A receipt has one to five lines, so that rules per line, multipliers and limits have work to do. A share of the
purchases is paid in part with cashback, which must be there; a smaller share asks for more than there is and
is refused. Members are taken at random, so that now and then two callers meet on one wallet.
"""

from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from random import Random
from typing import Final

from domain.commands.adjustment import Adjustment, decide_adjustment
from domain.commands.joining import joining
from domain.commands.purchase import Receipt, check_receipt, decide_purchase
from domain.ledger.command import Command, fingerprint_of
from domain.ledger.entry import Note
from domain.members.member import Member
from domain.money import to_decimal
from domain.programme.earning import Line

MEMBERS: Final = 2_000
SPENDING_SHARE: Final = 0.2
REFUSED_SHARE: Final = 0.01

_MERCHANT: Final = "till"
_ACTOR: Final = f"partner:{_MERCHANT}"
CURRENCY: Final = "USD"
_PLACES: Final = ("store-330", "store-424", "store-429", "store-318")
_CATEGORIES: Final = ("PASTRY", "PRODUCE", "GROCERY", "MEAT", "DRUG GM", "DELI")
_SEED_MINOR: Final = 1_000_000
_PAID_MINOR: Final = 100


@dataclass(slots=True)
class Till:
    """Makes one purchase after the other, each with its own key and receipt number."""

    members: tuple[Member, ...]
    random: Random
    number: int = field(default=0, init=False)

    def purchase(self) -> Command:
        """A command as the API makes it of a `recordPurchase`."""
        self.number += 1
        member, chance = self.random.choice(self.members), self.random.random()
        lines = tuple(self._line() for _ in range(self.random.randint(1, 5)))
        total_minor = sum(line.amount_minor for line in lines)
        paid_minor = _PAID_MINOR if chance < SPENDING_SHARE else 0
        if chance > 1 - REFUSED_SHARE:
            paid_minor, total_minor, lines = 10 * _SEED_MINOR, 10 * _SEED_MINOR, ()
        receipt = Receipt(
            member=member,
            merchant=_MERCHANT,
            number=f"R-{self.number:09}",
            total_minor=total_minor,
            currency=CURRENCY,
            place=self.random.choice(_PLACES),
            lines=lines,
            paid_cashback_minor=paid_minor,
        )
        return Command(
            member=member.id,
            actor=_ACTOR,
            key=f"purchase-{self.number:09}",
            operation="recordPurchase",
            fingerprint=fingerprint_of("recordPurchase", _given(receipt)),
            decide=partial(decide_purchase, receipt),
            check=lambda programme, now: check_receipt(receipt, programme, now),
            receipt=receipt.number,
        )

    def _line(self) -> Line:
        sku = self.random.randint(100_000, 999_999)
        return Line(
            sku=str(sku),
            category=self.random.choice(_CATEGORIES),
            quantity=1,
            amount_minor=self.random.randint(100, 2_500),
        )


def new_members(count: int, now: datetime) -> tuple[Member, ...]:
    """Members that stand in no collection; a ledger does not look for them."""
    return tuple(Member(id=f"member-{number:06}", joined_at=now) for number in range(count))


def opening(member: Member) -> tuple[Command, Command]:
    """The commands that make the wallet and put cashback into it, which the programme keeps pending for a while."""
    adjustment = Adjustment(asset=f"cashback/{CURRENCY}", amount=_SEED_MINOR, reason=Note(text="Opening", salt="x"))
    funding = Command(
        member=member.id,
        actor="system",
        key="opening",
        operation="adjustBalance",
        fingerprint=fingerprint_of("adjustBalance", {"amount": _SEED_MINOR}),
        decide=partial(decide_adjustment, adjustment),
    )
    return joining(member), funding


def _given(receipt: Receipt) -> dict[str, object]:
    """The input of the mutation, as it is fingerprinted."""
    return {
        "member": {"id": receipt.member.id},
        "receipt": receipt.number,
        "total": {"amount": to_decimal(receipt.total_minor, CURRENCY), "currency": CURRENCY},
        "place": receipt.place,
        "paidWithCashback": {"amount": to_decimal(receipt.paid_cashback_minor, CURRENCY), "currency": CURRENCY},
        "lines": [
            {
                "sku": line.sku,
                "category": line.category,
                "quantity": line.quantity,
                "amount": {"amount": to_decimal(line.amount_minor, CURRENCY), "currency": CURRENCY},
            }
            for line in receipt.lines
        ],
    }
