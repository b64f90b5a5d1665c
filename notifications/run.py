"""A run: one cascade on its way through one member's time, from its signal to its end (SEMANTICS §10.2).

A run has one document, and every change of it is one write on the revision that was read, so of two that decide at
once one is told so. Its history says everything that was decided, and why. The id is made of cascade, member and
signal: a signal starts a cascade for a member at most once.
"""

from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Any, Final

from domain.store.connection import Store
from domain.store.slots import slot_of

MAX_HISTORY: Final = 200
"""No run has more events: its steps are bounded, and what repeats is told once."""
NOT_STARTED: Final = "not started"
_MARK: Final = ".run-"
PLACE: Final = "place"
WAITS: Final = "waits"
"""Of a step that waits it has no reason; of a message that waits for a local time, that time."""
REACTION: Final = "reaction"
LATE_REACTION: Final = "late reaction"


class RunState(StrEnum):
    """The contract's enumeration."""

    WAITING = "WAITING"
    DONE = "DONE"
    GOAL_REACHED = "GOAL_REACHED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"


class RunArm(StrEnum):
    """The contract's enumeration."""

    TREATED = "TREATED"
    HELD_OUT = "HELD_OUT"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEvent:
    """`what` was decided at `at` about the step, and the `reason` where there is one; `delivery` is the message's."""

    at: datetime
    what: str
    step: int | None = None
    reason: str | None = None
    delivery: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The send that was decided: `channel` is where it goes, `by` a word of whoever sends it."""

    step: int
    delivery: str
    channel: str
    template: str
    claimed_at: datetime
    expires_at: datetime
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """`step` is the next one; `is_timed` once its instant `due_at` is set, `step_at` when its message first was due.

    `reacted`: to what was sent last.
    `sequence` is that of the member's journal when it started: goals stand after it. `held_seconds` is for how long
    its clock was held by pauses that are counted in already. `recall` are messages to be taken off screens after its
    goal; that may come until `goal_until` when all steps are done. `revision` grows with each write.
    """

    id: str
    member: str
    cascade: str
    version: int
    signal: str
    event: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    sequence: int = 0
    arm: RunArm = RunArm.TREATED
    category: str = "SERVICE"
    group: str | None = None
    priority: int = 0
    started_at: datetime
    ended_at: datetime | None = None
    expires_at: datetime | None = None
    due_at: datetime | None = None
    state: RunState = RunState.WAITING
    step: int = 0
    is_timed: bool = False
    step_at: datetime | None = None
    reacted: bool = False
    delivery: str | None = None
    sent: int = 0
    claim: Claim | None = None
    held_seconds: float = 0.0
    recall: tuple[str, ...] = ()
    goal_until: datetime | None = None
    revision: int = 0
    history: tuple[RunEvent, ...] = ()

    @property
    def has_started(self) -> bool:
        """Whether it ever was on its way; one that was refused at once was not."""
        return self.history[:1] != () and self.history[0].what != NOT_STARTED

    @property
    def is_live(self) -> bool:
        """Whether something may still come of it."""
        return self.state is RunState.WAITING


def run_id(cascade: str, member: str, signal: str) -> str:
    """The id of the run; the member stands in it."""
    digest = sha256(f"{cascade}\0{member}\0{signal}".encode()).digest()
    return f"{member}{_MARK}{urlsafe_b64encode(digest[:12]).decode()}"


def member_of_run(identifier: str) -> str | None:
    """The member whose run the id names, or None if it is not a run's id."""
    member, mark, digest = identifier.rpartition(_MARK)
    return member if mark and digest else None


def delivery_id(run: str, step: int) -> str:
    """The id of the message that a step of a run sends: opaque, and short enough for an apns-collapse-id."""
    return f"d-{urlsafe_b64encode(sha256(f'{run}|{step}'.encode()).digest()[:18]).decode()}"


def with_event(run: Run, event: RunEvent) -> Run:
    """The run with one more line of history; the same line again changes nothing."""
    if run.history and replace(run.history[-1], at=event.at) == event:
        return run
    return replace(run, history=(*run.history, event)[-MAX_HISTORY:])


def ended(run: Run, state: RunState, event: RunEvent) -> Run:
    """The run after its end, with the reason on record; where the member was is not (SEMANTICS §10.14)."""
    assert state is not RunState.WAITING, run.id
    facts = {name: fact for name, fact in run.facts.items() if name != PLACE} if is_of_place(run.event) else run.facts
    return with_event(replace(run, state=state, ended_at=event.at, due_at=None, claim=None, facts=facts), event)


def is_of_place(event: str) -> bool:
    """Whether a run that the event started says where the member was."""
    return event.startswith("place.")


def deliveries_of(run: Run) -> list[str]:
    """The ids of the run's messages that may be on a screen or in the inbox, the first one first."""
    told = [event.delivery for event in run.history if _is_message(event) and event.delivery is not None]
    claimed = [] if run.claim is None else [run.claim.delivery]
    return list(dict.fromkeys([*told, *claimed]))


def awaited(run: Run) -> frozenset[str]:
    """The messages that a reaction is in time for: those of before the wait at hand, and after the one before it.

    What was decided on the silence of an older one is not undone (SEMANTICS §10.6).
    """
    found: set[str] = set() if run.claim is None else {run.claim.delivery}
    for event in reversed(run.history):
        if found and event.what == WAITS and event.reason is None:
            break
        if _is_message(event) and event.delivery is not None:
            found.add(event.delivery)
    return frozenset(found) if run.is_live else frozenset()


def has_reaction(run: Run, delivery: str, event: str | None = None) -> bool:
    """Whether that reaction to the message, or any, is on record."""
    return any(
        each.what in {REACTION, LATE_REACTION} and each.delivery == delivery and event in {None, each.reason}
        for each in run.history
    )


def _is_message(event: RunEvent) -> bool:
    return event.delivery is not None and event.what not in {REACTION, LATE_REACTION}


async def find_run(store: Store, identifier: str) -> Run | None:
    """The run of that id, whosever it is."""
    document = await store.runs.find_one({"_id": identifier})
    return None if document is None else run_from(document)


async def runs_of(
    store: Store, member: str, *, cascade: str | None, limit: int, after: tuple[datetime, str] | None
) -> list[Run]:
    """Up to `limit` runs of the member, of that cascade if one is given, those started last first.

    `after` is the start and the id of the last one seen.
    """
    wanted: dict[str, Any] = {"member": member}
    if cascade is not None:
        wanted["cascade"] = cascade
    if after is not None:
        started_at, identifier = after
        wanted["$or"] = [
            {"started_at": {"$lt": started_at}},
            {"started_at": started_at, "_id": {"$lt": identifier}},
        ]
    found = store.runs.find(wanted).sort([("started_at", -1), ("_id", -1)]).limit(limit)
    return [run_from(document) async for document in found]


def run_document(run: Run) -> dict[str, Any]:
    """The run as stored; what is None is left out."""
    document = {name: getattr(run, name) for name in Run.__slots__ if name not in {"id", "history", "claim", "recall"}}
    document |= {"_id": run.id, "slot": slot_of(run.member), "facts": dict(run.facts)}
    document |= {"state": run.state.value, "arm": run.arm.value}
    document["history"] = [event_document(event) for event in run.history]
    if run.claim is not None:
        document["claim"] = _plain(run.claim)
    if run.recall:
        document["recall"] = list(run.recall)
    return {name: value for name, value in document.items() if value is not None}


def event_document(event: RunEvent) -> dict[str, Any]:
    """The line of history as stored."""
    return _plain(event)


def run_from(document: Mapping[str, Any]) -> Run:
    """The run that :func:`run_document` wrote."""
    values = {name: document[name] for name in Run.__slots__ if name in document}
    claim = document.get("claim")
    return Run(
        **{
            **values,
            "id": document["_id"],
            "state": RunState(document["state"]),
            "arm": RunArm(document["arm"]),
            "history": tuple(RunEvent(**event) for event in document["history"]),
            "claim": None if claim is None else Claim(**claim),
            "recall": tuple(document.get("recall", ())),
        }
    )


def _plain(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__slots__ if getattr(value, name) is not None}
