"""Due runs: found, and each taken as far as it goes at one instant, many members together.

What several members need is read at once. One member is the business of one task at a time; whoever's turn raises is
set aside and harms no other (:mod:`notifications.setback`). What becomes of a send that is at hand is decided in
:mod:`notifications.sending`.
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, nullcontext
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from domain.store.connection import Document
from notifications import engine
from notifications.control import ALL, CascadeState, Switches
from notifications.office import Office, all_done, claim_run, store_run
from notifications.recipient import recipient_of
from notifications.run import Run, RunState, run_from
from notifications.scene import AGAIN, NEAR, Scene, scenes_of
from notifications.sending import decide_send
from notifications.setback import is_outage, member_on_record, members_aside, not_aside, run_on_record

AT_ONCE: Final = 32
"""Members whose sends are read together."""
GROUPS_AT_ONCE: Final = 4
BATCH: Final = 200
MAX_TURNS: Final = 200


async def due_members(
    office: Office,
    slots: Iterable[int],
    *,
    until: datetime,
    known: Switches | None = None,
    but: Collection[str] = (),
    limit: int = BATCH,
) -> list[str]:
    """Members of the slots with runs that are due and not paused or set aside, those due longest first."""
    found = await _due(office, slots, until=until, known=known, but=but, limit=limit)
    return list(dict.fromkeys([document["member"] for document in found]))


async def earliest_run(office: Office, slots: Iterable[int], *, until: datetime) -> datetime | None:
    """When the next run that is not paused or set aside is due, if that is at `until` or before."""
    first = await _due(office, slots, until=until, limit=1)
    return first[0]["due_at"] if first else None


async def send_due(office: Office, members: Collection[str], *, now: datetime) -> int:
    """Takes all due runs of the members as far as they go at `now`; how many of them went on."""
    gate, done = asyncio.Semaphore(GROUPS_AT_ONCE), [0]

    async def together(group: Sequence[str]) -> None:
        async with gate:
            latest = await office.switches()
            try:
                done.append(await _send_together(office, group, known=latest, now=now))
            except Exception as error:
                if len(group) == 1 or is_outage(error):
                    raise
                # One of them cannot be read; which one it is shows when each is read alone.
                done.extend([await _send_together(office, [member], known=latest, now=now) for member in group])

    await all_done(map(together, _groups(office, members)))
    return sum(done)


def _groups(office: Office, members: Collection[str]) -> list[Sequence[str]]:
    """Members who are read together; one with whom somebody is busy lets no other wait for him."""
    free = [member for member in members if not office.is_busy_with(member)]
    groups: list[Sequence[str]] = [free[at : at + AT_ONCE] for at in range(0, len(free), AT_ONCE)]
    return groups + [[member] for member in members if member not in set(free)]


async def _send_together(office: Office, members: Sequence[str], *, known: Switches, now: datetime) -> int:
    """Takes the members' due runs on; what they need is read for all at once, and each is let go when he is done."""
    done = [0]
    async with AsyncExitStack() as all_of_them:
        alone = {member: AsyncExitStack() for member in sorted(members)}
        for member, stack in alone.items():
            all_of_them.push_async_callback(stack.aclose)
            await stack.enter_async_context(office.alone_with(member))
        near: dict[str, list[Run]] = {}
        scenes: dict[str, Scene] = {}
        async with nullcontext() if len(members) > 1 else member_on_record(office.store, members[0], doing="sending"):
            near = await _near(office, members, known=known, now=now)
            scenes = await scenes_of(office, near, known=known, now=now)

        async def one(member: str) -> None:
            async with alone[member], member_on_record(office.store, member, doing="sending"):
                done.append(await _send_of_one(office, near[member], scenes.get(member), now=now))

        await all_done(map(one, near))
    return sum(done)


async def _near(office: Office, members: Sequence[str], *, known: Switches, now: datetime) -> dict[str, list[Run]]:
    """The runs of the members that are due by now or soon, in order; who has none that is due now is left out."""
    wanted: dict[str, Any] = {
        "member": {"$in": list(members)},
        "state": RunState.WAITING.value,
        "due_at": {"$lte": now + NEAR},
        **not_aside(),
    }
    if held := _held(known):
        wanted["cascade"] = held
    found: dict[str, list[Run]] = {}
    async for document in office.store.runs.find(wanted).sort("due_at", 1):
        found.setdefault(document["member"], []).append(run_from(document))
    return {member: runs[:BATCH] for member, runs in found.items() if runs[0].due_at and runs[0].due_at <= now}


async def _due(
    office: Office,
    slots: Iterable[int],
    *,
    until: datetime,
    known: Switches | None = None,
    but: Collection[str] = (),
    limit: int,
) -> list[Document]:
    """Member and instant of runs of the slots that are due and may go on: not paused, set aside, or of those members.

    While cascades are paused the others are asked for one by one: it takes no longer however many runs are held.
    """
    slots, runs = sorted(slots), office.store.runs
    known, aside = known or await office.read_switches(), await members_aside(office.store, slots)
    wanted: dict[str, Any] = {"slot": {"$in": slots}, "due_at": {"$exists": True, "$lte": until}, **not_aside()}
    if left := [*aside, *but]:
        wanted["member"] = {"$nin": left}
    queries = [wanted]
    if _held(known) is not None:
        cascades = await runs.distinct("cascade")
        queries = [{**wanted, "cascade": each} for each in cascades if known.state(each) is not CascadeState.PAUSED]

    async def first(query: Mapping[str, Any]) -> list[Document]:
        found = runs.find(query, {"member": True, "due_at": True}).sort("due_at", 1)
        return await found.limit(limit).to_list()

    due = [document for found in await asyncio.gather(*map(first, queries)) for document in found]
    return sorted(due, key=lambda document: document["due_at"])[:limit]


def _held(known: Switches) -> dict[str, Any] | None:
    """What keeps the runs of paused cascades out of a query; None when none is paused. Stopped ones are to end."""
    by_state = {
        wanted: [cascade for cascade, state in known.states.items() if state is wanted and cascade != ALL]
        for wanted in CascadeState
    }
    match known.states.get(ALL):
        case CascadeState.PAUSED:
            return {"$in": by_state[CascadeState.STOPPED]}
        case CascadeState.STOPPED:
            return None
    paused = by_state[CascadeState.PAUSED]
    return {"$nin": paused} if paused else None


async def _send_of_one(office: Office, near: Sequence[Run], scene: Scene | None, *, now: datetime) -> int:
    store = office.store
    due = sorted((run for run in near if run.due_at and run.due_at <= now), key=lambda run: -run.priority)
    if scene is None:
        return await _end_all(office, due, now=now)
    went = 0
    for number, run in enumerate(due):
        if number:
            recipient, known = await asyncio.gather(recipient_of(store, run.member), office.read_switches())
            scene = replace(scene, recipient=recipient, known=known)
        async with run_on_record(store, run, now=now):
            if scene.known.is_stopped(run.cascade, since=run.started_at):
                went += await store_run(office, engine.cancel(run, at=now, reason="stopped"))
            elif scene.known.state(run.cascade) is CascadeState.LIVE:
                went += await _go_on(office, run, scene)
    return went


async def _end_all(office: Office, runs: Iterable[Run], *, now: datetime) -> int:
    """Ends the runs of a member who no longer exists; how many there were."""
    ends = [await store_run(office, engine.cancel(run, at=now, reason="member is no more")) for run in runs]
    return sum(ends)


async def _go_on(office: Office, run: Run, scene: Scene) -> int:
    """Takes one run as far as it goes; 0 when somebody else has it."""
    now, zone = scene.now, scene.zone
    cascade = await office.cascade_of(run)
    if cascade is None:
        return int(await store_run(office, engine.cancel(run, at=now, reason="its version of the programme is lost")))
    held = scene.known.held_seconds(run.cascade, since=run.started_at, now=now)
    if held > run.held_seconds:
        return int(await store_run(office, engine.hold(run, held)))
    if run.claim is not None:
        mine = await _taken_over(office, run)
        if mine is None:
            await asyncio.sleep(AGAIN.total_seconds())
            return 0
        run = mine
    for _ in range(MAX_TURNS):
        was_at_a_send = run.step_at is not None
        facts = scene.party.facts(run.facts)
        run, send = engine.proceed(run, cascade, now=now, facts=facts, zone=zone)
        if send is None:
            return int(await store_run(office, run))
        after = await decide_send(office, run, cascade, send, scene, is_new=not was_at_a_send)
        if after is None:
            return 1
        run = after
    raise AssertionError(f"{run.id} sends without end")


async def _taken_over(office: Office, run: Run) -> Run | None:
    """The run with a send that its process died in; None while that lives, or when another took it over."""
    assert run.claim is not None, run.id
    if run.claim.by == office.by:
        return run
    claim = replace(run.claim, by=office.by)
    if not await claim_run(office, replace(run, claim=claim), only_if_left=True):
        return None
    return replace(run, claim=claim, revision=run.revision + 1)
