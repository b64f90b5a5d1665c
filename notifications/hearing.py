"""Signals come in, and runs start, reach their goal, are reacted to, or end (SEMANTICS §10.1 to §10.6).

A member's signals are the entries of his journal after the last one heard, the stored ones that are pending, and the
dates that came. All are heard member by member. Whatever is stored on the way is idempotent, and that it was heard is
stored last: whoever dies in between is followed by somebody who does it again, to the same end.
"""

import asyncio
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pymongo.errors import DuplicateKeyError

from domain.ledger.entry import entry_from
from domain.programme.cascade import CompiledCascade
from domain.store.codec import to_bson
from notifications import engine
from notifications.control import CascadeState, Switches, switches
from notifications.dates import coming, fallen, next_at
from notifications.delivery import OPENED
from notifications.event import signal_of
from notifications.office import Office, Party, all_done, party_of, store_run
from notifications.recipient import Recipient, keep, recipient_of
from notifications.run import (
    LATE_REACTION,
    REACTION,
    Run,
    RunState,
    deliveries_of,
    has_reaction,
    run_document,
    run_from,
    run_id,
)
from notifications.setback import aside_among, member_on_record, members_aside, members_up_again
from notifications.signal import Signal, signal_from
from notifications.starting import begun_by

AT_ONCE: Final = 16
MAX_ENTRIES: Final = 500
ATTEMPTS: Final = 20
TOO_OLD: Final = timedelta(days=30)
"""What nobody heard for so long starts nothing any more; goals and reactions count whenever they are heard."""
KEPT_FOR: Final = timedelta(days=30)
"""How long a stored signal that was heard is remembered by its id, by real time."""
READ: Final = "inbox.read"
WITHDRAWN: Final = "consent.withdrawn"


async def hear_journal(office: Office, members: Collection[str], *, now: datetime, anew: bool = False) -> None:
    """Hears what the journals of the members say that was not heard, and the dates that came to them.

    With `anew` their dates are worked out again even if there is nothing to hear: something else of them changed.
    Those set aside are left for when they are up again.
    """
    if not members:
        return
    gate = asyncio.Semaphore(AT_ONCE)
    known, aside = await asyncio.gather(switches(office.store), aside_among(office.store, members))

    async def one(member: str) -> None:
        async with gate, office.alone_with(member), member_on_record(office.store, member, doing="hearing"):
            await _hear(office, member, (), now=now, known=known, anew=anew)

    await all_done(one(member) for member in members if member not in aside)


async def hear_stored(office: Office, slots: Iterable[int], *, now: datetime, limit: int = 200) -> int:
    """Hears the stored signals of the slots that are pending, at most `limit`; how many there were."""
    slots = sorted(slots)
    pending: dict[str, Any] = {"slot": {"$in": slots}, "pending": True}
    if aside := await members_aside(office.store, slots):
        pending["member"] = {"$nin": aside}
    documents = await office.store.signals.find(pending).sort("at", 1).limit(limit).to_list()
    if not documents:
        return 0
    gate, known = asyncio.Semaphore(AT_ONCE), await switches(office.store)
    signals: dict[str, list[Signal]] = {}
    for document in documents:
        signals.setdefault(document["member"], []).append(signal_from(document))

    async def one(member: str, stored: Sequence[Signal]) -> None:
        async with gate, office.alone_with(member), member_on_record(office.store, member, doing="hearing"):
            await _hear(office, member, stored, now=now, known=known)
            await _forget(office, stored)

    await all_done(one(member, stored) for member, stored in signals.items())
    return len(documents)


async def hear_dates(office: Office, slots: Iterable[int], *, now: datetime, limit: int = 200) -> int:
    """Hears the dates of the slots that came, of at most `limit` members; how many it was."""
    came = {"slot": {"$in": sorted(slots)}, "due_at": {"$exists": True, "$lte": now}, "retry_at": {"$exists": False}}
    due = office.store.recipients.find(came, {"_id": True}).sort("due_at", 1)
    members = [document["_id"] async for document in due.limit(limit)]
    await hear_journal(office, members, now=now)
    return len(members)


async def hear_stale(office: Office, slots: Iterable[int], *, now: datetime, limit: int = 200) -> int:
    """Arms the dates of the programme in force for members who have another's; how many it was."""
    older = {"version": {"$lt": office.programmes.current.version}, "retry_at": {"$exists": False}}
    stale = office.store.recipients.find({"slot": {"$in": sorted(slots)}, **older}, {"_id": True})
    members = [document["_id"] async for document in stale.limit(limit)]
    await hear_journal(office, members, now=now)
    return len(members)


async def hear_again(office: Office, slots: Iterable[int], *, now: datetime, limit: int = 200) -> int:
    """Hears whoever is up again after a setback; how many it was."""
    members = await members_up_again(office.store, slots, limit=limit)
    await hear_journal(office, members, now=now)
    return len(members)


@dataclass(slots=True, kw_only=True)
class _Heard:
    """One member while he is heard."""

    party: Party
    live: dict[str, Run]
    known: Switches
    started: dict[str, datetime] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)


async def _hear(
    office: Office, member: str, stored: Sequence[Signal], *, now: datetime, known: Switches, anew: bool = False
) -> None:
    """Hears the member's journal from where it was heard, a page at a time, and the stored signals in their places."""
    conflicts = 0
    while conflicts < ATTEMPTS:
        recipient, party, live = await asyncio.gather(
            recipient_of(office.store, member), party_of(office, member, now=now), live_runs(office, member)
        )
        if party is None:
            await office.store.recipients.delete_one({"_id": member})
            return
        cursor = office.store.journal.find({"member": member, "seq": {"$gt": recipient.sequence}})
        entries = [entry_from(document) async for document in cursor.sort("seq", 1).limit(MAX_ENTRIES)]
        is_last = len(entries) < MAX_ENTRIES
        now_heard = [signal for signal in stored if is_last or signal.at <= entries[-1].posted_at]
        heard = _Heard(
            party=party,
            live=live,
            known=known,
            started=dict(recipient.started),
            told=list(recipient.told),
        )
        signals = sorted([*map(signal_of, entries), *now_heard], key=lambda signal: signal.at)
        await _reach_done(office, member, signals)
        for signal in signals:
            await _take(office, heard, signal, now=now)
        office.at("run created")
        if not (entries or stored or anew or _is_dated(recipient, party, now=now)):
            return
        sequence = entries[-1].sequence if entries else recipient.sequence
        after = replace(recipient, sequence=sequence, started=heard.started)
        if not await keep(office.store, await _dated(office, heard, after, now=now) if is_last else after):
            conflicts += 1
        elif is_last:
            return
        else:
            stored = [signal for signal in stored if signal not in now_heard]
    raise AssertionError(f"{member} was heard by others {ATTEMPTS} times at once")


def _is_dated(recipient: Recipient, party: Party, *, now: datetime) -> bool:
    """Whether a date came, the dates were armed by another programme, or he is up again after a setback."""
    has_come = recipient.due_at is not None and recipient.due_at <= now
    return has_come or recipient.version != party.programme.version or recipient.failures > 0


async def live_runs(office: Office, member: str) -> dict[str, Run]:
    """The member's runs that wait, by id."""
    found = office.store.runs.find({"member": member, "state": RunState.WAITING.value})
    return {document["_id"]: run_from(document) async for document in found}


async def _dated(office: Office, heard: _Heard, recipient: Recipient, *, now: datetime) -> Recipient:
    """The recipient after the dates that came, with the next one armed."""
    party = heard.party
    version = party.programme.version
    through = recipient.through or max(party.member.joined_at, now - TOO_OLD)
    if recipient.version not in {0, version} and not (recipient.due_at is not None and recipient.due_at <= now):
        through = now
    dates = coming(party.member, party.wallet, party.programme, now=now)
    for date in fallen(dates, through=through, now=now, told=heard.told):
        # One that was over before anybody could hear it comes now; what came while nobody worked keeps its instant.
        signal = date.signal if date.at > through else replace(date.signal, at=now)
        await _take(office, heard, signal, now=now)
        heard.told.append(date.signal.id)
    return replace(
        recipient,
        version=version,
        through=now,
        due_at=next_at(dates, now=now),
        told=tuple(heard.told),
        started=heard.started,
    )


async def _take(office: Office, heard: _Heard, signal: Signal, *, now: datetime) -> None:
    """What one signal does: goals first, then reactions and ends, then what it starts."""
    for identifier in list(heard.live):
        run = heard.live[identifier]
        cascade = await office.cascade_of(run)
        if cascade is not None and (after := _moved(run, cascade, signal, heard.known)) is not run:
            await _store(office, heard, after, signal=signal)
    if signal.event in {OPENED, READ}:
        await _note_late(office, signal)
    if now - signal.at <= TOO_OLD:
        for cascade in party_cascades(heard.party, signal):
            await _start(office, heard, cascade, signal)


async def _reach_done(office: Office, member: str, signals: Sequence[Signal]) -> None:
    """Goals that come after a run's last step are its all the same, and have its pushes recalled (SEMANTICS §10.5)."""
    if not signals:
        return
    async for document in office.store.runs.find({"member": member, "goal_until": {"$gt": signals[0].at}}):
        run = run_from(document)
        cascade = await office.cascade_of(run)
        goals = [] if cascade is None else [signal for signal in signals if _is_goal(run, cascade, signal)]
        if not goals or run.goal_until is None or goals[0].at >= run.goal_until:
            continue
        event = {"at": goals[0].at, "what": "goal reached", "reason": goals[0].event}
        reached: dict[str, Any] = {"state": RunState.GOAL_REACHED.value, "ended_at": goals[0].at}
        reached |= {"recall": deliveries_of(run), "recall_at": datetime.now(UTC)} if deliveries_of(run) else {}
        await office.store.runs.update_one(
            {"_id": run.id, "goal_until": {"$exists": True}},
            {
                "$set": to_bson(reached),
                "$unset": {"goal_until": ""},
                "$push": {"history": to_bson(event)},
                "$inc": {"revision": 1},
            },
        )


def _is_goal(run: Run, cascade: CompiledCascade, signal: Signal) -> bool:
    """Whether the signal is what the run is for, and came after what started it."""
    is_after = signal.facts.get("sequence", run.sequence + 1) > run.sequence and signal.at >= run.started_at
    return signal.event in cascade.goal_events and is_after and signal.id != run.signal


async def _note_late(office: Office, signal: Signal) -> None:
    """Puts a reaction on the record of the run that is over, once (SEMANTICS §10.6)."""
    delivery = signal.facts["delivery"]
    event = {"at": signal.at, "what": LATE_REACTION, "reason": signal.event, "delivery": delivery}
    once = {"$elemMatch": {"what": {"$in": [REACTION, LATE_REACTION]}, "reason": signal.event, "delivery": delivery}}
    await office.store.runs.update_one(
        {
            "member": signal.member,
            "state": {"$ne": RunState.WAITING.value},
            "history.delivery": delivery,
            "history": {"$not": once},
        },
        {"$push": {"history": to_bson(event)}, "$inc": {"revision": 1}},
    )


def party_cascades(party: Party, signal: Signal) -> list[CompiledCascade]:
    """The cascades of the programme in force that the signal may start."""
    return [cascade for cascade in party.programme.cascades.values() if cascade.trigger.event == signal.event]


def _moved(run: Run, cascade: CompiledCascade, signal: Signal, known: Switches) -> Run:
    """The live run after a signal that did not start it. Its clock is first brought up to the signal's instant."""
    if _is_goal(run, cascade, signal):
        return engine.reach(run, at=signal.at, event=signal.event)
    if signal.event == WITHDRAWN and signal.facts["purpose"] == "LOCATION" and "LOCATION" in cascade.purposes:
        return engine.cancel(run, at=signal.at, reason="consent withdrawn: LOCATION")
    if signal.event in {OPENED, READ}:
        delivery = signal.facts["delivery"]
        if delivery in deliveries_of(run) and not has_reaction(run, delivery, signal.event):
            held = known.held_seconds(run.cascade, since=run.started_at, now=signal.at)
            reacted = engine.hold(run, held) if held > run.held_seconds else run
            reacted = engine.react(reacted, at=signal.at, event=signal.event, delivery=delivery)
            return engine.wake(reacted, cascade, at=signal.at)
    return run


async def _store(office: Office, heard: _Heard, run: Run, *, signal: Signal) -> None:
    """Stores a run that the signal moved, on whatever it has become meanwhile."""
    for _ in range(ATTEMPTS):
        if await store_run(office, run):
            break
        document = await office.store.runs.find_one({"_id": run.id})
        latest = None if document is None else run_from(document)
        cascade = None if latest is None else await office.cascade_of(latest)
        if latest is None or cascade is None or (run := _moved(latest, cascade, signal, heard.known)) is latest:
            heard.live.pop(run.id, None)
            return
    if run.is_live:
        heard.live[run.id] = replace(run, revision=run.revision + 1)
    else:
        del heard.live[run.id]
        office.at("run ended")


async def _start(office: Office, heard: _Heard, cascade: CompiledCascade, signal: Signal) -> None:
    party, identifier = heard.party, run_id(cascade.id, signal.member, signal.id)
    if heard.known.state(cascade.id) is not CascadeState.LIVE:
        return
    if heard.known.is_stopped(cascade.id, since=signal.at):
        return
    begun = await begun_by(office, party, cascade, signal, started=heard.started, live=heard.live.values())
    if begun is None:
        return
    try:
        await office.store.runs.insert_one(to_bson(run_document(begun)))
    except DuplicateKeyError:
        # Whoever made it died before he noted that the cascade started, or another hears at the same time.
        stored = await office.store.runs.find_one({"_id": identifier})
        if stored is None or not (begun := run_from(stored)).has_started:
            return
    if begun.has_started:
        heard.started[cascade.id] = max(signal.at, heard.started.get(cascade.id, signal.at))
    if begun.is_live:
        heard.live[begun.id] = begun


async def _forget(office: Office, stored: Sequence[Signal]) -> None:
    """They were heard: what says where a member was goes at once, the others' ids stay for a while."""
    heard = [signal.id for signal in stored]
    places = [signal.id for signal in stored if signal.event.startswith("place.")]
    await office.store.signals.update_many(
        {"_id": {"$in": heard}},
        {"$unset": {"pending": ""}, "$min": {"kept_until": datetime.now(UTC) + KEPT_FOR}},
    )
    if places:
        await office.store.signals.update_many({"_id": {"$in": places}}, {"$unset": {"facts.place": ""}})
