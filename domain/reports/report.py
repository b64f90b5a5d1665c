"""The numbers of the programme over a period of the programme's days, from what was counted of the journal.

What is counted already (:mod:`domain.reports.counting`) is read as it stands; what the journal has beyond it is added
in memory before the answer, so a report shows every entry that was acknowledged before it was asked for, with or
without a worker. What is due but not posted yet (DESIGN §3) is in no entry, and so in no report, until it is.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from fractions import Fraction
from typing import Any, Final

from bson.codec_options import CodecOptions
from bson.timestamp import Timestamp
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import OperationFailure

from domain.ledger.accounts import HISTORY_LOST, WANTED, Change, order_of, watch
from domain.ledger.posting import POINTS, currency_of
from domain.programme.programme import Programme
from domain.programme.published import Programmes
from domain.programme.tiers import TierState, held
from domain.reports.counting import Counting, month_of, slot_in, span_in, sums_id
from domain.reports.tally import (
    ARMS,
    EPOCH,
    Days,
    MemberDays,
    Tally,
    count_between,
    day_number,
    member_days_document,
    member_days_from,
    with_tally,
)
from domain.store.connection import Document, Store
from domain.store.slots import SLOTS

CATCH_UP_SECONDS: Final = 20.0
"""How long a report waits for the end of the journal before it says that it cannot."""


BATCH: Final = 10_000


class NotCaughtUp(Exception):  # noqa: N818 -- says what is the case
    """The journal's end was not reached in time; the report may be asked for again."""

    def __init__(self) -> None:
        super().__init__("The numbers have not caught up with the journal yet. Ask again in a minute.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Buying:
    """Purchases of a period. Money is by currency, in minor units.

    `active` are members with a purchase, `repeating` those with two or more. `ordered_minor` are the receipts' totals.
    """

    active: int = 0
    repeating: int = 0
    purchases: int = 0
    ordered_minor: Mapping[str, int] = field(default_factory=dict)
    earned: int = 0

    @property
    def repeat_rate(self) -> Fraction:
        """Those with two or more purchases ÷ those with one or more; 0 where there are none."""
        return _share(self.repeating, self.active)


@dataclass(frozen=True, slots=True, kw_only=True)
class PilotReport:
    """A rule's pilot beside the rest: purchases of the period on days when it was on, inside of it and outside."""

    rule: str
    inside: Buying
    outside: Buying


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The numbers of `[since, until)`; those that stand rather than happen are as of the start of `until`.

    `members` joined before `until`, whoever was erased since among them. Points are net: `buying.earned` of what
    returns took back, `redeemed` of what came back. Outstanding is what members hold, pending and held value too, less
    what they owe. `tiers` are the members at each level of the programme in force, the lowest first.
    """

    since: date
    until: date
    members: int
    buying: Buying
    returned_minor: Mapping[str, int]
    redeemed: int
    expired: int
    points_outstanding: int
    prepaid_outstanding_minor: Mapping[str, int]
    cashback_outstanding_minor: Mapping[str, int]
    tiers: Mapping[str, int]
    pilots: tuple[PilotReport, ...]

    @property
    def participation_rate(self) -> Fraction:
        """Active ÷ members."""
        return _share(self.buying.active, self.members)

    @property
    def redemption_rate(self) -> Fraction:
        """Points redeemed ÷ points earned in the period; 0 where none were earned."""
        return _share(self.redeemed, self.buying.earned)

    @property
    def spend_minor(self) -> Mapping[str, int]:
        """The receipts' totals less what was given back in the period, by currency, in minor units."""
        return _sum(self.buying.ordered_minor, {name: -amount for name, amount in self.returned_minor.items()})


@dataclass(slots=True)
class _Tail:
    """What the journal has beyond what was counted: entries in the log's order, and slots that were never counted."""

    changes: list[Change] = field(default_factory=list)
    uncounted: list[int] = field(default_factory=list)


async def report(store: Store, programmes: Programmes, *, since: date, until: date) -> Report:
    """The report over `[since, until)`, the programme's days. Raises NotCaughtUp."""
    assert since < until, (since, until)
    counting = Counting(store, programmes)
    tail = await _tail(store)
    tallies = await counting.tallies([change.entry for change in tail.changes])
    anew_sums: dict[str, Counter[str]] = {}
    anew: list[MemberDays] = []
    if tail.uncounted:
        anew = [known async for known, _ in counting.members_at(tail.uncounted, None, anew_sums)]
    counted, members = await asyncio.gather(
        _sums(store, tail, tallies, anew_sums, since=since, until=until),
        _members(store, tail, tallies, since=since, until=until),
    )
    for known in anew:
        members.add(known)
    return _report(programmes.current, counted, members, since=since, until=until)


async def _tail(store: Store) -> _Tail:
    """Everything in the journal until now that the slots' positions do not reach."""
    now = await store.client.admin.command("ping")
    at: Timestamp = now["operationTime"]
    tokens = {
        document["_id"]: document["token"]
        async for document in store.accounts.find({}, {"token": 1, "beside": 1})
        if document.get("beside") == Counting.name and "token" in document
    }
    tail = _Tail(uncounted=[slot for slot in range(SLOTS) if slot not in tokens])
    if not tokens:
        return tail
    end, deadline = f"82{at.time:08X}{at.inc:08X}", time.monotonic() + CATCH_UP_SECONDS
    try:
        stream = await watch(
            store,
            tokens,
            wanted=(*WANTED, *Counting.wanted),
            resume_after=min(tokens.values(), key=order_of),
        )
        async with stream:
            while True:
                change = await stream.try_next()
                if change is not None:
                    order, entry = order_of(change["_id"]), change["fullDocument"]
                    if order > order_of(tokens[entry["slot"]]):
                        tail.changes.append(Change(order, entry))
                    continue
                token = stream.resume_token
                if token is not None and order_of(token)[: len(end)] >= end:
                    return tail
                if time.monotonic() > deadline:
                    raise NotCaughtUp
    except OperationFailure as error:
        if error.code not in HISTORY_LOST:
            raise
    return _Tail(uncounted=list(range(SLOTS)))


class _Sums:
    """The sums of the period, and of all that was before its end.

    Whole months are read by month, and by day only those months in which the period begins or ends.
    """

    def __init__(self, since: date, until: date) -> None:
        self._first, self._end = since.isoformat(), until.isoformat()
        self._by_day = {each.isoformat()[:7] for each in (since, until) if each.day != 1}
        self.period: Counter[str] = Counter()
        self.standing: Counter[str] = Counter()

    @property
    def wanted(self) -> dict[str, Any]:
        """The documents that are needed."""
        months = {"_id": {"$gte": "m", "$lt": f"{month_of(self._end)}~"}}
        return {"$or": [months, *({"_id": {"$gte": month, "$lt": f"{month}~"}} for month in sorted(self._by_day))]}

    def span(self, day: str) -> str:
        """What the day is read by: itself, or its month."""
        return day if day[:7] in self._by_day else month_of(day)

    def add(self, span: str, sums: Mapping[str, int]) -> None:
        """Adds a day's or a month's sums, unless the other is what is read."""
        start = f"{span[1:]}-01" if span.startswith("m") else span
        if self.span(start) != span or start >= self._end:
            return
        if start >= self._first:
            self.period.update(sums)
        for name, amount in sums.items():
            if name.startswith(("outstanding:", "members")):
                self.standing[name] += amount


async def _sums(
    store: Store, tail: _Tail, tallies: Sequence[Tally], anew: Mapping[str, Counter[str]], *, since: date, until: date
) -> _Sums:
    sums = _Sums(since, until)
    uncounted = set(tail.uncounted)
    counted_to: dict[str, str] = {}
    async for documents in _plainly(store.day_sums, sums.wanted, ("sums", "token")):
        for document in documents:
            name = document["_id"]
            if slot_in(name) not in uncounted:
                counted_to[name] = document["token"]
                sums.add(span_in(name), document.get("sums", {}))
    for name, added in anew.items():
        sums.add(span_in(name), added)
    for change, tally in zip(tail.changes, tallies, strict=True):
        day = tally.day.isoformat()
        span = sums.span(day)
        if day < until.isoformat() and change.order > counted_to.get(sums_id(span, change.entry["slot"]), ""):
            sums.add(span, tally.sums)
    return sums


class _Members:
    """Distinct members: who bought in the period, by pilot and arm too, and who holds which tier at its end."""

    def __init__(self, since: date, until: date) -> None:
        self._first, self._end = day_number(since), day_number(until)
        self.active: Counter[str] = Counter()
        self.repeating: Counter[str] = Counter()
        self.tiers: Counter[tuple[str, int]] = Counter()

    def add(self, known: MemberDays) -> None:
        self.add_stored(member_days_document(known, 0))

    def add_stored(self, document: Mapping[str, Any]) -> None:
        """The same of a member as he is stored: there are many, and all of them are looked at."""
        self._count("", document.get("days", b""))
        for name, days in document.get("arms", {}).items():
            self._count(name, days)
        for since, level, threshold in reversed(document.get("tiers", ())):
            if since < self._end:
                self.tiers[level, threshold] += 1
                break

    def _count(self, name: str, days: Days) -> None:
        if bought := count_between(days, self._first, self._end):
            self.active[name] += 1
            self.repeating[name] += bought > 1


async def _members(store: Store, tail: _Tail, tallies: Sequence[Tally], *, since: date, until: date) -> _Members:
    members = _Members(since, until)
    later: dict[str, list[tuple[int, Tally]]] = {}
    for change, tally in zip(tail.changes, tallies, strict=True):
        if tally.is_members:
            later.setdefault(change.entry["member"], []).append((change.entry["seq"], tally))
    uncounted = set(tail.uncounted)
    async for documents in _plainly(store.member_days, {}, ("slot", "seq", "days", "arms", "tiers")):
        for document in documents:
            if document["slot"] in uncounted:
                continue
            if document["_id"] in later:
                members.add(_caught_up(member_days_from(document), later.pop(document["_id"])))
            else:
                members.add_stored(document)
    for member, new in later.items():
        members.add(_caught_up(MemberDays(member=member), new))
    return members


async def _plainly(
    collection: AsyncCollection[Document], wanted: Mapping[str, Any], names: Iterable[str]
) -> AsyncIterator[list[Document]]:
    """Documents in large batches, read without the store's own types: a year is tens of thousands of them."""
    plain = collection.with_options(codec_options=CodecOptions[Document](tz_aware=True))
    async with plain.find(wanted, dict.fromkeys(names, 1), batch_size=BATCH) as cursor:
        while documents := await cursor.to_list(BATCH):
            yield documents


def _caught_up(known: MemberDays, new: Iterable[tuple[int, Tally]]) -> MemberDays:
    for sequence, tally in new:
        if sequence > known.sequence:
            known = with_tally(known, sequence, tally)
    return known


def _report(programme: Programme, counted: _Sums, members: _Members, *, since: date, until: date) -> Report:
    period, standing = counted.period, counted.standing
    pilots = dict.fromkeys(name.split(":")[1] for name in period if name.startswith("pilot:"))
    return Report(
        since=since,
        until=until,
        members=standing["members"],
        buying=_buying(period, members, prefix="", arm=""),
        returned_minor=_by_currency(period, "returned:", programme.currency),
        redeemed=period["redeemed"],
        expired=period["expired"],
        points_outstanding=standing[f"outstanding:{POINTS}"],
        prepaid_outstanding_minor=_outstanding(standing, "prepaid", programme.currency),
        cashback_outstanding_minor=_outstanding(standing, "cashback", programme.currency),
        tiers=_tiers(programme, members, standing["members"]),
        pilots=tuple(
            PilotReport(
                rule=rule,
                **{
                    side: _buying(period, members, prefix=f"pilot:{rule}:{arm}:", arm=f"{rule}:{arm}")
                    for side, arm in zip(("inside", "outside"), ARMS, strict=True)
                },
            )
            for rule in sorted(pilots)
        ),
    )


def _buying(period: Mapping[str, int], members: _Members, *, prefix: str, arm: str) -> Buying:
    return Buying(
        active=members.active[arm],
        repeating=members.repeating[arm],
        purchases=period[f"{prefix}purchases"],
        ordered_minor=_by_currency(period, f"{prefix}ordered:"),
        earned=period[f"{prefix}earned"],
    )


def _tiers(programme: Programme, members: _Members, all_members: int) -> dict[str, int]:
    """Level → members who hold it; who never rose holds the lowest. Empty without tiers."""
    if programme.tiers is None:
        return {}
    counted = dict.fromkeys((level.id for level in programme.tiers.levels), 0)
    for (level, threshold), count in members.tiers.items():
        state = TierState(level=level, threshold=threshold, since_on=EPOCH, valid_until=None)
        counted[held(programme.tiers, state).id] += count
    lowest = programme.tiers.levels[0].id
    counted[lowest] += max(0, all_members - sum(counted.values()))
    return counted


def _by_currency(sums: Mapping[str, int], prefix: str, *always: str) -> dict[str, int]:
    found = {name.removeprefix(prefix): amount for name, amount in sums.items() if name.startswith(prefix)}
    return {currency: found.get(currency, 0) for currency in sorted({*always, *found})}


def _outstanding(standing: Mapping[str, int], pocket: str, *always: str) -> dict[str, int]:
    found = {
        currency_of(asset): amount
        for name, amount in standing.items()
        if (asset := name.removeprefix("outstanding:")).startswith(f"{pocket}/")
    }
    return {currency: found.get(currency, 0) for currency in sorted({*always, *found})}


def _sum(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in sorted(one.keys() | other.keys())}


def _share(part: int, whole: int) -> Fraction:
    return Fraction(part, whole) if whole > 0 else Fraction(0)
