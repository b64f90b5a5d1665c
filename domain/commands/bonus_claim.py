"""Claiming a growing bonus: all that it is worth at the moment becomes cashback (SEMANTICS §7)."""

from domain.ledger.bonus import worth_minor
from domain.ledger.draft import Draft, Situation
from domain.ledger.entry import Changes, Entry, EntryKind
from domain.ledger.journal import Journal
from domain.ledger.wallet import Wallet
from domain.problems import NotFound, Problem, WrongState
from domain.programme.earning import ExplanationRow

BONUSES = "programme/bonuses"


_ENDS = {EntryKind.EXPIRE: "EXPIRED", EntryKind.RETURN: "CANCELLED"}


async def load_ended_bonus(bonus: str, journal: Journal, wallet: Wallet) -> EntryKind | None:
    """What ended the bonus (BONUS_CLAIM, EXPIRE or RETURN); None when it is open, or no bonus of this wallet."""
    if bonus in wallet.bonuses:
        return None
    found = await journal.ending_bonus(wallet.member, bonus)
    return None if found is None else found.kind


def decide_claim(bonus_id: str, situation: Situation) -> Entry | Problem:
    """The BONUS_CLAIM entry. `evidence` is what :func:`load_ended_bonus` read."""
    bonus = situation.wallet.bonuses.get(bonus_id)
    if bonus is None and situation.evidence is not None:
        state = _ENDS.get(situation.evidence, "CLAIMED")
        return WrongState(message=f"The bonus is {state.lower()}.", state=state)
    if bonus is None:
        return NotFound(message=f"The member has no bonus {bonus_id}.", what="bonus")
    draft = Draft(situation, EntryKind.BONUS_CLAIM, situation.now)
    worth = worth_minor(bonus, situation.now)
    draft.award_at_once(f"cashback/{bonus.currency}", worth, source=BONUSES)
    return draft.entry(
        changes=Changes(ended_bonuses=(bonus.id,), idle_until=draft.idle_until()),
        explanation=(ExplanationRow(rule=bonus.definition, step="award", points=0, cashback_minor=worth),),
    )
