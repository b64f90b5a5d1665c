"""Gifts: points from one member to another, whom he knows by id or by the code on the other's screen.

Nobody is found by a name or an address, so a gift does not reveal who is a member.
"""

import secrets
from functools import partial
from typing import Annotated, Final

import strawberry

from api.context import Context, Info
from api.faults import Faults, given, plain
from api.members import MemberLookup, own_record
from api.posted import Posted, answer
from api.problems import (
    IdempotencyMismatch,
    InsufficientBalance,
    InvalidInput,
    LimitReached,
    NotEligible,
    NotFound,
    told,
)
from api.scalars import IdempotencyKey, Long
from domain.commands.gift import Gift, check_gift, decide_sending, receiving
from domain.ledger.command import Command, fingerprint_of
from domain.ledger.entry import Note
from domain.ledger.joint import commit_jointly
from domain.ledger.outcome import replay
from domain.members.enrolment import joined
from domain.members.member import Member, member_by_id
from domain.members.presence import show_to_member
from domain.problems import NotFound as Missing

GIVE: Final = "giftPoints"
LONGEST_MESSAGE: Final = 500


@strawberry.input
class GiftPointsInput:
    to: MemberLookup
    points: Long
    message: str | None = strawberry.UNSET
    idempotency_key: IdempotencyKey


@strawberry.type
class PointsGifted(Posted):
    pass


GiftPointsResult = Annotated[
    PointsGifted | InsufficientBalance | LimitReached | NotFound | NotEligible | IdempotencyMismatch | InvalidInput,
    strawberry.union("GiftPointsResult"),
]


@strawberry.type
class GiftMutation:
    @strawberry.field
    async def gift_points(
        self, info: Info, wanted: Annotated[GiftPointsInput, strawberry.argument(name="input")]
    ) -> GiftPointsResult:
        return await _give(info.context, wanted, await own_record(info))


async def _give(context: Context, wanted: GiftPointsInput, sender: Member) -> GiftPointsResult:
    ledger, actor = context.wallet.ledger, context.caller.actor
    message, faults = given(wanted.message), Faults()
    if message is not None:
        faults.text("message", message, longest=LONGEST_MESSAGE)
    if (wrong := faults.problem) is not None:
        return told(wrong, PointsGifted)
    fingerprint = fingerprint_of(GIVE, plain(wanted))
    decided = await ledger.journal.decided([(sender.id, f"{actor}|{wanted.idempotency_key}")])
    for found in decided.values():
        return await answer(await replay(ledger.journal, found, fingerprint), sender, context, PointsGifted)
    receiver = await _receiver(context, wanted.to, sender)
    if receiver is None:
        return told(Missing(message="There is no such member.", what="member"), PointsGifted)
    await joined(ledger, receiver)
    gift = Gift(
        sender=sender.id,
        receiver=receiver.id,
        points=wanted.points,
        message=None if message is None else Note(text=message, salt=secrets.token_hex(16)),
    )
    command = Command(
        member=sender.id,
        actor=actor,
        key=wanted.idempotency_key,
        operation=GIVE,
        fingerprint=fingerprint,
        decide=partial(decide_sending, gift),
        check=lambda _programme, _now: check_gift(gift),
    )
    queues = [f"member {sender.id}", f"member {receiver.id}"]
    outcome = await commit_jointly(
        ledger, command, follow=partial(receiving, gift), others=[receiver.id], queues=queues
    )
    return await answer(outcome, sender, context, PointsGifted)


async def _receiver(context: Context, by: MemberLookup, sender: Member) -> Member | None:
    store, identifier, code = context.wallet.store, given(by.id), given(by.code)
    if code is not None:
        secret = context.wallet.settings.secret
        identifier = await show_to_member(store, code, reader=sender.id, operator_secret=secret, now=context.now)
    receiver = None if identifier is None else await member_by_id(store, identifier)
    return None if receiver is None or receiver.is_erased else receiver
