"""The switches: one cascade, or all of them, can be paused, stopped and resumed, everywhere within a second.

PAUSED holds the clocks of the runs there are and starts none: when it is over, every wait goes on with the time that
was left. STOPPED ends them; one that slipped past is ended when it is due, since it is kept when a cascade was stopped
last. A step whose message a carrier refused is closed for everybody until another version of the programme is
published. The switches are one document per cascade, :data:`ALL` for all, and are read before sends.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from domain.store.connection import Store
from notifications.run import PLACE, RunState

ALL: Final = "*"
MAX_PAUSES: Final = 100


class CascadeState(StrEnum):
    """The contract's enumeration."""

    LIVE = "LIVE"
    PAUSED = "PAUSED"
    STOPPED = "STOPPED"


Pause = tuple[datetime, datetime | None]
"""`[from, until)`; without an end it goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Switches:
    """All that is switched: state and pauses by cascade, and the steps closed, by cascade, version and number.

    `stopped_at` is when a cascade was stopped last.
    """

    states: Mapping[str, CascadeState] = field(default_factory=dict)
    pauses: Mapping[str, tuple[Pause, ...]] = field(default_factory=dict)
    stopped_at: Mapping[str, datetime] = field(default_factory=dict)
    closed: frozenset[tuple[str, int, int]] = frozenset()

    def state(self, cascade: str) -> CascadeState:
        """What holds for the cascade: the stronger of its own state and that of all."""
        states = {self.states.get(cascade, CascadeState.LIVE), self.states.get(ALL, CascadeState.LIVE)}
        for state in (CascadeState.STOPPED, CascadeState.PAUSED):
            if state in states:
                return state
        return CascadeState.LIVE

    def is_stopped(self, cascade: str, *, since: datetime) -> bool:
        """Whether the cascade is stopped, or was at that instant or after it, however it stands now."""
        stops = [self.stopped_at[name] for name in (cascade, ALL) if name in self.stopped_at]
        return self.state(cascade) is CascadeState.STOPPED or any(at >= since for at in stops)

    def held_seconds(self, cascade: str, *, since: datetime, now: datetime) -> float:
        """For how long the cascade was paused between the two instants."""
        spans = [
            (max(begins, since), min(ends or now, now))
            for begins, ends in (*self.pauses.get(cascade, ()), *self.pauses.get(ALL, ()))
        ]
        held, reached = timedelta(0), since
        for begins, ends in sorted(span for span in spans if span[0] < span[1]):
            held += max(timedelta(0), ends - max(begins, reached))
            reached = max(reached, ends)
        return held.total_seconds()


async def switches(store: Store) -> Switches:
    """The switches as they stand now."""
    documents = [document async for document in store.cascade_states.find({})]
    return Switches(
        states={document["_id"]: CascadeState(document["state"]) for document in documents},
        pauses={
            document["_id"]: tuple((pause["from"], pause.get("until")) for pause in document.get("pauses", ()))
            for document in documents
        },
        stopped_at={document["_id"]: document["stopped_at"] for document in documents if "stopped_at" in document},
        closed=frozenset(
            (document["_id"], closed["version"], closed["step"])
            for document in documents
            for closed in document.get("closed", ())
        ),
    )


async def set_state(store: Store, cascade: str, state: CascadeState, *, now: datetime) -> CascadeState:
    """Switches the cascade, or all of them. The same state again changes nothing. STOPPED ends the runs there are.

    One write on what stands there, so that of any number of callers at once none loses a pause.
    """
    await store.cascade_states.update_one({"_id": cascade}, _switch(state, now), upsert=True)
    if state is CascadeState.STOPPED:
        await _end_runs(store, cascade, now=now)
    return state


def _switch(state: CascadeState, now: datetime) -> list[dict[str, Any]]:
    """The write of that state: what it leaves open is closed, and what it begins is noted."""
    before = {"$ifNull": ["$state", CascadeState.LIVE.value]}
    pauses = {"$ifNull": ["$pauses", []]}
    still = {"$mergeObjects": [{"until": {"$literal": now}}, "$$this"]}
    is_new = {"$ne": [before, state.value]}
    changed: dict[str, Any] = {"since": now}
    if state is CascadeState.PAUSED:
        changed["pauses"] = {"$slice": [{"$concatArrays": [pauses, [{"from": now}]]}, -MAX_PAUSES]}
    else:
        changed["pauses"] = {"$map": {"input": pauses, "as": "this", "in": still}}
    if state is CascadeState.STOPPED:
        changed["stopped_at"] = now
    kept = {name: {"$cond": [is_new, value, f"${name}"]} for name, value in changed.items()}
    return [{"$set": {**kept, "state": state.value}}]


async def has_live_runs(store: Store, cascade: str) -> bool:
    """Whether runs of the cascade wait: they outlive it in a later programme, and can still be paused and stopped."""
    live = {"cascade": cascade, "state": RunState.WAITING.value, "due_at": {"$exists": True}}
    return await store.runs.find_one(live, {"_id": True}) is not None


async def close_step(store: Store, cascade: str, *, version: int, step: int, keep: Iterable[int]) -> None:
    """Sends that step of that version to nobody any more; forgets what was closed of other versions than `keep`."""
    await store.cascade_states.update_one(
        {"_id": cascade},
        {
            "$setOnInsert": {"state": CascadeState.LIVE.value},
            "$addToSet": {"closed": {"version": version, "step": step}},
        },
        upsert=True,
    )
    await store.cascade_states.update_one(
        {"_id": cascade}, {"$pull": {"closed": {"version": {"$nin": [version, *keep]}}}}
    )


async def _end_runs(store: Store, cascade: str, *, now: datetime) -> None:
    of_cascade = {} if cascade == ALL else {"cascade": cascade}
    event = {"at": now, "what": "cancelled", "reason": "stopped"}
    await store.runs.update_many(
        {**of_cascade, "state": RunState.WAITING.value, "due_at": {"$exists": True}},
        {
            "$set": {"state": RunState.CANCELLED.value, "ended_at": now},
            "$unset": {"due_at": "", "claim": "", f"facts.{PLACE}": ""},
            "$push": {"history": event},
            "$inc": {"revision": 1},
        },
    )
