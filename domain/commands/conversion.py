"""Points into cashback at the programme's rate, in whole steps only (SEMANTICS §5.6)."""

from domain.ledger.draft import Draft, Situation
from domain.ledger.entry import Changes, Entry, EntryKind
from domain.ledger.posting import POINTS
from domain.money import to_minor
from domain.problems import NotEligible, Problem, invalid
from domain.programme.earning import ExplanationRow
from domain.programme.programme import Programme

CONVERTED = "programme/converted"


def check_conversion(points: int, programme: Programme) -> Problem | None:
    """Whether the programme converts, and the points are whole steps of its rate."""
    rate = programme.definition.conversion
    if rate is None:
        return NotEligible(message="The programme does not convert points.", reason="NO_CONVERSION")
    if points <= 0 or points % rate.points:
        return invalid("points", f"Points are converted in steps of {rate.points}.")
    return None


def decide_conversion(points: int, situation: Situation) -> Entry | Problem:
    """The CONVERT entry: points go, cashback comes under the programme's policy for it."""
    programme = situation.programme
    rate = programme.definition.conversion
    assert rate is not None, programme
    draft = Draft(situation, EntryKind.CONVERT, situation.now)
    if shortage := draft.shortage(POINTS, points):
        return shortage
    worth_minor = points // rate.points * to_minor(rate.cashback, programme.currency)
    draft.spend(POINTS, points, destination=CONVERTED)
    draft.award_at_once(f"cashback/{programme.currency}", worth_minor, source=CONVERTED)
    row = ExplanationRow(rule="conversion", step="award", points=-points, cashback_minor=worth_minor)
    return draft.entry(changes=Changes(idle_until=draft.idle_until()), explanation=(row,))
