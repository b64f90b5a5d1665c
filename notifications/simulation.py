"""A simulation: what a cascade would send a member if its signal came, when, and why not. Nothing is written.

The run goes through the engine that real runs go through, and each send is judged on the member as he stands: his
consents, preferences, phones, caps and language now, his wallet and quiet hours at the instant of the send. What he may
do meanwhile is left out, but for opening each message, where that is asked for.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any, Final

from domain.ledger.entry import entry_from
from domain.money import to_minor
from domain.programme.cascade import CompiledCascade
from domain.programme.cascade_format import PLACE_EVENTS, DateEvent
from domain.store.codec import format_instant, parse_instant
from notifications import engine
from notifications.caps import caps_of
from notifications.channel import Message
from notifications.control import CascadeState, Switches, switches
from notifications.dates import ComingDate, coming
from notifications.delivery import OPENED
from notifications.engine import NO_ENTRY, Deferred, Go, HeldOut, Refused, Send
from notifications.event import journal_query, signal_of
from notifications.hearing import live_runs
from notifications.office import Office, Party, party_of
from notifications.recipient import Place, Recipient, recipient_of
from notifications.run import NOT_STARTED, Run, RunArm, RunEvent, RunState, with_event
from notifications.scene import NEAR, Scene, conditions_of, message_of, scene_of
from notifications.signal import Signal
from notifications.starting import begun_by, standing_of

MAX_TURNS: Final = 1_000
OPENED_AFTER: Final = timedelta(minutes=1)
_MONEY: Final = frozenset({"cashback", "amount", "now", "next"})
_READ: Final[Mapping[str, tuple[Callable[[str], object], str]]] = {
    **dict.fromkeys(("points", "days", "length", "missing", "year"), (int, "a whole number")),
    **dict.fromkeys(_MONEY, (str, "an amount such as 12.34")),
    "until": (lambda text: format_instant(parse_instant(text)), "an instant such as 2026-11-22T14:00:00Z"),
    "date": (lambda text: date.fromisoformat(text).isoformat(), "a day such as 2026-11-22"),
}
_ENTRY: Final = frozenset({"points", "cashback", "amount", "place"})
_FACTS: Final[Mapping[str, frozenset[str]]] = {
    DateEvent.LAPSED: frozenset({"days"}),
    DateEvent.POINTS_EXPIRING: frozenset({"points", "date"}),
    DateEvent.STREAK_AT_RISK: frozenset({"streak", "length", "until"}),
    DateEvent.TIER_AT_RISK: frozenset({"missing", "until"}),
    DateEvent.BONUS_STEP: frozenset({"bonus", "now", "next", "date"}),
    DateEvent.BONUS_EXPIRING: frozenset({"bonus", "now", "date"}),
    DateEvent.BIRTHDAY: frozenset({"year"}),
    **dict.fromkeys(PLACE_EVENTS, frozenset({"place"})),
}


class CascadeUnknown(Exception):  # noqa: N818 -- says what is the case
    """The programme in force has no such cascade; `known` are those that it has."""

    def __init__(self, cascade: str, known: tuple[str, ...]) -> None:
        self.known = known
        super().__init__(f"There is no cascade {cascade}; there are {', '.join(known) or 'none'}.")


class NobodyThere(Exception):  # noqa: N818 -- says what is the case
    """There is no such member, or he is being forgotten."""

    def __init__(self, member: str) -> None:
        super().__init__(f"There is no member {member}.")


class FactInvalid(Exception):  # noqa: N818 -- says what is the case
    """The trigger has no such fact, or not with that value; the message says which and what to give."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of the run's history to be, and what it says where it is a message's.

    `until` is when what is decided here comes to its next turn, if that is later.
    """

    event: RunEvent
    until: datetime | None = None
    message: Message | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """The run as it would go; `switched` is what holds the cascade back now, if it is not LIVE."""

    cascade: str
    version: int
    member: str
    arm: RunArm
    state: RunState
    switched: CascadeState
    zone: str
    locale: str
    lines: tuple[Line, ...]

    @property
    def messages(self) -> list[Message]:
        """What would go out, in order."""
        return [line.message for line in self.lines if line.message and line.event.what.startswith("sent")]


async def simulate(
    office: Office,
    cascade: str,
    member: str,
    *,
    now: datetime,
    at: datetime | None = None,
    facts: Mapping[str, str] | None = None,
    reacts: bool = False,
) -> Simulation:
    """What the cascade would do for the member if its signal came at `at`: by default now, or when its date comes.

    `facts` are those of the signal by name, as text; what is left out is as in the member's last entry of the kind, or
    of his date. With `reacts` he opens each message a minute after it went. `at` is not before `now`.

    Raises CascadeUnknown, NobodyThere and FactInvalid.
    """
    cascades = office.programmes.current.cascades
    if (compiled := cascades.get(cascade)) is None:
        raise CascadeUnknown(cascade, tuple(cascades))
    known = await switches(office.store)
    given = _given(compiled, facts or {}, office.programmes.current.currency)
    signal, untold = await _signal(office, compiled, member, at=at, now=now, given=given)
    scene = await scene_of(office, member, near=(), known=known, now=signal.at)
    if scene is None:
        raise NobodyThere(member)
    live = await live_runs(office, member)
    begun = await begun_by(office, scene.party, compiled, signal, started=scene.recipient.started, live=live.values())
    why_not = untold
    if begun is None and why_not is None:
        standing = standing_of(scene.party, compiled, signal, started={}, live=())
        why_not = engine.why_not_asked(compiled, signal, standing)
    if begun is None or why_not is not None:
        lines = [Line(event=RunEvent(at=signal.at, what=NOT_STARTED, reason=why_not))]
        arm, state = RunArm.TREATED, RunState.CANCELLED
    else:
        course = _Course(office=office, cascade=compiled, known=known, others=list(live.values()), run=begun)
        lines = await course.lines_to_the_end(reacts=reacts)
        arm, state = course.run.arm, course.run.state
    return Simulation(
        cascade=cascade,
        version=office.programmes.current.version,
        member=member,
        arm=arm,
        state=state,
        switched=known.state(cascade),
        zone=scene.zone.key,
        locale=scene.locale,
        lines=tuple(lines),
    )


@dataclass(slots=True, kw_only=True)
class _Course:
    """A run on its way through its steps, with the places of caps that its own messages take."""

    office: Office
    cascade: CompiledCascade
    known: Switches
    others: list[Run]
    run: Run
    places: tuple[tuple[str, Place], ...] = ()
    opens_at: datetime | None = None

    async def lines_to_the_end(self, *, reacts: bool) -> list[Line]:
        """What is told of each turn, until the run is over."""
        lines = [Line(event=event) for event in self.run.history]
        now = self.run.started_at
        for _ in range(MAX_TURNS):
            if self.run.due_at is None:
                return lines
            before = len(self.run.history)
            now = max(now, self.run.due_at)
            if self.opens_at is not None and self.opens_at < now:
                now, message = self.opens_at, None
                self._open(now)
            else:
                message = await self._turn(now, reacts=reacts)
            until = _after(self.run, now)
            new = self.run.history[before:]
            lines += [Line(event=event) for event in new[:-1]]
            lines += [Line(event=event, until=until, message=message) for event in new[-1:]]
        raise AssertionError(f"{self.run.id} goes on without end")

    def _open(self, now: datetime) -> None:
        assert self.run.delivery is not None, self.run.id
        self.opens_at = None
        reacted = engine.react(self.run, at=now, event=OPENED, delivery=self.run.delivery)
        self.run = engine.wake(reacted, self.cascade, at=now)

    async def _turn(self, now: datetime, *, reacts: bool) -> Message | None:
        """Takes the run as far as its next message or wait; the message, if there is one to show."""
        near = [run for run in self.others if run.due_at is not None and run.due_at <= now + NEAR]
        scene = await scene_of(self.office, self.run.member, near=near, known=self.known, now=now)
        if scene is None:
            raise NobodyThere(self.run.member)
        facts = scene.party.facts(self.run.facts)
        self.run, send = engine.proceed(self.run, self.cascade, now=now, facts=facts, zone=scene.zone)
        if send is None:
            return None
        if (self.cascade.id, self.run.version, send.step) in self.known.closed:
            self.run = engine.skip(self.run, send.step, now=now, reason="the message was refused")
            return None
        return await self._judged(send, replace(scene, recipient=self._with_places(scene.recipient)), reacts=reacts)

    async def _judged(self, send: Send, scene: Scene, *, reacts: bool) -> Message | None:
        run, now = self.run, scene.now
        message = await message_of(self.office, run, self.cascade, send, scene)
        conditions = await conditions_of(self.office, run, self.cascade, send, scene, tried=frozenset())
        match engine.judge(run, self.cascade, send, conditions):
            case HeldOut():
                self.run = engine.sent(run, send, now=now, what="held out")
            case Deferred() as deferred:
                self.run = engine.defer(run, deferred, now=now)
                return None
            case Refused() as refused:
                kept = message if refused.to_inbox and isinstance(message, Message) else None
                delivery = None if kept is None else send.delivery
                self.run = engine.skip(run, send.step, now=now, reason=refused.reason, delivery=delivery)
                return kept
            case Go() as go:
                for channel in go.passed:
                    run = with_event(run, RunEvent(at=now, what="unreachable", step=send.step, reason=channel))
                if isinstance(message, str):
                    self.run = engine.skip(run, send.step, now=now, reason=f"not rendered: {message}")
                    return None
                self.run = engine.sent(run, send, now=now, what=f"sent by {go.channel}")
                caps = caps_of(scene.programme.definition.messaging.caps, category=run.category, channel=go.channel)
                self.places += tuple((cap.id, Place(delivery=send.delivery, at=now)) for cap in caps)
                self.opens_at = now + OPENED_AFTER if reacts else None
        return message if isinstance(message, Message) else None

    def _with_places(self, recipient: Recipient) -> Recipient:
        places = dict(recipient.places)
        for cap, place in self.places:
            places[cap] = (*places.get(cap, ()), place)
        return replace(recipient, places=places)


def _after(run: Run, now: datetime) -> datetime | None:
    """When the run is due, if it is later."""
    return run.due_at if run.due_at is not None and run.due_at > now else None


async def _signal(
    office: Office,
    cascade: CompiledCascade,
    member: str,
    *,
    at: datetime | None,
    now: datetime,
    given: Mapping[str, Any],
) -> tuple[Signal, str | None]:
    """The signal that is to come, and why it does not come by itself, if it does not."""
    party = await party_of(office, member, now=at or now)
    if party is None:
        raise NobodyThere(member)
    event = cascade.trigger.event
    signal = Signal(id=f"simulated:{cascade.id}", member=member, event=event, at=at or now, facts=given)
    if event in {*DateEvent}:
        coming_date = _next_date(cascade, party, now=now)
        if coming_date is None:
            missing = None if given else "no such date comes to the member"
            return replace(signal, facts={"cascades": [cascade.id], **given}), missing
        recipient = await recipient_of(office.store, member)
        told = "the date was told before" if coming_date.signal.id in recipient.told and at is None else None
        comes_at = at or max(now, coming_date.at)
        return replace(coming_date.signal, at=comes_at, facts={**coming_date.signal.facts, **given}), told
    if event in PLACE_EVENTS:
        places = cascade.trigger.place or list(party.programme.places)
        return replace(signal, facts={"place": next(iter(places), ""), **given}), None
    if (query := journal_query(event)) is not None:
        last = office.store.journal.find({"member": member, "seq": {"$exists": True}, **query})
        found = [signal_of(entry_from(each)).facts async for each in last.sort("seq", -1).limit(1)]
        facts: dict[str, Any] = {**(found[0] if found else {}), "sequence": party.wallet.sequence}
        entry = {name: value for name, value in given.items() if name != "place"}
        facts["entry"] = {**NO_ENTRY, **facts.get("entry", {}), **entry}
        return replace(signal, facts=facts | {name: given[name] for name in given.keys() & {"place"}}), None
    return signal, None


def _next_date(cascade: CompiledCascade, party: Party, *, now: datetime) -> ComingDate | None:
    """The first of the cascade's dates that is still to come, or may come late."""
    dates = coming(party.member, party.wallet, party.programme, now=now)
    mine = [date for date in dates if cascade.id in date.signal.facts["cascades"]]
    return next((date for date in mine if date.at >= now or (date.until is not None and now < date.until)), None)


def _given(cascade: CompiledCascade, facts: Mapping[str, str], currency: str) -> dict[str, Any]:
    """The facts by the names that signals know them by."""
    event = cascade.trigger.event
    known = _FACTS.get(event, _ENTRY if journal_query(event) is not None else frozenset())
    given: dict[str, Any] = {}
    for name, text in facts.items():
        if name not in known:
            raise FactInvalid(f"The event {event} has no fact {name}; it has {', '.join(sorted(known)) or 'none'}.")
        read, kind = _READ.get(name, (str, "text"))
        try:
            if name in _MONEY:
                given[f"{name}_minor"] = to_minor(text, currency)
            else:
                given[name] = read(text)
        except ValueError:
            raise FactInvalid(f"The fact {name} is {text!r}; it should be {kind}.") from None
    if event in {DateEvent.BONUS_STEP, DateEvent.BONUS_EXPIRING} and given:
        given["currency"] = currency
    return given
