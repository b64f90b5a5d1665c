"""Claiming a growing bonus: what it is worth at the moment becomes cashback."""

from functools import partial
from typing import Annotated, Final

import strawberry

from api.context import Info, require_member
from api.entries import cashback_of
from api.faults import Faults, plain
from api.members import own_record
from api.money import Money
from api.posted import Posted, answer
from api.problems import IdempotencyMismatch, InvalidInput, NotFound, WrongState, told
from api.scalars import IdempotencyKey
from domain.commands.bonus_claim import decide_claim, load_ended_bonus
from domain.ledger.command import Command, fingerprint_of
from domain.ledger.entry import Entry

CLAIM: Final = "claimBonus"


@strawberry.input
class ClaimBonusInput:
    bonus: strawberry.ID
    idempotency_key: IdempotencyKey


@strawberry.type
class BonusClaimed(Posted):
    amount: Money


ClaimBonusResult = Annotated[
    BonusClaimed | WrongState | NotFound | IdempotencyMismatch | InvalidInput,
    strawberry.union("ClaimBonusResult"),
]


@strawberry.type
class BonusMutation:
    @strawberry.field
    async def claim_bonus(
        self, info: Info, wanted: Annotated[ClaimBonusInput, strawberry.argument(name="input")]
    ) -> ClaimBonusResult:
        context, member, faults = info.context, await own_record(info), Faults()
        faults.text("bonus", wanted.bonus)
        if (wrong := faults.problem) is not None:
            return told(wrong, BonusClaimed)
        command = Command(
            member=member.id,
            actor=require_member(info).actor,
            key=wanted.idempotency_key,
            operation=CLAIM,
            fingerprint=fingerprint_of(CLAIM, plain(wanted)),
            decide=partial(decide_claim, str(wanted.bonus)),
            load=partial(load_ended_bonus, str(wanted.bonus)),
        )
        outcome = await context.wallet.ledger.commit(command)
        if not isinstance(outcome.decided, Entry):
            return told(outcome.decided, BonusClaimed)
        amount = await cashback_of(outcome.decided, context.wallet)
        return await answer(outcome, member, context, BonusClaimed, extra=lambda _: {"amount": amount})
