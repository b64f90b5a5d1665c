"""Staff correct a balance by hand, with a reason that the member can read.

An adjustment is neither earning nor spending: it moves no tier and counts as no activity (SEMANTICS §2.3).
"""

from dataclasses import dataclass

from domain.ledger.draft import Draft, Situation
from domain.ledger.entry import Changes, Entry, EntryKind, Note
from domain.ledger.posting import POINTS, currency_of, pocket_of
from domain.problems import Problem, invalid
from domain.programme.earning import ExplanationRow
from domain.programme.programme import Programme

ADJUSTMENTS = "programme/adjustments"


@dataclass(frozen=True, slots=True, kw_only=True)
class Adjustment:
    """`amount` (signed, not zero) of `asset` in its own unit."""

    asset: str
    amount: int
    reason: Note


def check_adjustment(adjustment: Adjustment, programme: Programme) -> Problem | None:
    """What is wrong with it whatever the wallet holds."""
    if adjustment.asset != POINTS and currency_of(adjustment.asset) != programme.currency:
        return invalid("money.currency", f"The programme's currency is {programme.currency}.")
    return None


def decide_adjustment(adjustment: Adjustment, situation: Situation) -> Entry | Problem:
    """Credit under the asset's own expiry policy, or take in spending order; never below zero.

    What is given can be spent at once: no purchase that may be returned stands behind it.
    """
    draft = Draft(situation, EntryKind.ADJUST, situation.now)
    asset, amount = adjustment.asset, adjustment.amount
    if amount > 0:
        draft.award_at_once(asset, amount, source=ADJUSTMENTS)
    else:
        if shortage := draft.shortage(asset, -amount):
            return shortage
        draft.spend(asset, -amount, destination=ADJUSTMENTS)
    row = ExplanationRow(
        rule="adjustment",
        step="adjustment",
        points=amount if asset == POINTS else 0,
        cashback_minor=amount if pocket_of(asset) == "cashback" else 0,
    )
    changes = Changes(idle_until=draft.idle_until(missing_only=True) if amount > 0 else {})
    return draft.entry(changes=changes, explanation=(row,), note=adjustment.reason)
