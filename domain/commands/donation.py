"""Points or cashback given to a charity that the programme lists; each charity has its own account (SEMANTICS §5.6)."""

from dataclasses import dataclass

from domain.ledger.draft import Draft, Situation
from domain.ledger.entry import Changes, Entry, EntryKind
from domain.ledger.posting import POINTS, currency_of
from domain.problems import NotFound, Problem, invalid
from domain.programme.programme import Programme


@dataclass(frozen=True, slots=True, kw_only=True)
class Donation:
    """`amount` above zero of `asset` (points or cashback) in its own unit."""

    charity: str
    asset: str
    amount: int


def check_donation(donation: Donation, programme: Programme) -> Problem | None:
    """What is wrong with it whatever the wallet holds."""
    path = "points" if donation.asset == POINTS else "cashback"
    if donation.amount <= 0:
        return invalid(path, "A donation must be more than zero.")
    if donation.asset != POINTS and currency_of(donation.asset) != programme.currency:
        return invalid("cashback.currency", f"The programme's currency is {programme.currency}.")
    if donation.charity not in {charity.id for charity in programme.definition.charities}:
        return NotFound(message=f"The programme has no charity {donation.charity!r}.", what="charity")
    return None


def decide_donation(donation: Donation, situation: Situation) -> Entry | Problem:
    """The DONATE entry, or what is missing."""
    draft = Draft(situation, EntryKind.DONATE, situation.now)
    if shortage := draft.shortage(donation.asset, donation.amount):
        return shortage
    draft.spend(donation.asset, donation.amount, destination=f"charity/{donation.charity}")
    return draft.entry(changes=Changes(idle_until=draft.idle_until()))
