"""Which cascades of the example programme run for whom, and what became of each message: by hand, from SEMANTICS §10.

It knows who joined when, with which phones, addresses, consents and quiet hours, when everybody bought and what it
earned, what some do with messages and where they are once the year is over, and until when the clock was moved; nothing
of the engine. Two things are taken from the product, since they are hashes: who is held out, and by how much a message
that waited for the morning is spread.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from tests.counted_by_hand import MONDAY, ZONE, Streak

DAY: Final = timedelta(days=1)
NIGHT: Final = (time(22), time(8))
"""The programme's quiet hours."""
OFFERS_A_WEEK: Final = 3
GONE_AFTER: Final = 270 * DAY
"""A phone that was not heard of for so long is gone (firebase.google.com/docs/cloud-messaging/manage-tokens)."""
ASK_FOR_REACTIONS: Final = {"win-back", "points-expiring"}
NEAR_DAYS: Final = (datetime(2018, 1, 1, 17, tzinfo=UTC), datetime(2018, 1, 2, 17, tzinfo=UTC))
NEAR_AT_NIGHT: Final = datetime(2018, 5, 10, 3, 30, tzinfo=UTC)


class Habit(NamedTuple):
    """What he does with each message of the cascades that ask for a reaction, and how long after it came.

    OPENED and DISMISSED are of pushes, READ is of all that stands in the inbox.
    """

    what: str
    after: timedelta


@dataclass(frozen=True, kw_only=True)
class Person:
    """`phones` is how many he has with the app, told of when he joined; `quiet` are his own quiet hours, if any.

    Who comes back starts the app again at `back_at`, has his habit from then on, and goes past a shop now and then;
    `locates` is whether he lets the app know where he is.
    """

    name: str
    joined_at: datetime
    zone: ZoneInfo = ZONE
    phones: int = 0
    email: bool = False
    sms: bool = False
    wants_offers: bool = False
    quiet: tuple[time, time] = NIGHT
    back_at: datetime | None = None
    habit: Habit | None = None
    locates: bool = False


class Act(NamedTuple):
    """Something that a person who came back does; `of` is the cascade of the message, and when that came.

    `ignored` is why nothing comes of a dwell.
    """

    at: datetime
    what: str
    of: tuple[str, datetime] | None = None
    ignored: str | None = None


class Bought(NamedTuple):
    at: datetime
    points: int


class Told(NamedTuple):
    """One line of a run's history. Lines about waiting are left out."""

    what: str
    step: int | None
    reason: str | None
    at: datetime


@dataclass(kw_only=True)
class CountedRun:
    cascade: str
    started_at: datetime
    arm: str
    state: str = "WAITING"
    told: list[Told] = field(default_factory=list)
    messages: list[datetime] = field(default_factory=list)
    """When each message that stands in the inbox came."""
    acts: list[Act] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Life:
    """One member's: who he is, what he bought, in order, and the points that he has by day."""

    person: Person
    bought: Sequence[Bought]
    points_on: Callable[[date], int]
    points_gone: dict[date, int]
    """By the first day on which they are gone."""
    is_held_out: bool
    spread: timedelta
    """By how much his deferred messages come after the morning."""
    until: datetime

    def runs(self) -> list[CountedRun]:
        """All that started, or would have, in order."""
        found = [*self.welcome(), *self.earned(), *self.bonus_grows(), *self.expiring(), *self.streak(), *self.back()]
        found += self.near_store(found)
        return sorted(found, key=lambda run: (run.started_at, run.cascade))

    def acts(self) -> list[Act]:
        """All that he does once he is back, in order."""
        if self.person.back_at is None:
            return []
        runs = self.runs()
        reactions = [act for run in runs for act in run.acts]
        return [Act(self.person.back_at, "BACK"), *sorted([*reactions, *self.dwells(runs)], key=lambda act: act.at)]

    def welcome(self) -> Iterator[CountedRun]:
        run = self.walk("welcome", self.person.joined_at, "SERVICE", goal=True, expires=21 * DAY)
        run.send(0)
        run.wait(3)
        run.send(2)
        run.wait(7)
        run.send(4, "EMAIL")
        yield run.done()

    def earned(self) -> Iterator[CountedRun]:
        for each in self.bought:
            if each.points > 0:
                run = self.walk("earned", each.at, "TRANSACTIONAL")
                run.send(0)
                yield run.done()

    def bonus_grows(self) -> Iterator[CountedRun]:
        """The bonus for joining grows after 30 and after 60 days; a message goes a day before."""
        for days in (30, 60):
            at = midnight(day_of(self.person.joined_at) + timedelta(days=days - 1), ZONE)
            if at <= self.until:
                run = self.walk("bonus-grows", at, "SERVICE")
                run.send(0)
                yield run.done()

    def expiring(self) -> Iterator[CountedRun]:
        """Fourteen days before points are gone, if they are fifty; not within thirty days of the last time."""
        last: datetime | None = None
        for gone_on, points in sorted(self.points_gone.items()):
            at = midnight(gone_on - timedelta(days=14), ZONE)
            if points < 50 or at > self.until:
                continue
            if last is not None and last > at - timedelta(days=30):
                yield self.not_started("points-expiring", at, "cooling down")
                continue
            last = at
            run = self.walk("points-expiring", at, "SERVICE")
            run.wait_for(time(10))
            run.send(0)
            run.wait(7)
            run.wait_for(time(10))
            run.send(2)
            yield run.done()

    def streak(self) -> Iterator[CountedRun]:
        """The day before a week is over without a visit, for who came three weeks in a row; freezes keep that alive."""
        weekly, zone = Streak(days=7, most_freezes=2, every=4), self.person.zone
        for number, each in enumerate(self.bought):
            weekly.meet(each.at.astimezone(zone).date())
            assert weekly.last is not None
            follows = self.bought[number + 1].at if number + 1 < len(self.bought) else self.until
            for missed in range(weekly.freezes + 1):
                sunday = MONDAY + timedelta(days=7 * (weekly.last + 1 + missed) + 6)
                at = midnight(sunday, zone)
                if weekly.length >= 3 and at < follows and at <= self.until:
                    run = self.walk("streak-at-risk", at, "SERVICE", goal=True)
                    run.send(0)
                    yield run.done()

    def back(self) -> Iterator[CountedRun]:
        """Twenty-one days after he bought something last; not within sixty days of the last time."""
        last: datetime | None = None
        for number, each in enumerate(self.bought):
            at = midnight(day_of(each.at) + timedelta(days=21), ZONE)
            follows = self.bought[number + 1].at if number + 1 < len(self.bought) else None
            if at > self.until or (follows is not None and follows <= at):
                continue
            if last is not None and last > at - timedelta(days=60):
                yield self.not_started("win-back", at, "cooling down", arm=self.arm)
                continue
            last = at
            run = self.walk("win-back", at, "MARKETING", goal=True)
            run.send(0)
            run.wait(5)
            run.send(2, only_if=lambda now: self.points_on(day_of(now)) > 0, if_silent=True)
            run.wait(5)
            run.send(4, "SMS", if_silent=True)
            yield run.done()

    def dwells(self, others: Iterable[CountedRun]) -> list[Act]:
        """Where he stays: near the shop on the first days, on the day of an offer, and once late in the evening.

        A place that counted cools down for a day.
        """
        if self.person.back_at is None:
            return []
        offered = [at + timedelta(hours=5) for at in offers_in(others) if at > self.person.back_at]
        counted: datetime | None = None
        found = []
        for at in sorted([*NEAR_DAYS, NEAR_DAYS[0] + timedelta(hours=1), *offered, NEAR_AT_NIGHT]):
            if not self.person.locates:
                ignored = "NO_CONSENT"
            elif counted is not None and at < counted + DAY:
                ignored = "COOLING_DOWN"
            else:
                ignored, counted = None, at
            found.append(Act(at, "DWELL", ignored=ignored))
        return found

    def near_store(self, others: Sequence[CountedRun]) -> Iterator[CountedRun]:
        """Where he stays near a shop, if he bought nothing yesterday or today; worth two hours."""
        for act in self.dwells(others):
            since = day_of(act.at) - day_of(self.bought[-1].at)
            if act.ignored is None and since >= 2 * DAY:
                run = self.walk("near-store", act.at, "MARKETING", goal=True, expires=timedelta(hours=2))
                run.send(0, offered=offers_in(others))
                yield run.done()

    @property
    def arm(self) -> str:
        return "HELD_OUT" if self.is_held_out else "TREATED"

    def walk(
        self, cascade: str, at: datetime, category: str, *, goal: bool = False, expires: timedelta | None = None
    ) -> "Walk":
        goal_at = next((each.at for each in self.bought if each.at > at), None) if goal else None
        return Walk(
            cascade=cascade,
            started_at=at,
            arm=self.arm if cascade == "win-back" else "TREATED",
            told=[Told("started", None, None, at)],
            life=self,
            category=category,
            goal_at=goal_at,
            expires_at=None if expires is None else at + expires,
            now=at,
        )

    def not_started(self, cascade: str, at: datetime, reason: str, *, arm: str = "TREATED") -> CountedRun:
        told = [Told("not started", None, reason, at)]
        return CountedRun(cascade=cascade, started_at=at, arm=arm, state="CANCELLED", told=told)


@dataclass(kw_only=True)
class Walk(CountedRun):
    """A run from step to step; `now` is when it is at the next one."""

    life: Life
    category: str
    goal_at: datetime | None
    expires_at: datetime | None
    now: datetime
    reacts_at: datetime | None = None
    """To the last message, where nothing waited for it yet."""
    has_reacted: bool = False

    def send(
        self,
        step: int,
        channel: str = "PUSH",
        *,
        only_if: Callable[[datetime], bool] | None = None,
        if_silent: bool = False,
        offered: Sequence[datetime] = (),
    ) -> None:
        """SEMANTICS §10.8, in its order: consent, holdout, goal, reachable, cap, quiet hours, the message's end.

        `offered` are the offers that were pushed before: of a member's day there is one, and no other cap is reached.
        """
        person = self.life.person
        if not self.is_on():
            return
        if if_silent and self.has_reacted:
            self.tell("not sent", step, "reaction")
        elif only_if is not None and not only_if(self.now):
            self.tell("not sent", step, "condition")
        elif self.category == "MARKETING" and not person.wants_offers:
            self.tell("not sent", step, "no consent: MARKETING")
        elif self.arm == "HELD_OUT":
            self.tell("held out", step)
        elif not self.reaches(channel):
            self.tell("not sent", step, f"unreachable: {channel}")
            self.comes(is_pushed=False)
        elif any(self.is_same_day(at) for at in offered):
            self.tell("not sent", step, "capped: marketing-day")
        elif self.category != "TRANSACTIONAL" and (ends_at := quiet_until(self.now, person)) is not None:
            morning = ends_at + self.life.spread
            if self.expires_at is not None and morning >= self.expires_at:
                self.tell("not sent", step, "quiet hours until after the message expired")
                return
            self.tell("deferred", step, "quiet hours")
            self.now = morning
            self.send(step, channel)
        else:
            self.tell(f"sent by {channel}", step)
            self.comes(is_pushed=channel == "PUSH")

    def comes(self, *, is_pushed: bool) -> None:
        """A message came, and the person has his habits."""
        self.messages.append(self.now)
        self.has_reacted = False
        person = self.life.person
        if person.habit is None or person.back_at is None or self.cascade not in ASK_FOR_REACTIONS:
            return
        if self.now > person.back_at and (is_pushed or person.habit.what == "READ"):
            act = Act(self.now + person.habit.after, person.habit.what, (self.cascade, self.now))
            self.acts.append(act)
            if act.what != "DISMISSED":
                self.reacts_at = act.at

    def reaches(self, channel: str) -> bool:
        person = self.life.person
        told_at = [at for at in (person.joined_at, person.back_at) if at is not None]
        has_phone = person.phones > 0 and any(at <= self.now < at + GONE_AFTER for at in told_at)
        return {"PUSH": has_phone, "EMAIL": person.email, "SMS": person.sms}[channel]

    def is_same_day(self, at: datetime) -> bool:
        zone = self.life.person.zone
        return at.astimezone(zone).date() == self.now.astimezone(zone).date()

    def wait(self, days: int) -> None:
        """For so many days, or until he reacts to the message before; who did so does not wait."""
        if self.has_reacted:
            return
        local = self.now.astimezone(self.life.person.zone)
        ends_at = instant(local.date() + timedelta(days=days), local.time(), self.life.person.zone)
        reacts_at, self.reacts_at = self.reacts_at, None
        if reacts_at is None or reacts_at >= ends_at:
            self.note_late(reacts_at)
            self.now = ends_at
        else:
            self.now, self.has_reacted = reacts_at, True
            if self.is_on():
                self.tell("reaction", None)

    def note_late(self, reacts_at: datetime | None) -> None:
        """He reacted when nothing waited for it any more; it is noted."""
        if reacts_at is not None and reacts_at <= self.life.until:
            self.told.append(Told("late reaction", None, None, reacts_at))

    def wait_for(self, at: time) -> None:
        zone = self.life.person.zone
        today = instant(self.now.astimezone(zone).date(), at, zone)
        self.now = today if today >= self.now else instant(self.now.astimezone(zone).date() + DAY, at, zone)

    def done(self) -> CountedRun:
        """The goal may come after the last step, until the run would have expired, or for thirty days."""
        if self.is_on():
            self.tell("done", None)
            self.state = "DONE"
            latest = self.expires_at or self.now + 30 * DAY
            if self.goal_at is not None and self.goal_at < latest and self.goal_at <= self.life.until:
                self.state = "GOAL_REACHED"
                self.told.append(Told("goal reached", None, None, self.goal_at))
        self.note_late(self.reacts_at)
        self.told.sort(key=lambda each: each.at)
        return self

    def is_on(self) -> bool:
        """Whether the run comes to `now`: its goal did not come before, nor the end of time."""
        if self.state == "WAITING" and self.goal_at is not None and self.goal_at <= min(self.now, self.life.until):
            self.state = "GOAL_REACHED"
            self.told.append(Told("goal reached", None, None, self.goal_at))
        return self.state == "WAITING" and self.now <= self.life.until

    def tell(self, what: str, step: int | None, reason: str | None = None) -> None:
        self.told.append(Told(what, step, reason, self.now))


def offers_in(runs: Iterable[CountedRun]) -> list[datetime]:
    """When the offers of the runs were pushed."""
    offers = {"win-back", "near-store"}
    return [each.at for run in runs if run.cascade in offers for each in run.told if each.what == "sent by PUSH"]


def offers_too_many(sent: Iterable[datetime], zone: ZoneInfo) -> list[datetime]:
    """Those of a member's marketing pushes that were the second of his day, or the fourth within seven days."""
    all_sent = sorted(sent)
    return [
        at
        for at in all_sent
        if sum(each.astimezone(zone).date() == at.astimezone(zone).date() for each in all_sent) > 1
        or sum(at - 7 * DAY < each <= at for each in all_sent) > OFFERS_A_WEEK
    ]


def quiet_until(at: datetime, person: Person) -> datetime | None:
    """The end of the quiet hours that hold at the instant; they go past midnight."""
    start, end = person.quiet
    local = at.astimezone(person.zone)
    if local.time() >= start:
        return instant(local.date() + DAY, end, person.zone)
    return instant(local.date(), end, person.zone) if local.time() < end else None


def day_of(at: datetime) -> date:
    """The programme's."""
    return at.astimezone(ZONE).date()


def midnight(day: date, zone: ZoneInfo) -> datetime:
    return instant(day, time(0), zone)


def instant(day: date, at: time, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, at, tzinfo=zone).astimezone(UTC)
