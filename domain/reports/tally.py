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
"""

from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final
from zoneinfo import ZoneInfo

from domain.ledger.entry import EntryKind
from domain.ledger.expiry import local_date
from domain.ledger.posting import POINTS, is_members
from domain.programme.programme import Programme, Rule

VERSION: Final = 2
"""Of what is counted and how. With another one everything is counted anew."""

ENTRY_FIELDS: Final = (
    "kind",
    "occurred_at",
    "programme_version",
    "place",
    "purchase",
    "returned",
    "changes",
    "postings",
)
"""What is read of an entry, beside its member, slot and sequence."""

EPOCH: Final = date(2000, 1, 1)
"""Day 0 of a :data:`Days`; members have one 16-bit number for each day on which they bought."""

ARMS: Final = ("in", "out")

_REDEEMED: Final = ("programme/redeemed", "programme/converted", "charity/")
_EXPIRED: Final = "programme/expired"

Days = bytes
"""Days since :data:`EPOCH`, rising, as 16-bit numbers of the machine's order (little-endian); one per purchase."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """What counting needs of the version that decided an entry. `pilots` are the purchase rules that have one."""

    zone: ZoneInfo
    currency: str
    pilots: tuple[Rule, ...]
    regions: Mapping[str, str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class TierChange:
    """From `since` (days since :data:`EPOCH`) on the member holds the level."""

    since: int
    level: str
    threshold: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What one entry adds: `sums` to its day, and to its member's days whether it is a purchase, by arm for pilots."""

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
    """One member, as reports need him: the days of his purchases, by pilot and arm too, and his tiers in turn.

    `sequence` is that of the last entry counted.
    """

    member: str
    sequence: int = 0
    days: Days = b""
    arms: Mapping[str, Days] = field(default_factory=dict)
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
        day=day,
        sums={name: amount for name, amount in sums.items() if amount},
        bought=kind == EntryKind.PURCHASE.value,
        arms=arms,
        tier=_tier(changes.get("tier")),
    )


def with_tally(known: MemberDays, sequence: int, tally: Tally) -> MemberDays:
    """The member's days with his next entry."""
    assert sequence > known.sequence, (known.member, sequence)
    number = day_number(tally.day)
    arms = dict(known.arms)
    for rule, arm in tally.arms.items():
        name = f"{rule}:{arm}"
        arms[name] = _with_day(arms.get(name, b""), number)
    tiers = known.tiers
    if tally.tier is not None and (not tiers or tiers[-1].level != tally.tier.level):
        tiers = (*tiers, tally.tier)
    return MemberDays(
        member=known.member,
        sequence=sequence,
        days=_with_day(known.days, number) if tally.bought else known.days,
        arms=arms,
        tiers=tiers,
    )


def day_number(day: date) -> int:
    """Days since :data:`EPOCH`, held within what 16 bits hold."""
    return min(max((day - EPOCH).days, 0), 0xFFFF)


def count_between(days: Days, first: int, end: int) -> int:
    """How many of the days are in `[first, end)`, as day numbers."""
    if not days:
        return 0
    numbers = memoryview(days).cast("H")
    return bisect_left(numbers, end) - bisect_left(numbers, first)


def member_days_document(known: MemberDays, slot: int) -> dict[str, Any]:
    """As it is stored: one document per member."""
    document: dict[str, Any] = {"_id": known.member, "slot": slot, "seq": known.sequence}
    if known.days:
        document["days"] = known.days
    if known.arms:
        document["arms"] = dict(known.arms)
    if known.tiers:
        document["tiers"] = [[change.since, change.level, change.threshold] for change in known.tiers]
    return document


def member_days_from(document: Mapping[str, Any]) -> MemberDays:
    """What :func:`member_days_document` wrote."""
    return MemberDays(
        member=document["_id"],
        sequence=document["seq"],
        days=document.get("days", b""),
        arms=document.get("arms", {}),
        tiers=tuple(
            TierChange(since=since, level=level, threshold=threshold)
            for since, level, threshold in document.get("tiers", ())
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


def _tier(document: Mapping[str, Any] | None) -> TierChange | None:
    if document is None:
        return None
    since = date.fromisoformat(document["since_on"])
    return TierChange(since=day_number(since), level=document["level"], threshold=document["threshold"])


def _with_day(days: Days, number: int) -> Days:
    numbers = array("H", days)
    numbers.insert(bisect_right(numbers, number), number)
    return numbers.tobytes()
