"""Referrals: both members get their award once the friend's purchase can no longer be returned (SEMANTICS §9.3).

Both entries stand or neither: one transaction, under keys made of the friend's id, so that any number of workers
may try, and die, in any order. What is due is kept in the friend's wallet until his own entry is there. A referrer
who has reached the programme's limit, or was forgotten, gets nothing, for good; the friend gets his award all the same.
"""

import asyncio
from collections.abc import Collection
from dataclasses import replace
from datetime import date
from typing import Final

from domain.ledger.command import Command, fingerprint_of
from domain.ledger.commit import Ledger
from domain.ledger.draft import Draft, Situation
from domain.ledger.due import SYSTEM
from domain.ledger.entry import Changes, Entry, EntryKind
from domain.ledger.expiry import local_date, start_of_day
from domain.ledger.joint import commit_jointly
from domain.ledger.referral import Qualifying, Referral, referral_from
from domain.ledger.wallet import Wallet
from domain.members.enrolment import joined
from domain.members.member import member_by_id
from domain.problems import LimitReached, NotFound, Problem
from domain.programme.earning import UsageChange
from domain.programme.format import FixedAward
from domain.programme.mechanism import fixed
from domain.programme.period import EVER, next_start, period_key

REFERRAL: Final = "referral"
AT_ONCE = 16
"""Referrals rewarded beside each other by one process."""

_RULE = "@referral"
"""Where the referrer's usage counts friends; no earning rule can have this id."""


def rewarded(wallet: Wallet) -> int:
    """For how many friends the member was rewarded."""
    used = wallet.usage.get(_RULE, {}).get(EVER)
    return 0 if used is None else used.count


async def reward_referrals(ledger: Ledger, members: Collection[str]) -> None:
    """Reward the referrals that are due among those friends' wallets, which are settled.

    Idempotent, whoever else does the same at once. Raises what committing raises, after all have been tried.
    """
    wanted = {"_id": {"$in": list(members)}, "referral.due_at": {"$lte": ledger.now()}}
    due = {each["_id"]: each["referral"] async for each in ledger.store.wallets.find(wanted, {"referral": 1})}
    turns = asyncio.Semaphore(AT_ONCE)

    async def reward(friend: str, referral: Referral) -> None:
        async with turns:
            await _reward(ledger, friend, referral)

    done = await asyncio.gather(
        *(reward(friend, referral_from(document)) for friend, document in due.items()), return_exceptions=True
    )
    for result in done:
        if isinstance(result, BaseException):
            raise result


async def _reward(ledger: Ledger, friend: str, referral: Referral) -> None:
    assert referral.first is not None, friend
    referrer = await member_by_id(ledger.store, referral.referrer)
    if referrer is not None and not referrer.is_erased:
        await joined(ledger, referrer)
        both = await commit_jointly(
            ledger,
            rewarding_referrer(referral.referrer, friend, referral.first),
            follow=lambda _entry, _before: rewarding_friend(friend),
            others=[friend],
            queues=[f"{REFERRAL} {referral.referrer}"],
        )
        if isinstance(both.decided, Entry) and not both.replayed:
            return
    await ledger.commit(rewarding_friend(friend))


def rewarding_referrer(referrer: str, friend: str, purchase: Qualifying) -> Command:
    """The command on the referrer's wallet for that friend's purchase; its key makes it happen once for a friend."""
    return Command(
        member=referrer,
        actor=SYSTEM,
        key=f"{REFERRAL} {friend}",
        operation="rewardReferrer",
        fingerprint=fingerprint_of("rewardReferrer", {"friend": friend}),
        decide=lambda situation: decide_referrer(purchase, situation),
    )


def rewarding_friend(friend: str) -> Command:
    """The command on the friend's wallet; its key makes it happen once."""
    return Command(
        member=friend,
        actor=SYSTEM,
        key=REFERRAL,
        operation="rewardFriend",
        fingerprint=fingerprint_of("rewardFriend", {}),
        decide=decide_friend,
    )


def decide_referrer(purchase: Qualifying, situation: Situation) -> Entry | Problem:
    """The referrer's REFERRAL entry, within the programme's limit for the calendar year."""
    section = situation.programme.definition.referral
    if section is None:
        return NotFound(message="The programme has no referrals any more.", what="referral")
    day = local_date(purchase.final_at, situation.programme.zone)
    if section.per_year is not None and (problem := _limit_reached(section.per_year, day, situation)):
        return problem
    periods = (period_key("year", day), EVER)
    used = tuple(UsageChange(rule=_RULE, period=period, count=1, amount=0) for period in periods)
    return _awarded(Draft(situation, EntryKind.REFERRAL, purchase.final_at), section.referrer, Changes(usage=used))


def decide_friend(situation: Situation) -> Entry | Problem:
    """The friend's REFERRAL entry. Without value when the programme has no referrals any more: it ends there."""
    referral, section = situation.wallet.referral, situation.programme.definition.referral
    purchase = None if referral is None else referral.first
    if referral is None or purchase is None or purchase.final_at > situation.now:
        return NotFound(message="No purchase of a referral is due.", what="referral")
    changes = Changes(referral=replace(referral, waiting=(), is_over=True))
    draft = Draft(situation, EntryKind.REFERRAL, purchase.final_at)
    return draft.entry(changes=changes) if section is None else _awarded(draft, section.friend, changes)


def _awarded(draft: Draft, award: FixedAward, changes: Changes) -> Entry:
    """The entry that gives the award."""
    earned = fixed(award, section=REFERRAL, identifier=REFERRAL, currency=draft.situation.programme.currency)
    draft.give(earned)
    idle_until = draft.idle_until() if draft.postings else {}
    return draft.entry(
        changes=replace(changes, lifetime_points=earned.points, idle_until=idle_until), explanation=earned.rows
    )


def _limit_reached(most: int, day: date, situation: Situation) -> LimitReached | None:
    used = situation.wallet.usage.get(_RULE, {}).get(period_key("year", day))
    if used is None or used.count < most:
        return None
    resets_on = next_start("year", day)
    return LimitReached(
        message=f"At most {most} friends are rewarded per year.",
        limit="referral_per_year",
        headroom="0",
        resets_at=None if resets_on is None else start_of_day(resets_on, situation.programme.zone),
    )
