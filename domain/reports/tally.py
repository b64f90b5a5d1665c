"""What one entry adds to the numbers of a report. Pure; whoever counts, recounts or audits counts by this.

An entry counts on the programme's day on which it happened (`occurred_at`, in the zone of the version that decided it),
so that receipts brought in late change the report of their own day, and what fell due counts on the day on which
it did, whenever it was posted. Sums are kept by name:

    members                     who joined
    purchases                   receipts recorded
    ordered:<currency>          their totals, in minor units
    returned:<currency>         what was given back of purchases, in minor units
    earned                      points given, less what returns took back: as `lifetimeEarned` counts them
    redeemed                    points turned into rewards, cashback or donations, less what came back of them
    expired                     points that expired
    outstanding:<asset>         what members hold now and did not before, in the asset's unit
    pilot:<rule>:<arm>:<name>   purchases, ordered and earned of purchases `in` the rule's pilot or `out` of it
    tier:<level>:<threshold>    members who hold it from that day on, less those who held it until then
    after:<n>:<arm>:<before>    purchases by when their member's n-th before them was (1 and 2; empty for none): of all
                                purchases (<arm> is empty), or of those on one side of a pilot (<rule>:<arm>)

The last make distinct members a sum: in any period each member who bought has just one purchase whose last one lies
before the period, and one or two whose last but one does. A day has them by day, a month by month; a month as it
follows upon an earlier one has those after the earlier one's days, for periods that begin within it. What lies
within the span itself is left out.
"""

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import islice
from typing import Any, Final
from zoneinfo import ZoneInfo

from domain.ledger.entry import EntryKind
from domain.ledger.expiry import local_date
from domain.ledger.posting import POINTS, is_members
from domain.programme.programme import Programme, Rule
from domain.reports.span import following_span, month_span

VERSION: Final = 3
"""Of what is counted and how. With another one everything is counted anew."""

ENTRY_FIELDS: Final = (
    "seq",
    "kind",
    "occurred_at",
    "programme_version",
    "place",
    "purchase",
    "returned",
    "changes",
    "postings",
)
"""What is read of an entry, beside its member and slot."""

ARMS: Final = ("in", "out")

_REDEEMED: Final = ("programme/redeemed", "programme/converted", "charity/")
_EXPIRED: Final = "programme/expired"

AFTER: Final = "after:"
"""How names begin that only those read who look for distinct members."""

Purchases = bytes
"""A member's purchases in the order of their days: for each a 64-bit number (little-endian), the day's ordinal above
the 32 bits of its entry's sequence."""

Spans = Mapping[str, Counter[str]]
"""Span → what is added to its sums, by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """What counting needs of the version that decided an entry. `pilots` are the purchase rules that have one."""

    zone: ZoneInfo
    currency: str
    pilots: tuple[Rule, ...]
    regions: Mapping[str, str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class TierChange:
    """From `since` on the member holds the level; `sequence` is that of the entry that says so."""

    sequence: int
    since: date
    level: str
    threshold: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What one entry says: `sums` of its day; of its member whether he bought, in which arms, and his tier from now."""

    sequence: int
    day: date
    sums: Mapping[str, int]
    bought: bool = False
    arms: Mapping[str, str] = field(default_factory=dict)
    tier: TierChange | None = None

    @property
    def is_members(self) -> bool:
        """Whether it says anything of its member alone."""
        return self.bought or self.tier is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberDays:
    """One member, as counting needs him: his purchases, by pilot and arm too, and his tiers in turn.

    `sequence` is that of the last entry counted. What he was before any of them can be told from it, so that an entry
    adds the same whoever counts it again, and when.
    """

    member: str
    sequence: int = 0
    purchases: Purchases = b""
    arms: Mapping[str, Purchases] = field(default_factory=dict)
    tiers: tuple[TierChange, ...] = ()


def basis_of(programme: Programme) -> Basis:
    """The basis of that version."""
    rules = programme.rules.get("purchase")
    return Basis(
        zone=programme.zone,
        currency=programme.currency,
        pilots=() if rules is None else tuple(rule for rule in (*rules.awards, *rules.multipliers) if rule.pilot),
        regions={place.id: place.region for place in programme.places.values()},
    )


def tally_of(entry: Mapping[str, Any], basis: Basis) -> Tally:
    """What a stored entry adds."""
    day = local_date(entry["occurred_at"], basis.zone)
    sums: Counter[str] = Counter()
    changes: Mapping[str, Any] = entry.get("changes") or {}
    earned = changes.get("lifetime_points", 0)
    for posting in entry["postings"]:
        _add_posting(sums, posting)
    sums["earned"] += earned
    kind, arms = entry["kind"], {}
    if kind == EntryKind.JOIN.value:
        sums["members"] += 1
    elif kind == EntryKind.RETURN.value and entry.get("returned"):
        sums[f"returned:{basis.currency}"] += entry["returned"]["amount_minor"]
    elif kind == EntryKind.PURCHASE.value:
        own = {"purchases": 1, f"ordered:{entry['purchase']['currency']}": entry["purchase"]["total_minor"]}
        sums.update(own)
        arms = _arms(entry, basis, day)
        for rule, arm in arms.items():
            for name, amount in (*own.items(), ("earned", earned)):
                sums[f"pilot:{rule}:{arm}:{name}"] += amount
    return Tally(
        sequence=entry["seq"],
        day=day,
        sums={name: amount for name, amount in sums.items() if amount},
        bought=kind == EntryKind.PURCHASE.value,
        arms=arms,
        tier=_tier(entry["seq"], changes.get("tier")),
    )


def spans_of(tally: Tally, known: MemberDays) -> Spans:
    """What the entry adds, by span.

    `known` has all of the member's entries before it; that it may have later ones makes no difference.
    """
    day = tally.day.isoformat()
    month = month_span(day)
    spans = {day: Counter(tally.sums), month: Counter(tally.sums)}
    if tally.bought:
        _add_purchase(spans, "", known.purchases, tally)
        for arm in _arms_of(tally):
            _add_purchase(spans, arm, known.arms.get(arm, b""), tally)
    if tally.tier is not None:
        before = [change for change in known.tiers if change.sequence < tally.sequence]
        _add_tiers(spans, before, -1)
        _add_tiers(spans, _with_tier(before, tally.tier), +1)
    return {span: sums for span, sums in spans.items() if sums or span in (day, month)}


def with_tally(known: MemberDays, tally: Tally) -> MemberDays:
    """The member with his next entry."""
    assert tally.sequence > known.sequence, (known.member, tally.sequence)
    arms = dict(known.arms)
    for arm in _arms_of(tally):
        arms[arm] = _with_purchase(arms.get(arm, b""), _number(tally))
    return MemberDays(
        member=known.member,
        sequence=tally.sequence,
        purchases=_with_purchase(known.purchases, _number(tally)) if tally.bought else known.purchases,
        arms=arms,
        tiers=known.tiers if tally.tier is None else tuple(_with_tier(known.tiers, tally.tier)),
    )


def member_days_document(known: MemberDays, slot: int) -> dict[str, Any]:
    """As it is stored: one document per member."""
    document: dict[str, Any] = {"_id": known.member, "slot": slot, "seq": known.sequence}
    if known.purchases:
        document["purchases"] = known.purchases
    if known.arms:
        document["arms"] = dict(known.arms)
    if known.tiers:
        document["tiers"] = [
            [change.sequence, change.since.isoformat(), change.level, change.threshold] for change in known.tiers
        ]
    return document


def member_days_from(document: Mapping[str, Any]) -> MemberDays:
    """What :func:`member_days_document` wrote."""
    return MemberDays(
        member=document["_id"],
        sequence=document["seq"],
        purchases=document.get("purchases", b""),
        arms=document.get("arms", {}),
        tiers=tuple(
            TierChange(sequence=sequence, since=date.fromisoformat(since), level=level, threshold=threshold)
            for sequence, since, level, threshold in document.get("tiers", ())
        ),
    )


def _add_posting(sums: Counter[str], posting: Mapping[str, Any]) -> None:
    asset, amount = posting["asset"], posting["amount"]
    source, destination = posting["source"], posting["destination"]
    gained = is_members(destination) - is_members(source)
    if not gained:
        return
    sums[f"outstanding:{asset}"] += gained * amount
    if asset == POINTS:
        other = source if gained > 0 else destination
        if other.startswith(_REDEEMED):
            sums["redeemed"] -= gained * amount
        elif other == _EXPIRED:
            sums["expired"] -= gained * amount


def _arms(entry: Mapping[str, Any], basis: Basis, day: date) -> dict[str, str]:
    """Rule → the arm that the purchase fell into, for pilots that were on that day."""
    place: str | None = entry.get("place")
    arms: dict[str, str] = {}
    for rule in basis.pilots:
        assert rule.pilot is not None, rule
        if rule.valid_from <= day < rule.valid_until:
            region = None if place is None else basis.regions.get(place)
            holds = rule.pilot.holds(member=entry["member"], place=place, region=region)
            arms[rule.id] = "in" if holds else "out"
    return arms


def _tier(sequence: int, document: Mapping[str, Any] | None) -> TierChange | None:
    if document is None:
        return None
    since = date.fromisoformat(document["since_on"])
    return TierChange(sequence=sequence, since=since, level=document["level"], threshold=document["threshold"])


def _arms_of(tally: Tally) -> list[str]:
    return [f"{rule}:{arm}" for rule, arm in tally.arms.items()]


def _add_purchase(spans: dict[str, Counter[str]], arm: str, purchases: Purchases, tally: Tally) -> None:
    """Puts a purchase among those of its member, and the two that follow it in time after it."""
    earlier, later = _around(purchases, _number(tally))
    runs = [([*earlier, tally.day, *later], +1)]
    if later:
        runs.append(([*earlier, *later], -1))
    for days, sign in runs:
        for index in range(2, len(days)):
            _add_following(spans, f"{AFTER}1:{arm}:", days[index - 1], days[index], sign)
            _add_following(spans, f"{AFTER}2:{arm}:", days[index - 2], days[index], sign)


def _add_following(spans: dict[str, Counter[str]], name: str, before: date | None, day: date | None, sign: int) -> None:
    """Counts a purchase of that day by when the one before it was."""
    assert day is not None, before
    later = day.isoformat()
    if before is None:
        _add(spans, later, name, sign)
        _add(spans, month_span(later), name, sign)
        return
    earlier = before.isoformat()
    if earlier < later:
        _add(spans, later, name + earlier, sign)
    if earlier[:7] < later[:7]:
        _add(spans, month_span(later), name + earlier[:7], sign)
        _add(spans, following_span(earlier, later), name + earlier, sign)


def _add_tiers(spans: dict[str, Counter[str]], changes: Sequence[TierChange], sign: int) -> None:
    """A change holds from its day on, whatever earlier entries say of that day and later ones."""
    steps: list[TierChange] = []
    for change in changes:
        while steps and steps[-1].since >= change.since:
            steps.pop()
        steps.append(change)
    for index, step in enumerate(steps):
        day = step.since.isoformat()
        for span in (day, month_span(day)):
            _add(spans, span, _tier_name(step), sign)
            if index:
                _add(spans, span, _tier_name(steps[index - 1]), -sign)


def _tier_name(change: TierChange) -> str:
    return f"tier:{change.level}:{change.threshold}"


def _add(spans: dict[str, Counter[str]], span: str, name: str, amount: int) -> None:
    sums = spans.get(span)
    if sums is None:
        sums = spans[span] = Counter()
    amount += sums.get(name, 0)
    if amount:
        sums[name] = amount
    else:
        del sums[name]


def _with_tier(tiers: Sequence[TierChange], change: TierChange) -> Sequence[TierChange]:
    return tiers if tiers and tiers[-1].level == change.level else (*tiers, change)


def _number(tally: Tally) -> int:
    assert 0 < tally.sequence < 1 << 32, tally
    return tally.day.toordinal() << 32 | tally.sequence


def _around(purchases: Purchases, number: int) -> tuple[list[date | None], list[date]]:
    """The days of the two purchases before and of up to two after the one of that number, as they were when it came."""
    numbers, sequence = memoryview(purchases).cast("Q"), number & 0xFFFFFFFF
    at = bisect_left(numbers, number)
    earlier = islice((each for each in reversed(numbers[:at]) if each & 0xFFFFFFFF < sequence), 2)
    later = islice((each for each in numbers[at:] if each & 0xFFFFFFFF < sequence), 2)
    before: list[date | None] = [date.fromordinal(each >> 32) for each in earlier]
    return [*[None] * (2 - len(before)), *reversed(before)], [date.fromordinal(each >> 32) for each in later]


def _with_purchase(purchases: Purchases, number: int) -> Purchases:
    numbers = array("Q", purchases)
    numbers.insert(bisect_left(numbers, number), number)
    return numbers.tobytes()
