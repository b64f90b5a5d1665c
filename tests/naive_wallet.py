"""A naive model of the wallet: every earned amount is a parcel of its own with its dates, in plain lists.

It knows nothing of documents, hashes or commits; of an entry it reads what was decided, such as a voucher's code.
"""

import calendar
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from domain.ledger.entry import Entry
from domain.ledger.posting import POINTS
from domain.ledger.voucher import Voucher
from tests.ledger.shop import CASHBACK
from tests.ledger.till import PREPAID

ZONE: Final = ZoneInfo("Europe/Ljubljana")
FOREVER: Final = datetime.max.replace(tzinfo=UTC)
COSTS: Final = {"coffee": 15, "seat": 20}
GRACE_DAYS: Final = 14
PLAN_PRICE: Final = 3_00
ASSETS: Final = (POINTS, CASHBACK, PREPAID)
Key = tuple[datetime | None, datetime | None, str, bool]
"""When it is gone (None for never and for idle), until when it is pending, what it came from, whether it is idle."""


@dataclass
class Parcel:
    asset: str
    key: Key
    amount: int
    earned_at: datetime


@dataclass
class Expired:
    number: int
    asset: str
    key: Key
    amount: int


@dataclass
class Bought:
    """A purchase as the model remembers it; `taken` is what its cashback was paid from."""

    entry: str
    number: int
    occurred_at: datetime
    total: int
    awards: dict[str, int]
    own: dict[str, tuple[Key, ...]]
    paid: int
    taken: list[tuple[Key, int]]
    returned: int = 0
    settled: dict[str, int] = field(default_factory=lambda: {POINTS: 0, CASHBACK: 0})
    restored: int = 0


@dataclass
class Held:
    """A voucher as the model remembers it; `paid` is what it was paid from."""

    voucher: Voucher
    month: str
    gone_at: datetime
    paid: list[tuple[Key, int]]
    state: str = "ACTIVE"


@dataclass
class Paid:
    """A payment as the model remembers it: what each pocket gave, in tender order; `ends_at` while it is held.

    `lapsed` are the idle dates, by asset, that passed while it was held.
    """

    entry: Entry
    parts: list[tuple[str, list[tuple[Key, int]]]]
    ends_at: datetime | None
    is_captured: bool
    lapsed: dict[str, datetime] = field(default_factory=dict)
    refunded: dict[str, int] = field(default_factory=lambda: {PREPAID: 0, CASHBACK: 0})

    @property
    def amount(self) -> int:
        return sum(amount for _, taken in self.parts for _, amount in taken)


@dataclass
class ToppedUp:
    entry: str
    origin: str
    amount: int
    refunded: int = 0


@dataclass
class Running:
    """A plan that is paid until then; `periods` since the day it was joined."""

    joined_on: date
    periods: int = 1
    renews: bool = True

    @property
    def paid_until(self) -> datetime:
        return midnight(months_later(self.joined_on, self.periods))


class Model:
    """Plain lists and loops; instants are those that the ledger says it decided at."""

    def __init__(self, policies: dict[str, str], pending_days: dict[str, int]) -> None:
        self.policies = {**policies, PREPAID: "policy: none"}
        self.pending_days = pending_days
        self.parcels: list[Parcel] = []
        self.owed = dict.fromkeys(ASSETS, 0)
        self.idle = dict.fromkeys(ASSETS, FOREVER)
        self.expired: list[Expired] = []
        self.forgiven: dict[tuple[int, str, Key], int] = {}
        self.expiries = 0
        self.bought: list[Bought] = []
        self.vouchers: list[Held] = []
        self.payments: list[Paid] = []
        self.top_ups: list[ToppedUp] = []
        self.plan: Running | None = None

    def pass_time(self, now: datetime) -> None:
        while True:
            due = min(
                [
                    *(self.due(parcel) for parcel in self.parcels if parcel.amount),
                    *(held.gone_at for held in self.vouchers if held.state == "ACTIVE"),
                    *(paid.ends_at for paid in self.payments if paid.ends_at is not None),
                    *([] if self.plan is None else [self.plan.paid_until]),
                ],
                default=FOREVER,
            )
            if due > now:
                return
            if let_go := [paid for paid in self.payments if paid.ends_at == due]:
                self.end(let_go[0], 0, due)
                continue
            ended = [held for held in self.vouchers if held.state == "ACTIVE" and held.gone_at == due]
            gone = [p for p in self.parcels if p.amount and p.key[1] is None and self.gone_at(p) == due]
            if gone:
                self.expiries += 1
                for parcel in gone:
                    self.expired.append(Expired(self.expiries, parcel.asset, parcel.key, parcel.amount))
                    parcel.amount = 0
            for held in ended:
                held.state = "EXPIRED"
                if held.voucher.reward == "seat":
                    self.put_back(POINTS, held.paid, COSTS["seat"], at=due)
            if not gone and not ended and not self.mature(due):
                self.renew(due)
            self.sweep()

    def renew(self, due: datetime) -> None:
        assert self.plan is not None
        if self.plan.renews and self.available(PREPAID, due) >= PLAN_PRICE:
            self.spend(PREPAID, PLAN_PRICE, due)
            self.is_active(due)
            self.plan.periods += 1
        else:
            self.plan = None

    def end(self, paid: Paid, captured: int, at: datetime) -> None:
        """The first of what is held is paid, the rest goes back to where it was, or was gone meanwhile."""
        self.lapse(at)
        kept = []
        for asset, taken in paid.parts:
            first = []
            for key, amount in taken:
                part = min(captured, amount)
                captured -= part
                if part:
                    first.append((key, part))
                is_lapsed = key[3] and asset in paid.lapsed
                self.credit(asset, amount - part, (paid.lapsed[asset], None, key[2], False) if is_lapsed else key, at)
            if first:
                kept.append((asset, first))
        paid.parts, paid.ends_at, paid.is_captured = kept, None, bool(kept)

    def lapse(self, at: datetime) -> None:
        """An idle date that has passed is that of what is held, whatever the wallet's next one is."""
        for paid in self.payments:
            for asset, _ in paid.parts if paid.ends_at is not None else ():
                if self.idle[asset] <= at:
                    paid.lapsed.setdefault(asset, self.idle[asset])

    def held(self, asset: str) -> int:
        taken = [part for paid in self.payments if paid.ends_at is not None for part in paid.parts]
        return sum(amount for of, allocations in taken if of == asset for _, amount in allocations)

    def refund(self, paid: Paid, amount: int, now: datetime) -> None:
        for asset, taken in reversed(paid.parts):
            before = paid.refunded[asset]
            back = min(amount, sum(of_lot for _, of_lot in taken) - before)
            self.put_back(asset, taken, back, at=now, passed=before)
            paid.refunded[asset] += back
            amount -= back
        assert amount == 0

    def mature(self, due: datetime) -> bool:
        """Whether something did."""
        maturing = list(self.groups(lambda p: p.key[1] == due))
        for group in maturing:
            asset, key = group[0].asset, group[0].key
            if key[3] and self.idle[asset] <= due:
                self.lapse(due)
                self.idle[asset] = self.last_use(asset, day_of(due))
            amount, earned_at = sum(p.amount for p in group), min(p.earned_at for p in group)
            for parcel in group:
                parcel.amount = 0
            self.sweep()
            self.credit(asset, amount, (key[0], None, key[2], key[3]), earned_at)
        return bool(maturing)

    def award(
        self, asset: str, amount: int, origin: str, *, earned_at: datetime, now: datetime, at_once: bool = False
    ) -> tuple[Key, ...]:
        if not amount:
            return ()
        pending_until = None
        if self.pending_days[asset] and not at_once:
            pending_until = midnight(day_of(earned_at) + timedelta(days=self.pending_days[asset]))
            pending_until = pending_until if pending_until > now else None
        is_idle = "inactivity" in self.policies[asset]
        gone_at = None if is_idle else self.last_use(asset, day_of(pending_until or max(earned_at, now)))
        key = (None if gone_at == FOREVER else gone_at, pending_until, origin, is_idle)
        credited = self.credit(asset, amount, key, earned_at)
        return (key, (key[0], None, origin, is_idle)) if credited else ()

    def credit(self, asset: str, amount: int, key: Key, earned_at: datetime) -> int:
        paid = min(amount, self.owed[asset])
        self.owed[asset] -= paid
        if amount > paid:
            self.parcels.append(Parcel(asset, key, amount - paid, earned_at))
        return amount - paid

    def is_active(self, now: datetime, *, missing_only: bool = False) -> None:
        self.lapse(now)
        for asset, policy in self.policies.items():
            if "inactivity" in policy and not (missing_only and now < self.idle[asset] < FOREVER):
                self.idle[asset] = self.last_use(asset, day_of(now))

    def spend(self, asset: str, amount: int, now: datetime) -> list[tuple[Key, int]]:
        taken = []
        for group in self.spendable(asset, now):
            part = self.take(group, amount)
            amount -= part
            if part:
                taken.append((group[0].key, part))
        assert amount == 0
        return taken

    def take(self, group: list[Parcel], amount: int) -> int:
        taken = 0
        for parcel in group:
            part = min(amount - taken, parcel.amount)
            parcel.amount -= part
            taken += part
        self.sweep()
        return taken

    def give_back(self, purchase: Bought, amount: int, now: datetime) -> None:
        purchase.returned += amount
        left = purchase.total - purchase.returned
        for asset in (POINTS, CASHBACK):
            kept = purchase.awards[asset] * left // purchase.total
            due = purchase.awards[asset] - kept - purchase.settled[asset]
            purchase.settled[asset] += due
            self.recover(asset, due - self.forgive(purchase, asset, due), purchase.own[asset], now)
        self.restore(purchase, now)

    def forgive(self, purchase: Bought, asset: str, due: int) -> int:
        total = 0
        for number in sorted({one.number for one in self.expired if one.number > purchase.number}):
            for key in dict.fromkeys(purchase.own[asset]):
                gone = sum(
                    one.amount for one in self.expired if (one.number, one.asset, one.key) == (number, asset, key)
                )
                part = max(0, min(due - total, gone - self.forgiven.get((number, asset, key), 0)))
                self.forgiven[number, asset, key] = self.forgiven.get((number, asset, key), 0) + part
                total += part
        return total

    def recover(self, asset: str, amount: int, own: tuple[Key, ...], now: datetime) -> None:
        for key in dict.fromkeys(own):
            for group in list(self.groups(lambda p, key=key: p.asset == asset and p.key == key)):
                amount -= self.take(group, amount)
        for group in self.spendable(asset, now):
            amount -= self.take(group, amount)
        self.owed[asset] += amount

    def restore(self, purchase: Bought, now: datetime) -> None:
        back = purchase.paid * purchase.returned // purchase.total - purchase.restored
        self.put_back(CASHBACK, purchase.taken, back, at=now, passed=purchase.restored)
        purchase.restored += back

    def put_back(self, asset: str, taken: list[tuple[Key, int]], back: int, *, at: datetime, passed: int = 0) -> None:
        """To where it was taken from, last taken first; what has passed meanwhile gets the grace."""
        for key, amount in reversed(taken):
            skipped = min(passed, amount)
            passed -= skipped
            part = min(back, amount - skipped)
            back -= part
            gone_at = self.idle[asset] if key[3] else key[0]
            if gone_at is not None and gone_at <= at:
                grace = midnight(day_of(at) + timedelta(days=GRACE_DAYS + 1))
                self.credit(asset, part, (grace, None, key[2], False), at)
            elif part:
                self.credit(asset, part, key, at)

    def issued(self, reward: str, *, month: str | None = None) -> int:
        """How many were issued and not cancelled."""
        return sum(
            held.voucher.reward == reward and held.state != "CANCELLED" and month in (None, held.month)
            for held in self.vouchers
        )

    def spendable(self, asset: str, now: datetime) -> list[list[Parcel]]:
        groups = self.groups(
            lambda p: p.asset == asset and (p.key[1] is None or p.key[1] <= now) and self.gone_at(p) > now
        )
        return sorted(groups, key=lambda g: (self.gone_at(g[0]), min(p.earned_at for p in g), g[0].key[2]))

    def available(self, asset: str, now: datetime) -> int:
        return 0 if self.owed[asset] else sum(p.amount for group in self.spendable(asset, now) for p in group)

    def pending(self, asset: str) -> int:
        return sum(p.amount for p in self.parcels if p.asset == asset and p.key[1] is not None)

    def groups(self, wanted: Any) -> Iterator[list[Parcel]]:
        keys = dict.fromkeys((p.asset, p.key) for p in self.parcels if wanted(p))
        return iter([[p for p in self.parcels if (p.asset, p.key) == key] for key in keys])

    def sweep(self) -> None:
        """Forget parcels once nothing is left of all that share their dates."""
        alive = {(p.asset, p.key) for p in self.parcels if p.amount}
        self.parcels = [p for p in self.parcels if (p.asset, p.key) in alive]

    def gone_at(self, parcel: Parcel) -> datetime:
        return self.idle[parcel.asset] if parcel.key[3] else parcel.key[0] or FOREVER

    def due(self, parcel: Parcel) -> datetime:
        return parcel.key[1] or self.gone_at(parcel)

    def last_use(self, asset: str, day: date) -> datetime:
        policy = self.policies[asset]
        if "none" in policy:
            return FOREVER
        if "calendar" in policy:
            return midnight(date(day.year + 1, 1, 1))
        last = day + timedelta(days=20) if "P20D" in policy else next_month(day)
        if "end_of_month" in policy:
            last = last.replace(day=calendar.monthrange(last.year, last.month)[1])
        return midnight(last + timedelta(days=1))


def day_of(instant: datetime) -> date:
    return instant.astimezone(ZONE).date()


def midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=ZONE).astimezone(UTC)


def next_month(day: date) -> date:
    return months_later(day, 1)


def months_later(day: date, months: int) -> date:
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))
