"""Badges, streaks, stamps, the challenge and vouchers of a household by hand, from receipts and SEMANTICS §8 alone.

It keeps every receipt for ever and goes through all of them again, and knows nothing of the program but how its
receipts are read. Receipts come in their order and nobody moves, which makes streaks easy; their days are those of the
household's zone, all others the programme's.
"""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

from api.command.replay import Receipt

ZONE: Final = ZoneInfo("America/New_York")
PLACES: Final = {"330", "424", "429", "318"}
BREAD: Final = "1082185"
MONDAY: Final = date(2016, 1, 4)
CHRISTMAS: Final = date(2017, 12, 25)
"""The one closed day of the one place that closes, 429."""


@dataclass(frozen=True, kw_only=True)
class Terms:
    """The numbers of a version of the example programme."""

    points_per_dollar: int = 1
    badges: dict[str, list[int]] = field(
        default_factory=lambda: {
            "regular": [5, 25, 100],
            "explorer": [3, 6, 12],
            "gourmet": [5, 8],
            "faithful": [4, 13, 52],
        }
    )
    card_size: int = 4
    stamps_a_day: int = 2
    target: int = 8
    nth: int = 4
    within_days: int = 60


@dataclass(kw_only=True)
class Streak:
    """Periods of that many days, from a Monday on."""

    days: int
    most_freezes: int
    every: int
    last: int | None = None
    length: int = 0
    longest: int = 0
    freezes: int = 0

    def meet(self, on: date, *, but: Collection[date] = ()) -> int:
        """The length if that day made it longer, else 0."""
        period = (on - MONDAY).days // self.days
        if period == self.last:
            return 0
        closed = {(each - MONDAY).days // self.days for each in but}
        missed = 0 if self.last is None else len(set(range(self.last + 1, period)) - closed)
        if missed > self.freezes:
            self.length = 0
        else:
            self.freezes -= missed
        self.last, self.length = period, self.length + 1
        self.longest = max(self.longest, self.length)
        if self.length % self.every == 0:
            self.freezes = min(self.most_freezes, self.freezes + 1)
        return self.length


@dataclass(kw_only=True)
class Household:
    zone: ZoneInfo = ZONE
    receipts: list[Receipt] = field(default_factory=list)
    levels: Counter[str] = field(default_factory=Counter)
    stamps: int = 0
    cards: int = 0
    weekly: Streak = field(default_factory=lambda: Streak(days=7, most_freezes=2, every=4))
    daily: Streak = field(default_factory=lambda: Streak(days=1, most_freezes=1, every=7))
    stamps_on: Counter[date] = field(default_factory=Counter)
    has_won: bool = False
    offers: dict[str, list[date]] = field(default_factory=dict)
    big_baskets: set[tuple[int, int]] = field(default_factory=set)
    vouchers: list[tuple[str, str | None]] = field(default_factory=list)

    def buy(self, receipt: Receipt, terms: Terms) -> dict[str, Any]:
        """What the receipt awards: levels of badges, stamps and full cards, the challenge, vouchers, points."""
        self.receipts.append(receipt)
        vouchers = self.big_basket(receipt)
        points, weeks = 0, 0
        on = receipt.occurred_at.astimezone(self.zone).date()
        if not (on == CHRISTMAS and self.last_place() == "429"):
            weeks, days = self.weekly.meet(on), self.daily.meet(on, but=self.closed_days())
            points = 40 * (weeks == 4) + 15 * (days == 3)
        vouchers += [("free-coffee", None)] * (weeks == 13)
        badges = self.badges(terms)
        stamps, full = self.stamp(receipt, terms)
        won = self.challenge(terms)
        vouchers += [("free-pastry", None)] * full + [("same-sku-15", sku) for sku in self.same_items(receipt, terms)]
        self.vouchers += vouchers
        return {"badges": badges, "stamps": (stamps, full), "won": won, "vouchers": vouchers, "points": points}

    def last_place(self) -> str | None:
        return next((each.store for each in reversed(self.receipts) if each.store in PLACES), None)

    def closed_days(self) -> set[date]:
        """Christmas, for whom the one place that closes then was the last one on it."""
        before = [each for each in self.receipts if each.occurred_at.astimezone(self.zone).date() <= CHRISTMAS]
        places = [each.store for each in before if each.store in PLACES]
        return {CHRISTMAS} if places and places[-1] == "429" else set()

    def counts(self) -> dict[str, int]:
        instants = [receipt.occurred_at for receipt in self.receipts]
        places = {receipt.store for receipt in self.receipts} & PLACES
        return {
            "regular": sum(at == 0 or hour_apart(instants[at - 1], each) for at, each in enumerate(instants)),
            "explorer": len(places),
            "gourmet": len(categories(self.receipts)),
            "faithful": self.weekly.longest,
        }

    def badges(self, terms: Terms) -> dict[str, list[int]]:
        new: dict[str, list[int]] = {}
        for badge, count in self.counts().items():
            reached = len([level for level in terms.badges[badge] if count >= level])
            if reached > self.levels[badge]:
                new[badge] = list(range(self.levels[badge] + 1, reached + 1))
                self.levels[badge] = reached
        return new

    def stamp(self, receipt: Receipt, terms: Terms) -> tuple[int, int]:
        bread = [each for each in lines(receipt) if each["sku"] == BREAD or each["category"] == "PASTRY"]
        room = terms.stamps_a_day - self.stamps_on[day(receipt)]
        stamps = min(room, sum(each["quantity"] for each in bread))
        self.stamps_on[day(receipt)] += stamps
        self.stamps += stamps
        full = 0
        while stamps and self.stamps >= terms.card_size:
            self.stamps -= terms.card_size
            full += 1
        self.cards += full
        return stamps, full

    def challenge(self, terms: Terms) -> bool:
        inside = [each for each in self.receipts if date(2017, 6, 1) <= day(each) < date(2017, 7, 1)]
        won = self.receipts[-1] in inside and len(categories(inside)) >= terms.target and not self.has_won
        self.has_won = self.has_won or won
        return won

    def same_items(self, receipt: Receipt, terms: Terms) -> list[str]:
        given = []
        for sku in dict.fromkeys(each["sku"] for each in lines(receipt) if each["quantity"]):
            oldest = day(receipt) - timedelta(days=terms.within_days - 1)
            bought = [*self.offers.get(sku, []), day(receipt)]
            bought = [each for each in bought if each >= oldest]
            if len(bought) >= terms.nth:
                given.append(sku)
                bought = bought[: -terms.nth]
            self.offers[sku] = bought
        return given

    def big_basket(self, receipt: Receipt) -> list[tuple[str, str | None]]:
        month = (day(receipt).year, day(receipt).month)
        if total(receipt) < 100 or month in self.big_baskets:
            return []
        self.big_baskets.add(month)
        return [("next-20", None)]


def day(receipt: Receipt) -> date:
    return receipt.occurred_at.astimezone(ZONE).date()


def total(receipt: Receipt) -> Decimal:
    return Decimal(receipt.purchase["total"]["amount"])


def lines(receipt: Receipt) -> list[dict[str, Any]]:
    return list(receipt.purchase["lines"])


def categories(receipts: list[Receipt]) -> set[str]:
    return {line["category"] for receipt in receipts for line in lines(receipt) if line["category"]}


def hour_apart(one: datetime, other: datetime) -> bool:
    return other - one >= timedelta(hours=1)
