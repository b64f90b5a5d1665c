"""What mutations answer with: the posted entry and the member's wallet after it, or a problem."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import strawberry

from api.context import Context
from api.entries import Entry, entry_types
from api.members import Member, locale_of, member_type
from api.problems import told
from api.stranger import is_stranger, veiled
from domain.ledger.command import Fingerprint
from domain.ledger.entry import Entry as JournalEntry
from domain.ledger.outcome import Outcome
from domain.members.member import Member as MemberRecord
from domain.members.member import member_by_id
from domain.problems import Problem


@strawberry.interface(
    description=(
        "The wallet after the entry, so that a client's cache is right without a second request. "
        "`replayed` is true when the key had been used before."
    )
)
class Posted:
    entry: Entry
    member: Member
    replayed: bool


_P = TypeVar("_P", bound=Posted)


async def answer(
    outcome: Outcome,
    member: MemberRecord | None,
    context: Context,
    kind: type[_P],
    *,
    extra: Callable[[JournalEntry], Mapping[str, Any]] | None = None,
) -> _P:
    """The outcome as `kind`, or as its problem (see :func:`api.problems.told`).

    `member` is whose wallet the command was for; None, or another than the entry's, is looked up. `extra` reads
    from the entry what `kind` has beside it.
    """
    decided = outcome.decided
    if not isinstance(decided, JournalEntry):
        return told(decided, kind)
    if member is None or member.id != decided.member:
        member = await member_by_id(context.wallet.store, decided.member)
        assert member is not None, "an entry of nobody"
    await catch_up(outcome, context)
    (entry,) = await entry_types([decided], context.wallet, locale_of(member, context), now=context.now)
    if is_stranger(context, member):
        entry, shown = veiled(entry)
    else:
        shown = member_type(member, outcome.wallet, context)
    more = {} if extra is None else extra(decided)
    return kind(entry=entry, member=shown, replayed=outcome.replayed, **more)


async def catch_up(outcome: Outcome, context: Context) -> None:
    """Have the vouchers of what is answered again be there to look up: whoever decided it may have died just before."""
    decided = outcome.decided
    if not (outcome.replayed and isinstance(decided, JournalEntry)):
        return
    if decided.changes.vouchers or decided.changes.ended_vouchers:
        await context.wallet.ledger.settle([decided.member])


async def answer_kept(
    problem: Problem,
    context: Context,
    kind: type[_P],
    *,
    key: str,
    fingerprint: Fingerprint,
    extra: Callable[[JournalEntry], Mapping[str, Any]] | None = None,
) -> _P:
    """What the caller's key came to before, else the problem: what the input names cannot be found or touched by now.

    A key keeps its outcome even so, such as after the code on the member's screen has changed (SEMANTICS §1).
    """
    kept = await context.wallet.ledger.kept(context.caller.actor, key, fingerprint)
    return told(problem, kind) if kept is None else await answer(kept, None, context, kind, extra=extra)
