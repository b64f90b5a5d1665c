"""Places: a phone reports that it crossed a geofence, and a cascade may start by it (SEMANTICS §10.14).

A report names a place of the programme, never coordinates. What is kept is, for a member and a place, which
transition counted last and when, for as long as a cascade that it started cools down; no trace is kept where none
does. A report never gives value.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Any, Final
from zoneinfo import ZoneInfo

from pymongo.errors import DuplicateKeyError

from domain.ledger.expiry import local_date
from domain.members.consent import ConsentPurpose, is_granted
from domain.programme.cascade import CompiledCascade, seconds_of
from domain.programme.format import Place
from domain.store.codec import epoch_ms
from domain.store.connection import Store
from notifications.signal import Signal, emit

OLDEST: Final = timedelta(minutes=15)
AHEAD: Final = timedelta(minutes=5)
SIGNAL_KEPT_FOR: Final = timedelta(days=1)
"""By real time: a worker that was away for longer starts nothing by where a member was then."""
_ATTEMPTS: Final = 10


class Transition(StrEnum):
    """The contract's enumeration. `event` is what cascades call it."""

    ENTER = "ENTER"
    DWELL = "DWELL"
    EXIT = "EXIT"

    @property
    def event(self) -> str:
        return f"place.{self.value.lower()}"


class Ignored(StrEnum):
    """Why nothing comes of a report."""

    NO_CONSENT = "NO_CONSENT"
    IN_FUTURE = "IN_FUTURE"
    TOO_OLD = "TOO_OLD"
    TOO_INACCURATE = "TOO_INACCURATE"
    CLOSED = "CLOSED"
    COOLING_DOWN = "COOLING_DOWN"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the phone says: `accuracy_metres` is the radius of its own uncertainty, None if it does not know."""

    member: str
    place: Place
    transition: Transition
    occurred_at: datetime
    accuracy_metres: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """A cascade that the event starts at that place, and for how long it does not start again there."""

    cascade: str
    cooldown: timedelta = timedelta(0)


def judge(report: Report, *, has_consent: bool, zone: ZoneInfo, now: datetime) -> Ignored | None:
    """Why nothing comes of the report whatever came before it; None if something may. `zone` is the place's."""
    if not has_consent:
        return Ignored.NO_CONSENT
    if report.occurred_at > now + AHEAD:
        return Ignored.IN_FUTURE
    if report.occurred_at < now - OLDEST:
        return Ignored.TOO_OLD
    if report.accuracy_metres is not None and report.accuracy_metres > report.place.radius_m:
        return Ignored.TOO_INACCURATE
    if local_date(report.occurred_at, zone) in report.place.closed:
        return Ignored.CLOSED
    return None


def ready(report: Report, listeners: Iterable[Listener], counted_at: Mapping[str, datetime]) -> list[Listener]:
    """The listeners that are not cooling down: for them the report counts. One that was told again counts again.

    `counted_at` is when a report of the kind counted last for each cascade.
    """
    return [
        listener
        for listener in listeners
        if (last := counted_at.get(listener.cascade)) is None
        or last == report.occurred_at
        or last + listener.cooldown <= report.occurred_at
    ]


def listeners_to(cascades: Iterable[CompiledCascade], event: str, place: str) -> list[Listener]:
    """The cascades of a programme that the event starts at that place."""
    return [
        Listener(
            cascade=cascade.id,
            cooldown=timedelta(seconds=0 if cascade.trigger.cooldown is None else seconds_of(cascade.trigger.cooldown)),
        )
        for cascade in cascades
        if cascade.trigger.event == event and (not cascade.trigger.place or place in cascade.trigger.place)
    ]


def is_goal(cascades: Iterable[CompiledCascade], event: str) -> bool:
    """Whether some cascade of a programme has the event as its goal."""
    return any(event in cascade.goal_events for cascade in cascades)


async def take_report(
    store: Store, report: Report, *, listeners: Iterable[Listener], counts_anyway: bool, zone: ZoneInfo, now: datetime
) -> Ignored | None:
    """Why nothing comes of the report; None when it counts, as told by a signal that cascades start by.

    `listeners` are the cascades that the event starts; with `counts_anyway` it also is some cascade's goal, which no
    cooldown keeps back. The same report told again is answered alike and counts once.
    """
    listeners = list(listeners)
    has_consent = await is_granted(store, report.member, ConsentPurpose.LOCATION)
    if (ignored := judge(report, has_consent=has_consent, zone=zone, now=now)) is not None:
        return ignored
    for_whom = await _count(store, report, listeners)
    if listeners and not for_whom and not counts_anyway:
        return Ignored.COOLING_DOWN
    # A withdrawal that came in between found no trace to forget; whichever of the two is last sees the other.
    if not await is_granted(store, report.member, ConsentPurpose.LOCATION):
        await forget_transitions(store, report.member)
        return Ignored.NO_CONSENT
    await emit(store, _signal(report, for_whom, now), kept_for=SIGNAL_KEPT_FOR)
    return None


async def forget_transitions(store: Store, member: str) -> None:
    """Forgets where the member was: the traces, and the signals that came of them."""
    await store.transitions.delete_many({"member": member})
    await store.signals.delete_many({"member": member, "event": {"$in": [each.event for each in Transition]}})


async def _count(store: Store, report: Report, listeners: list[Listener]) -> list[Listener]:
    """The listeners for which the report counts, noted in the trace; of reports at once, one counts for each."""
    identifier = f"{report.member} {report.place.id} {report.transition.value}"
    cooling = [listener for listener in listeners if listener.cooldown > timedelta(0)]
    if not cooling:
        return listeners
    for _ in range(_ATTEMPTS):
        stored = await store.transitions.find_one({"_id": identifier})
        counted_at: dict[str, datetime] = {} if stored is None else stored["counted_at"]
        counts_for = ready(report, listeners, counted_at)
        noted = [listener.cascade for listener in counts_for if listener in cooling]
        if not noted:
            return counts_for
        document = {
            "_id": identifier,
            "member": report.member,
            "place": report.place.id,
            "transition": report.transition.value,
            "counted_at": {**counted_at, **dict.fromkeys(noted, report.occurred_at)},
            "kept_until": datetime.now(UTC) + max(listener.cooldown for listener in cooling),
        }
        if await _replace(store, stored, document):
            return counts_for
    raise AssertionError(f"{_ATTEMPTS} reports of one member at one place at once")


async def _replace(store: Store, stored: Mapping[str, Any] | None, document: dict[str, Any]) -> bool:
    """Stores the trace in place of what was read; False if that is not there any more."""
    if stored is None:
        try:
            await store.transitions.insert_one(document)
        except DuplicateKeyError:
            return False
        return True
    unchanged = {"_id": stored["_id"], "counted_at": stored["counted_at"]}
    return (await store.transitions.replace_one(unchanged, document)).matched_count == 1


def _signal(report: Report, for_whom: Iterable[Listener], now: datetime) -> Signal:
    """Its id stays on the runs that it starts, and so does not name the place."""
    told = f"{report.member}\0{report.place.id}\0{report.transition.value}\0{epoch_ms(report.occurred_at)}"
    return Signal(
        id=f"transition:{report.member}:{sha256(told.encode()).hexdigest()[:24]}",
        member=report.member,
        event=report.transition.event,
        at=now,
        facts={"place": report.place.id, "cascades": [listener.cascade for listener in for_whom]},
    )
