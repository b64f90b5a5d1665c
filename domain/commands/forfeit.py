"""Forfeit: what an erased member leaves behind goes to the programme, in an entry of its own (SEMANTICS §9.5).

Points, cashback and bonus always; paid money only if he said so. The ledger balances and says where it went. His plan
renews no more, so that it takes nothing of money that comes late.
"""

from dataclasses import replace

from domain.ledger.command import Command, fingerprint_of
from domain.ledger.draft import Draft, Situation
from domain.ledger.due import SYSTEM
from domain.ledger.entry import Changes, Entry, EntryKind
from domain.ledger.posting import POINTS, pocket_of
from domain.problems import Problem, WrongState
from domain.programme.earning import ExplanationRow

FORFEITED = "programme/forfeited"
FORFEIT_KEY = "erasure"
_PAID = "prepaid"


def forfeiting(member: str, *, paid_too: bool) -> Command:
    """The command that empties the erased member's wallet; its key makes it happen once."""
    return Command(
        member=member,
        actor=SYSTEM,
        key=FORFEIT_KEY,
        operation=FORFEIT_KEY,
        fingerprint=fingerprint_of(FORFEIT_KEY, {"paid_too": paid_too}),
        decide=lambda situation: decide_forfeit(situation, paid_too=paid_too),
    )


def decide_forfeit(situation: Situation, *, paid_too: bool) -> Entry | Problem:
    """Everything that is available, to the programme; a wallet with nothing, and no plan, is left as it is."""
    draft = Draft(situation, EntryKind.ADJUST, situation.now)
    points = cashback = 0
    for asset in sorted({lot.asset for lot in situation.wallet.lots}):
        amount = draft.available(asset)
        if amount and (paid_too or pocket_of(asset) != _PAID):
            draft.spend(asset, amount, destination=FORFEITED)
            points -= amount if asset == POINTS else 0
            cashback -= amount if pocket_of(asset) == "cashback" else 0
    plan = situation.wallet.plan
    if not draft.postings and (plan is None or not plan.renews):
        return WrongState(message="There is nothing to forfeit.", state="EMPTY")
    row = ExplanationRow(rule="adjustment", step="adjustment", points=points, cashback_minor=cashback)
    changes = Changes() if plan is None else Changes(plan=replace(plan, renews=False))
    return draft.entry(changes=changes, explanation=(row,))
