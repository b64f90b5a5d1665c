"""The streaks of a programme as a mechanism: which event counts for which, and what their milestones give.

The decisions are in :mod:`domain.programme.streak`. Whoever reads a wallet works a streak out for his instant, with
:func:`streak_standing`: a streak breaks by itself.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

from domain.programme.format import Definition, Streak
from domain.programme.mechanism import RETURN, Advance, Document, Happening, Mechanism, Progress, fixed, together
from domain.programme.programme import Programme
from domain.programme.stays import Stays
from domain.programme.streak import Occasion, StreakStanding, record, standing
from domain.programme.streak_log import DAYS, streak_log_documents, streak_log_from

SECTION: Final = "streaks"


def streak_standing(
    progress: Progress, streak: Streak, programme: Programme, *, stays: Stays, now: datetime
) -> StreakStanding:
    """How the streak stands at that instant, of what the wallet holds: 0 once it is broken (SEMANTICS §8.3)."""
    log = streak_log_from(progress.get(SECTION, {}))
    return standing(log, streak, stays=stays, closed=programme.closed, now=now)


def standing_from(mark: Document) -> StreakStanding:
    """How a streak stood after the entry that the mark is of."""
    return StreakStanding(**mark)


def _advance(states: Mapping[str, Document], happening: Happening) -> Advance:
    programme, streaks = happening.programme, happening.programme.definition.streaks
    if happening.event == RETURN or not streaks:
        return Advance()
    counts_for = [
        each.id for each in streaks if each.event == happening.event and happening.condition(SECTION, each.id)
    ]
    if not counts_for and happening.place is None:
        return Advance()
    before = streak_log_from(states)
    recorded = record(
        before,
        streaks,
        Occasion(occurred_at=happening.occurred_at, counts_for=tuple(counts_for), place=happening.place),
        stays=happening.stays,
        closed=programme.closed,
        now=happening.now,
    )
    if recorded.log is None or recorded.log is before:
        return Advance()
    awards = {(streak.id, milestone.at): milestone.award for streak in streaks for milestone in streak.milestones}
    return Advance(
        states=streak_log_documents(recorded.log, before=before),
        marks={streak: _mark(standing) for streak, standing in recorded.standings.items()},
        earned=together(
            [
                fixed(awards[each], section=SECTION, identifier=each.streak, currency=programme.currency)
                for each in recorded.reached
            ]
        ),
    )


def _mark(standing: StreakStanding) -> Document:
    values = ((name, getattr(standing, name)) for name in StreakStanding.__slots__)
    return {name: value for name, value in values if value is not None}


def _counters(states: Mapping[str, Document]) -> Mapping[str, int]:
    """The longest run of each streak: badges are never taken away, and what they count never falls."""
    return {f"streak.{streak}": state.get("best", 0) for streak, state in states.items() if streak != DAYS}


def _listens(definition: Definition) -> Iterable[str]:
    return [streak.event for streak in definition.streaks]


STREAKS: Final = Mechanism(section=SECTION, advance=_advance, counters=_counters, listens=_listens)
