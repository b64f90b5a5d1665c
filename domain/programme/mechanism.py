"""A mechanism: what a programme makes of what members do, besides its earning rules. Pure.

A mechanism is one module with its part of the entry of a command, listed in :mod:`domain.programme.mechanisms`, and a
section of the definition. Every command that is an event tells it what happened, once, and it answers with an
:class:`Advance`: the state from now on, what is given, and what the entry says of it. All of that goes into the
one entry of the command, so it is exact, repeatable and previewed like everything else.

State is kept as plain documents, by the section and a key that the mechanism chooses, mostly the id of an item of the
section; a mechanism with a great many of them keeps each as a text, which is read in a third of the time. A document
holds text, whole numbers, instants, lists and further documents; a key has neither dots nor dollars. A state is
replaced as a whole and must be bounded: it forgets what nothing can need any more. It outlives its item, so that an
item that comes back does not give again what it gave.

A streak plugs in like this, and the badges that count `streak.<id>` follow it in the same entry:

- `domain/programme/streaks.py` has `STREAKS = Mechanism(section="streaks", advance=…, counters=…, listens=…)`.
- `advance(states, happening)` goes through `happening.programme.definition.streaks`, passes over those whose `event`
  is not `happening.event` or whose `happening.condition("streaks", streak.id)` does not hold, and returns an
  `Advance` with a new document under the streak's id, what milestones give (`fixed(…)`), and a mark under its id
  with what `Entry.awards.streaks` will show. The member's day is that of `occurred_at` in `happening.zone`.
- `counters(states)` returns `{"streak.<id>": longest run so far, "streak.<id>.current": length of the latest run}`.
  Badges count the first and are only ever raised, so a longest run that late events make is never lost on them;
  challenges count the second, so that no run of long ago wins today's.
- `STREAKS` stands in the list before `BADGES`.
- What is read at an instant (broken or not, at risk) is worked out by the reader from `wallet.progress["streaks"]`;
  the marks of an entry are in `entry.marks["streaks"]`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from domain.ledger.expiry import local_date
from domain.ledger.visit import NO_VISIT, VisitChange
from domain.money import to_minor
from domain.programme.cel import Facts
from domain.programme.earning import BonusAward, Earnings, ExplanationRow, Usage, VoucherAward
from domain.programme.facts import MemberFacts
from domain.programme.format import Definition, FixedAward
from domain.programme.programme import Programme
from domain.programme.stays import Stays

Document = Any
"""One state: a mapping, or a text where a wallet has many of them and reading each must be cheap."""

Progress = Mapping[str, Mapping[str, Document]]
"""Section → key → the state of it, as wallets hold it."""

ProgressChanges = Mapping[str, Mapping[str, Document | None]]
"""Section → key → the state from now on; None where there is none any more."""

NOTHING_EARNED: Final = Earnings()

RETURN = "return"
"""The event of a return. No rule can name it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Undone:
    """The purchase that a return takes back, and how much of it went back before and goes back now.

    `marks` are those of its entry, `states` what it changed, and `day` its day of the programme, as stored.
    """

    marks: Progress
    states: ProgressChanges
    occurred_at: datetime
    day: date
    total_minor: int
    before_minor: int
    now_minor: int

    @property
    def is_all(self) -> bool:
        """Whether nothing is left of the purchase."""
        return self.before_minor + self.now_minor == self.total_minor

    def part_of(self, given: int) -> int:
        """What of `given` this return takes, so that all returns together never take more than it (SEMANTICS §4.1)."""
        left = self.total_minor - self.before_minor
        return given * left // self.total_minor - given * (left - self.now_minor) // self.total_minor


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """What one command tells the mechanisms.

    `event` is named as in earning rules, or :data:`RETURN`; then `undone` says of what. `day` is the programme's day
    on which it happened. `facts` are those that its conditions may use. `zone` is the member's, and `stays` are where
    he has been. `lines` are the facts of each line of the receipt, `visit` is what it does to the member's visits.
    `counters` are his `visits`, `purchases` and `spend` (minor units) after it, and what earlier mechanisms count.
    `latest_at` is the latest purchase known, this one included: it says what is old. `usage` is what limited rules gave
    before.
    """

    event: str
    programme: Programme
    member: MemberFacts
    occurred_at: datetime
    now: datetime
    zone: ZoneInfo
    stays: Stays
    facts: Facts = field(default_factory=dict)
    place: str | None = None
    region: str | None = None
    lines: Sequence[Mapping[str, Any]] = ()
    total_minor: int = 0
    visit: VisitChange = NO_VISIT
    counters: Mapping[str, int] = field(default_factory=dict)
    latest_at: datetime | None = None
    usage: Usage = field(default_factory=dict)
    undone: Undone | None = None
    day: date = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "day", local_date(self.occurred_at, self.programme.zone))

    def condition(self, section: str, identifier: str) -> bool:
        """Whether the `when` of that item of the section holds; it does where there is none."""
        condition = self.programme.conditions.get((section, identifier, "when"))
        return condition is None or condition.holds(self.facts)

    def matching(self, section: str, identifier: str) -> Sequence[Mapping[str, Any]]:
        """The lines of which the item's `lines` hold; all where there is no such condition."""
        condition = self.programme.conditions.get((section, identifier, "lines"))
        if condition is None:
            return self.lines
        facts, found = dict(self.facts), []
        for line in self.lines:
            facts["line"] = line
            if condition.holds(facts):
                found.append(line)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Advance:
    """What a mechanism makes of a happening: only the states that change, by key, None for one that ends.

    `marks` are what the entry says of it, by key, for its reader and for a later return. `earned` has a row of the
    explanation for all value that it gives.
    """

    states: Mapping[str, Document | None] = field(default_factory=dict)
    marks: Mapping[str, Document] = field(default_factory=dict)
    earned: Earnings = NOTHING_EARNED


def counts_nothing(_states: Mapping[str, Document]) -> Mapping[str, int]:
    """What a mechanism counts that counts nothing for others."""
    return {}


def _listens_to_nothing(_definition: Definition) -> Iterable[str]:
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Mechanism:
    """One mechanism: `advance` takes its states and what happened.

    `section` is its key in the definition, under which its states stand, and the step of its rows. `counters` are what
    its states count for those that come after it. `listens` names the events that it wants to hear of though no
    earning rule gives anything for them.
    """

    section: str
    advance: Callable[[Mapping[str, Document], Happening], Advance]
    counters: Callable[[Mapping[str, Document]], Mapping[str, int]] = counts_nothing
    listens: Callable[[Definition], Iterable[str]] = _listens_to_nothing


def fixed(award: FixedAward, *, section: str, identifier: str, currency: str) -> Earnings:
    """What an award of that item gives, with its row: the section is its step, the item its rule."""
    points, cashback_minor = award.points or 0, to_minor(award.cashback, currency) if award.cashback else 0
    return Earnings(
        points=points,
        cashback_minor=cashback_minor,
        rows=(ExplanationRow(identifier, section, points, cashback_minor),),
        vouchers=() if award.voucher is None else (VoucherAward(kind=award.voucher),),
        bonuses=() if award.bonus is None else (BonusAward(kind=award.bonus),),
    )


def together(earnings: Sequence[Earnings]) -> Earnings:
    """All of them as one, their rows in order."""
    if not earnings:
        return NOTHING_EARNED
    return Earnings(
        points=sum(each.points for each in earnings),
        cashback_minor=sum(each.cashback_minor for each in earnings),
        rows=tuple(row for each in earnings for row in each.rows),
        used=tuple(used for each in earnings for used in each.used),
        vouchers=tuple(voucher for each in earnings for voucher in each.vouchers),
        bonuses=tuple(bonus for each in earnings for bonus in each.bonuses),
    )
