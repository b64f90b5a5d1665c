"""The numbers of the programme over a period of its days, from what was counted of the journal.

What is counted already (:mod:`domain.reports.counting`) is read as it stands; what the journal has beyond it is added
in memory before the answer, so a report shows every entry that was acknowledged before it was asked for, with or
without a worker. What is due but not posted yet (DESIGN §3) is in no entry, and so in no report, until it is.
"""

import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from fractions import Fraction
from typing import Any, Final

from bson.codec_options import CodecOptions
from bson.timestamp import Timestamp
from pymongo.asynchronous.change_stream import AsyncChangeStream
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import OperationFailure

from domain.ledger.accounts import HISTORY_LOST, WANTED, Change, order_of, watch
from domain.ledger.posting import POINTS, currency_of
from domain.programme.programme import Programme
from domain.programme.published import Programmes
from domain.programme.tiers import TierState, held
from domain.reports.counting import Counting, sums_in
from domain.reports.span import following_span, month_span, slot_in, span_in, sums_id
from domain.reports.tally import AFTER, ARMS, Spans
from domain.store.connection import Document, Store
from domain.store.slots import SLOTS

CATCH_UP_SECONDS: Final = 20.0
"""How long a report waits for the end of the journal before it says that it cannot."""


BATCH: Final = 10_000

_TIER: Final = "tier:"
_STANDING: Final = ("members", "outstanding:", _TIER)


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
    anew: dict[str, Counter[str]] = {}
    if tail.uncounted:
        async for _ in counting.members_at(tail.uncounted, None, anew):
            pass
    added = await counting.added(tail.changes)
    sums = await _sums(store, tail, added, anew, since=since, until=until)
    return _report(programmes.current, sums, since=since, until=until)


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
    try:
        stream = await watch(
            store,
            tokens,
            wanted=(*WANTED, *Counting.wanted),
            resume_after=min(tokens.values(), key=order_of),
        )
        async with stream:
            tail.changes = await _arrived(stream, tokens, end=f"82{at.time:08X}{at.inc:08X}")
    except OperationFailure as error:
        if error.code not in HISTORY_LOST:
            raise
        return _Tail(uncounted=list(range(SLOTS)))
    return tail


async def _arrived(
    stream: AsyncChangeStream[Document], tokens: Mapping[int, Mapping[str, Any]], *, end: str
) -> list[Change]:
    """The entries up to the end that lie beyond their slots' positions. Raises NotCaughtUp."""
    deadline, changes = time.monotonic() + CATCH_UP_SECONDS, []
    change = None
    # A stream that has nothing more says how far it looked; asked for the next entry it would wait for one.
    while change is not None or not _reaches(stream.resume_token, end):
        change = await stream.try_next()
        if change is None and time.monotonic() > deadline:
            raise NotCaughtUp
        if change is not None:
            order, entry = order_of(change["_id"]), change["fullDocument"]
            if order > order_of(tokens[entry["slot"]]):
                changes.append(Change(order, entry))
    return changes


def _reaches(token: Mapping[str, Any] | None, end: str) -> bool:
    return token is not None and order_of(token)[: len(end)] >= end


class _Sums:
    """The sums of the period, and what stands at its end.

    `once` are the members who bought in it, by arm; `twice` are the same and again those who bought twice or more.
    Whole months are read by month, and by day only where the period begins or ends within one.
    """

    def __init__(self, since: date, until: date) -> None:
        month, last = since.replace(day=1), until.replace(day=1)
        whole = since if since == month else (month + timedelta(days=31)).replace(day=1)
        begin, end = since.isoformat(), until.isoformat()
        first_whole, last_whole = whole.isoformat(), last.isoformat()
        self._first = begin
        self._before = [("m", month_span(begin)), (month.isoformat(), begin)]
        self._within = [(begin, end)]
        if whole <= last:
            self._within = [
                (begin, first_whole),
                (month_span(first_whole), month_span(last_whole)),
                (last_whole, end),
            ]
            if since < whole:
                self._within.append((following_span(begin, first_whole), following_span(begin, last_whole)))
        self.period: Counter[str] = Counter()
        self.standing: Counter[str] = Counter()
        self.once: Counter[str] = Counter()
        self.twice: Counter[str] = Counter()

    @property
    def before(self) -> dict[str, Any]:
        """The documents of which only that is needed which stands."""
        return _in(self._before)

    @property
    def within(self) -> dict[str, Any]:
        """The documents of the period."""
        return _in(self._within)

    def add(self, span: str, sums: Mapping[str, int]) -> None:
        """Adds what the sums of a span say; nothing where the period is read by other spans."""
        is_within = any(start <= span < end for start, end in self._within)
        if not is_within and not any(start <= span < end for start, end in self._before):
            return
        for name, amount in sums.items():
            if name.startswith(_STANDING):
                self.standing[name] += amount
            elif is_within and name.startswith(AFTER):
                self._add_following(name, amount)
            elif is_within:
                self.period[name] += amount

    def _add_following(self, name: str, amount: int) -> None:
        _, which, rest = name.split(":", 2)
        arm, _, before = rest.rpartition(":")
        if not before or before < self._first[: len(before)]:
            (self.once if which == "1" else self.twice)[arm] += amount


def _in(ranges: Iterable[tuple[str, str]]) -> dict[str, Any]:
    return {"$or": [{"_id": {"$gte": start, "$lt": end}} for start, end in ranges]}


async def _sums(
    store: Store, tail: _Tail, added: Sequence[Spans], anew: Mapping[str, Counter[str]], *, since: date, until: date
) -> _Sums:
    sums = _Sums(since, until)
    uncounted = set(tail.uncounted)
    counted_to: dict[str, str] = {}
    for wanted, names in ((sums.before, ("token", "sums")), (sums.within, ("token", "sums", "after"))):
        async for documents in _plainly(store.day_sums, wanted, names):
            for document in documents:
                name = document["_id"]
                if slot_in(name) not in uncounted:
                    counted_to[name] = document["token"]
                    sums.add(span_in(name), sums_in(document))
    for name, recounted in anew.items():
        sums.add(span_in(name), recounted)
    for change, spans in zip(tail.changes, added, strict=True):
        for span, more in spans.items():
            if change.order > counted_to.get(sums_id(span, change.entry["slot"]), ""):
                sums.add(span, more)
    return sums


async def _plainly(
    collection: AsyncCollection[Document], wanted: Mapping[str, Any], names: Iterable[str]
) -> AsyncIterator[list[Document]]:
    """Documents in large batches, read without the store's own types: a year is tens of thousands of them."""
    plain = collection.with_options(codec_options=CodecOptions[Document](tz_aware=True))
    async with plain.find(wanted, dict.fromkeys(names, 1), batch_size=BATCH) as cursor:
        while documents := await cursor.to_list(BATCH):
            yield documents


def _report(programme: Programme, sums: _Sums, *, since: date, until: date) -> Report:
    period, standing = sums.period, sums.standing
    pilots = dict.fromkeys(name.split(":")[1] for name in period if name.startswith("pilot:"))
    return Report(
        since=since,
        until=until,
        members=standing["members"],
        buying=_buying(sums, prefix="", arm=""),
        returned_minor=_by_currency(period, "returned:", programme.currency),
        redeemed=period["redeemed"],
        expired=period["expired"],
        points_outstanding=standing[f"outstanding:{POINTS}"],
        prepaid_outstanding_minor=_outstanding(standing, "prepaid", programme.currency),
        cashback_outstanding_minor=_outstanding(standing, "cashback", programme.currency),
        tiers=_tiers(programme, standing),
        pilots=tuple(
            PilotReport(
                rule=rule,
                **{
                    side: _buying(sums, prefix=f"pilot:{rule}:{arm}:", arm=f"{rule}:{arm}")
                    for side, arm in zip(("inside", "outside"), ARMS, strict=True)
                },
            )
            for rule in sorted(pilots)
        ),
    )


def _buying(sums: _Sums, *, prefix: str, arm: str) -> Buying:
    return Buying(
        active=sums.once[arm],
        repeating=sums.twice[arm] - sums.once[arm],
        purchases=sums.period[f"{prefix}purchases"],
        ordered_minor=_by_currency(sums.period, f"{prefix}ordered:"),
        earned=sums.period[f"{prefix}earned"],
    )


def _tiers(programme: Programme, standing: Mapping[str, int]) -> dict[str, int]:
    """Level → members who hold it; who never rose holds the lowest. Empty without tiers."""
    if programme.tiers is None:
        return {}
    counted = dict.fromkeys((level.id for level in programme.tiers.levels), 0)
    for name, count in standing.items():
        if name.startswith(_TIER):
            level, _, threshold = name.removeprefix(_TIER).rpartition(":")
            state = TierState(level=level, threshold=int(threshold), since_on=date.min, valid_until=None)
            counted[held(programme.tiers, state).id] += count
    lowest = programme.tiers.levels[0].id
    counted[lowest] += max(0, standing.get("members", 0) - sum(counted.values()))
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
