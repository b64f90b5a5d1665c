"""What a signal starts: a run of a cascade, judged on the member as he stands (SEMANTICS §10.3).

Nothing is stored here: hearing stores what comes out and a simulation shows it, so both start alike.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from domain.programme.cascade import CompiledCascade
from notifications import engine
from notifications.event import journal_query
from notifications.office import Office, Party
from notifications.run import Run
from notifications.schedule import minus
from notifications.signal import Signal


async def begun_by(
    office: Office,
    party: Party,
    cascade: CompiledCascade,
    signal: Signal,
    *,
    started: Mapping[str, datetime],
    live: Iterable[Run],
) -> Run | None:
    """What :func:`engine.begin` makes of the signal; nothing is stored. `live` are the member's live runs."""
    programme = party.programme
    standing = standing_of(party, cascade, signal, started=started, live=live)

    def begin(standing: engine.Standing) -> Run | None:
        named = programme.definition.programme
        return engine.begin(cascade, signal, version=programme.version, programme=named, standing=standing)

    begun = begin(standing)
    if begun is not None and begun.is_live and (goal_at := await _goal_before(office, cascade, signal)) is not None:
        return begin(replace(standing, goal_at=goal_at))
    return begun


def standing_of(
    party: Party, cascade: CompiledCascade, signal: Signal, *, started: Mapping[str, datetime], live: Iterable[Run]
) -> engine.Standing:
    """What a start is judged by, but for the goal, which takes a look at the journal."""
    facts = party.facts(signal.facts)
    return engine.Standing(
        facts=facts,
        segments=frozenset(facts["member"]["segments"]),
        started_at=started.get(cascade.id),
        rival=_rival(live, cascade),
        sequence=int(signal.facts.get("sequence", party.wallet.sequence)),
        zone=party.programme.zone,
    )


def _rival(live: Iterable[Run], cascade: CompiledCascade) -> tuple[str, int] | None:
    """The live promotional run of the cascade's group with the highest priority."""
    if cascade.group is None:
        return None
    rivals = [run for run in live if run.group == cascade.group and run.category == "MARKETING"]
    strongest = max(rivals, key=lambda run: run.priority, default=None)
    return None if strongest is None else (strongest.cascade, strongest.priority)


async def _goal_before(office: Office, cascade: CompiledCascade, signal: Signal) -> datetime | None:
    """When the goal came: within the look-back before the signal, or already after it."""
    if not cascade.goal_events:
        return None
    since = signal.at if cascade.look_back is None else minus(signal.at, cascade.look_back)
    kinds = [query for event in cascade.goal_events if (query := journal_query(event)) is not None]
    if kinds:
        wanted: dict[str, Any] = {
            "member": signal.member,
            "seq": {"$exists": True, "$ne": signal.facts.get("sequence")},
            "posted_at": {"$gte": since},
            "$or": kinds,
        }
        found = await office.store.journal.find_one(wanted, {"posted_at": True})
        if found is not None:
            return found["posted_at"]  # type: ignore[no-any-return]
    others = [event for event in cascade.goal_events if journal_query(event) is None]
    if others:
        wanted = {"member": signal.member, "event": {"$in": others}, "at": {"$gte": since}, "_id": {"$ne": signal.id}}
        found = await office.store.signals.find_one(wanted, {"at": True})
        if found is not None:
            return found["at"]  # type: ignore[no-any-return]
    return None
