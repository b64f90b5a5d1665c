"""Donations: points or cashback for a charity that the programme lists."""

from functools import partial
from typing import Annotated, Final

import strawberry

from api.context import Info, require_member
from api.faults import Faults, given, plain
from api.members import own_record
from api.money import MoneyInput
from api.posted import Posted, answer
from api.problems import IdempotencyMismatch, InsufficientBalance, InvalidInput, NotFound, told
from api.scalars import IdempotencyKey, Long
from domain.commands.donation import Donation, check_donation, decide_donation
from domain.ledger.command import Command, fingerprint_of
from domain.ledger.posting import POINTS
from domain.problems import Problem

DONATE: Final = "donate"


@strawberry.input(description="Exactly one of points and cashback.")
class DonateInput:
    charity: strawberry.ID
    points: Long | None = strawberry.UNSET
    cashback: MoneyInput | None = strawberry.UNSET
    idempotency_key: IdempotencyKey


@strawberry.type
class Donated(Posted):
    charity: strawberry.ID


DonateResult = Annotated[
    Donated | InsufficientBalance | NotFound | IdempotencyMismatch | InvalidInput,
    strawberry.union("DonateResult"),
]


@strawberry.type
class DonationMutation:
    @strawberry.field
    async def donate(
        self, info: Info, wanted: Annotated[DonateInput, strawberry.argument(name="input")]
    ) -> DonateResult:
        context, member = info.context, await own_record(info)
        donation = read_donation(wanted)
        if isinstance(donation, Problem):
            return told(donation, Donated)
        command = Command(
            member=member.id,
            actor=require_member(info).actor,
            key=wanted.idempotency_key,
            operation=DONATE,
            fingerprint=fingerprint_of(DONATE, plain(wanted)),
            decide=partial(decide_donation, donation),
            check=lambda programme, _now: check_donation(donation, programme),
        )
        outcome = await context.wallet.ledger.commit(command)
        return await answer(outcome, member, context, Donated, extra=lambda _: {"charity": wanted.charity})


def read_donation(wanted: DonateInput) -> Donation | Problem:
    """The donation that was asked for, or everything in it that cannot be read."""
    faults, asset, amount = Faults(), POINTS, 0
    points, cashback = given(wanted.points), given(wanted.cashback)
    faults.text("charity", wanted.charity)
    if (points is None) == (cashback is None):
        faults.add("points", "Send exactly one of points and cashback.")
    elif cashback is not None:
        amount = faults.minor("cashback.amount", cashback.amount, cashback.currency)
        asset = f"cashback/{cashback.currency}"
    else:
        amount = points or 0
    if (wrong := faults.problem) is not None:
        return wrong
    return Donation(charity=wanted.charity, asset=asset, amount=amount)
