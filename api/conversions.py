"""Conversions: points into cashback at the programme's rate."""

from functools import partial
from typing import Annotated, Final

import strawberry

from api.context import Info, require_member
from api.entries import cashback_of
from api.faults import plain
from api.members import own_record
from api.money import Money
from api.posted import Posted, answer
from api.problems import IdempotencyMismatch, InsufficientBalance, InvalidInput, LimitReached, NotEligible, told
from api.scalars import IdempotencyKey, Long
from domain.commands.conversion import check_conversion, decide_conversion
from domain.ledger.command import Command, fingerprint_of
from domain.ledger.entry import Entry

CONVERT: Final = "convertPoints"


@strawberry.input
class ConvertPointsInput:
    points: Long
    idempotency_key: IdempotencyKey


@strawberry.type
class PointsConverted(Posted):
    cashback: Money


ConvertPointsResult = Annotated[
    PointsConverted | InsufficientBalance | LimitReached | NotEligible | IdempotencyMismatch | InvalidInput,
    strawberry.union("ConvertPointsResult"),
]


@strawberry.type
class ConversionMutation:
    @strawberry.field
    async def convert_points(
        self, info: Info, wanted: Annotated[ConvertPointsInput, strawberry.argument(name="input")]
    ) -> ConvertPointsResult:
        context, member = info.context, await own_record(info)
        command = Command(
            member=member.id,
            actor=require_member(info).actor,
            key=wanted.idempotency_key,
            operation=CONVERT,
            fingerprint=fingerprint_of(CONVERT, plain(wanted)),
            decide=partial(decide_conversion, int(wanted.points)),
            check=lambda programme, _now: check_conversion(wanted.points, programme),
        )
        outcome = await context.wallet.ledger.commit(command)
        if not isinstance(outcome.decided, Entry):
            return told(outcome.decided, PointsConverted)
        cashback = await cashback_of(outcome.decided, context.wallet)
        return await answer(outcome, member, context, PointsConverted, extra=lambda _: {"cashback": cashback})
