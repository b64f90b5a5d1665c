"""Dates that come to a member: days without a purchase, points about to expire, a birthday … (SEMANTICS §10.1).

They are computed from the wallet and the profile whenever either moved; the earliest to come is armed on the member's
recipient (:mod:`notifications.recipient`) and found by its index, so that nobody is searched for dates. A date has an
instant, the signal that it comes to, and, where it makes sense to be told late, an end until which it still counts.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from domain.ledger.bonus import Bonus
from domain.ledger.expiry import Period, add_period, local_date, start_of_day
from domain.ledger.posting import POINTS
from domain.ledger.wallet import Wallet, standing
from domain.members.birthday import next_birthday
from domain.members.member import Member, stays, zone_of
from domain.programme.cascade import CompiledCascade
from domain.programme.cascade_format import DateEvent, TriggerSection
from domain.programme.programme import Programme
from domain.programme.streaks import streak_standing
from domain.programme.tiers import held, metric, review
from domain.store.codec import format_instant
from notifications.signal import Signal


@dataclass(frozen=True, slots=True, kw_only=True)
class ComingDate:
    """The signal `comes` at its own instant; until `until`, if given, it may come late."""

    signal: Signal
    until: datetime | None = None

    @property
    def at(self) -> datetime:
        return self.signal.at


@dataclass(frozen=True, slots=True, kw_only=True)
class _About:
    """For which cascade, and of whom."""

    cascade: CompiledCascade
    member: Member
    wallet: Wallet
    programme: Programme
    now: datetime

    @property
    def trigger(self) -> TriggerSection:
        return self.cascade.trigger


def coming(member: Member, wallet: Wallet, programme: Programme, *, now: datetime) -> list[ComingDate]:
    """The dates that the programme's cascades wait for, past ones of the wallet as it stands included; in order."""
    found = [
        date
        for cascade in programme.cascades.values()
        if (each := _DATES.get(cascade.trigger.event)) is not None
        for date in each(_About(cascade=cascade, member=member, wallet=wallet, programme=programme, now=now))
    ]
    return sorted(found, key=lambda date: (date.at, date.signal.id))


def fallen(dates: Iterable[ComingDate], *, through: datetime, now: datetime, told: Collection[str]) -> list[ComingDate]:
    """The dates that came: after `through`, or before it if they may come late; none that was told."""
    return [
        date
        for date in dates
        if date.signal.id not in told
        and date.at <= now
        and (date.at > through if date.until is None else now < date.until)
    ]


def next_at(dates: Iterable[ComingDate], *, now: datetime) -> datetime | None:
    """When the next of them comes, or one that came is over: then another may follow that nothing else tells of."""
    instants = [instant for date in dates for instant in (date.at, date.until) if instant is not None]
    return min((instant for instant in instants if instant > now), default=None)


def _lapsed(about: _About) -> Iterator[ComingDate]:
    if about.wallet.purchased_at is None:
        return
    assert about.trigger.days is not None, about.cascade
    bought_on = local_date(about.wallet.purchased_at, about.programme.zone)
    at = start_of_day(bought_on + timedelta(days=about.trigger.days), about.programme.zone)
    yield ComingDate(
        signal=_signal(about, f"{about.trigger.days}:{bought_on.isoformat()}", at, days=about.trigger.days)
    )


def _points_expiring(about: _About) -> Iterator[ComingDate]:
    for amount, gone_at in standing(about.wallet, POINTS, about.now).expiring:
        if amount >= (about.trigger.at_least or 1):
            last_day = local_date(gone_at, about.programme.zone) - timedelta(days=1)
            at = _before(about, gone_at, about.programme.zone)
            facts = {"points": amount, "date": last_day.isoformat()}
            yield ComingDate(signal=_signal(about, format_instant(gone_at), at, **facts), until=gone_at)


def _bonus_step(about: _About) -> Iterator[ComingDate]:
    for bonus in about.wallet.bonuses.values():
        for before, step in zip(bonus.steps, bonus.steps[1:], strict=False):
            facts = {"bonus": bonus.id, "now_minor": before.worth_minor, "next_minor": step.worth_minor}
            yield _of_bonus(about, bonus, step.at, {**facts, "currency": bonus.currency})


def _bonus_expiring(about: _About) -> Iterator[ComingDate]:
    for bonus in about.wallet.bonuses.values():
        facts = {"bonus": bonus.id, "now_minor": bonus.steps[-1].worth_minor, "currency": bonus.currency}
        yield _of_bonus(about, bonus, bonus.expires_at, facts)


def _of_bonus(about: _About, bonus: Bonus, ends_at: datetime, facts: dict[str, object]) -> ComingDate:
    at = _before(about, ends_at, about.programme.zone)
    day = local_date(ends_at, about.programme.zone)
    if about.trigger.event == DateEvent.BONUS_EXPIRING:
        day -= timedelta(days=1)
    name = f"{bonus.id}:{format_instant(ends_at)}"
    return ComingDate(signal=_signal(about, name, at, **facts, date=day.isoformat()), until=ends_at)


def _tier_at_risk(about: _About) -> Iterator[ComingDate]:
    tier, tiers = about.wallet.tier, about.programme.tiers
    if tier is None or tier.valid_until is None or tiers is None:
        return
    level = held(tiers, tier)
    if review(tiers, tier, buckets=about.wallet.metric, zone=about.programme.zone).threshold >= level.threshold:
        return
    last_day = local_date(tier.valid_until, about.programme.zone) - timedelta(days=1)
    facts = {
        "missing": level.threshold - metric(tiers, about.wallet.metric, last_day),
        "until": format_instant(tier.valid_until),
    }
    at = _before(about, tier.valid_until, about.programme.zone)
    signal = _signal(about, format_instant(tier.valid_until), at, **facts)
    yield ComingDate(signal=signal, until=tier.valid_until)


def _birthday(about: _About) -> Iterator[ComingDate]:
    if about.member.profile.birthday is None:
        return
    zone = zone_of(about.member, about.programme)
    day = local_date(about.now, zone) - timedelta(days=1)
    for _ in range(2):
        day = next_birthday(about.member.profile.birthday, day + timedelta(days=1))
        begins_at = start_of_day(day, zone)
        at = begins_at if about.trigger.before is None else _before(about, begins_at, zone)
        yield ComingDate(
            signal=_signal(about, str(day.year), at, year=day.year),
            until=start_of_day(day + timedelta(days=1), zone),
        )


def _streak_at_risk(about: _About) -> Iterator[ComingDate]:
    programme, trigger = about.programme, about.trigger
    streak = next((each for each in programme.definition.streaks if each.id == trigger.streak), None)
    if streak is None:
        return
    where = stays(about.member, programme)
    now = streak_standing(about.wallet.progress, streak, programme, stays=where, now=about.now)
    if now.at_risk_at is None or now.current < (trigger.at_least or 1):
        return
    facts = {"streak": streak.id, "length": now.current, "until": format_instant(now.at_risk_at)}
    at = _before(about, now.at_risk_at, zone_of(about.member, programme))
    signal = _signal(about, f"{streak.id}:{format_instant(now.at_risk_at)}", at, **facts)
    yield ComingDate(signal=signal, until=now.at_risk_at)


_DATES: Mapping[str, Callable[[_About], Iterator[ComingDate]]] = {
    DateEvent.STREAK_AT_RISK: _streak_at_risk,
    DateEvent.LAPSED: _lapsed,
    DateEvent.POINTS_EXPIRING: _points_expiring,
    DateEvent.BONUS_STEP: _bonus_step,
    DateEvent.BONUS_EXPIRING: _bonus_expiring,
    DateEvent.TIER_AT_RISK: _tier_at_risk,
    DateEvent.BIRTHDAY: _birthday,
}


def _before(about: _About, at: datetime, zone: ZoneInfo) -> datetime:
    """`before` that instant: whole days of the zone, in which the time of day stays, then exact hours."""
    assert about.trigger.before is not None, about.cascade
    local = at.astimezone(zone)
    start = start_of_day(add_period(local.date(), _days(about.trigger.before), -1), zone)
    return start + (at - start_of_day(local.date(), zone)) - timedelta(seconds=about.trigger.before.seconds)


def _days(period: Period) -> Period:
    return Period(years=period.years, months=period.months, days=period.days)


def _signal(about: _About, name: str, at: datetime, **facts: object) -> Signal:
    event, cascade = str(about.trigger.event), about.cascade.id
    return Signal(
        id=f"{event}:{cascade}:{name}",
        member=about.member.id,
        event=event,
        at=at,
        facts={**facts, "cascades": [cascade]},
    )
