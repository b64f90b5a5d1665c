"""A send that is at hand: judged, claimed, reserved, rendered, sent, and its result stored.

The order of a send, and what a crash after each step leaves (docs/decisions/a-send-is-claimed-on-its-run.md):

    claimed         on the run, in the write that holds only while it waits: "no goal yet" is its condition
    cap reserved    in one conditional write on the recipient
    rendered        nothing stored
    attempting      the delivery, with every endpoint, and the inbox's item
    HTTP sent       nothing stored: whoever finds an attempt without an answer must take it for ambiguous
    answer read     nothing stored
    accepted        the delivery again, with the answers
    next wait       the run, without its claim
"""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from domain.programme.cascade import CompiledCascade
from domain.programme.messaging import Cap
from notifications import engine
from notifications.alarm import alarm
from notifications.caps import caps_of, give_back, give_back_unused, reserve
from notifications.channel import Channel, Endpoint, Fate, Message, Outcome
from notifications.control import CascadeState, Switches, close_step
from notifications.delivery import ATTEMPTING, Attempt, Delivery, answered, delivery_of, keep_delivery
from notifications.devices import remove, set_aside
from notifications.engine import Deferred, Go, HeldOut, Refused, Send, Verdict
from notifications.inbox import InboxItem, put
from notifications.office import Office, claim_run, store_run
from notifications.recall import note_sent
from notifications.recipient import recipient_of
from notifications.run import Claim, Run, RunEvent, run_from, with_event
from notifications.scene import Scene, conditions_of, has_goal, message_of

MAX_TRIES: Final = 20
"""After so many, what certainly was not sent is tried once in :data:`RARELY`, and what is ambiguous no more."""
RARELY: Final = timedelta(hours=1)
RETRY: Final = timedelta(seconds=10)


async def decide_send(
    office: Office, run: Run, cascade: CompiledCascade, send: Send, scene: Scene, *, is_new: bool
) -> Run | None:
    """The run to go on with, or None when it was stored and rests.

    `is_new` when the run was never stored at this send, so that no claim of it, and no delivery, can be there.
    """
    now = scene.now
    if (cascade.id, run.version, send.step) in scene.known.closed:
        return engine.skip(run, send.step, now=now, reason="the message was refused")
    stored = None if is_new else await delivery_of(office.store, send.delivery)
    if stored is not None:
        return await _resume(office, run, cascade, send, stored, scene=scene)
    return await _judge(office, run, cascade, send, scene, tried=frozenset())


async def _judge(
    office: Office, run: Run, cascade: CompiledCascade, send: Send, scene: Scene, *, tried: frozenset[str]
) -> Run | None:
    now = scene.now
    match await _verdict(office, run, cascade, send, scene, tried=tried):
        case HeldOut():
            return engine.sent(run, send, now=now, what="held out")
        case Refused(reason=engine.GOAL):
            return engine.reach(run, at=now, event="seen in the journal")
        case Refused() as refused:
            in_inbox = refused.to_inbox and await _to_inbox(office, run, cascade, send, scene)
            delivery = send.delivery if in_inbox else None
            return engine.skip(run, send.step, now=now, reason=refused.reason, delivery=delivery)
        case Deferred() as deferred:
            await store_run(office, engine.defer(run, deferred, now=now))
            return None
        case Go() as go:
            for channel in go.passed:
                passed = RunEvent(at=now, what="unreachable", step=send.step, reason=channel)
                run = with_event(run, passed)
            return await _send(office, run, cascade, send, scene, channel=Channel(go.channel))


async def _verdict(
    office: Office, run: Run, cascade: CompiledCascade, send: Send, scene: Scene, *, tried: frozenset[str] = frozenset()
) -> Verdict:
    """What is judged, after places of full caps were given back whose process died before it attempted."""
    conditions = await conditions_of(office, run, cascade, send, scene, tried=tried)
    caps = scene.programme.definition.messaging.caps
    if conditions.full and await give_back_unused(office.store, scene.recipient, caps):
        scene = replace(scene, recipient=await recipient_of(office.store, run.member))
        conditions = await conditions_of(office, run, cascade, send, scene, tried=tried)
    return engine.judge(run, cascade, send, conditions)


async def _send(
    office: Office, run: Run, cascade: CompiledCascade, send: Send, scene: Scene, *, channel: Channel
) -> Run | None:
    """Claims, reserves, renders and sends; None when the run was stored."""
    now, store = scene.now, office.store
    office.at("due")
    claimed = await _claimed(office, run, send, channel=channel, now=now)
    if claimed is None:
        return None
    run = claimed
    office.at("claimed")
    # An entry that was posted before this read is seen; one after it comes after the decision.
    if await has_goal(office, run, cascade):
        return engine.reach(replace(run, claim=None), at=now, event="seen in the journal")
    if not await _reserved(office, run, cascade, send, scene, channel=channel):
        recipient = await recipient_of(store, run.member)
        return await _judge(office, run, cascade, send, replace(scene, recipient=recipient), tried=frozenset())
    office.at("cap reserved")
    message = await message_of(office, run, cascade, send, scene)
    if isinstance(message, str):
        await give_back(store, run.member, _caps(cascade, scene, channel), delivery=send.delivery)
        alarm("message_not_rendered", cascade=cascade.id, step=send.step, template=send.template, variable=message)
        return engine.skip(run, send.step, now=now, reason=f"not rendered: {message}")
    office.at("rendered")
    known = await office.switches()
    if known.state(cascade.id) is not CascadeState.LIVE:
        await give_back(store, run.member, _caps(cascade, scene, channel), delivery=send.delivery)
        return await _held_back(office, run, known)
    await put(store, _item(run, cascade, message, now=now))
    delivery = Delivery(
        message=message,
        member=run.member,
        run=run.id,
        cascade=cascade.id,
        step=send.step,
        template=send.template,
        channel=channel,
        created_at=now,
        attempts={
            endpoint.id: Attempt(endpoint=endpoint, state=ATTEMPTING, tries=1) for endpoint in scene.reached_on(channel)
        },
    )
    await keep_delivery(store, delivery)
    office.at("attempting")
    return await _attempt(office, run, cascade, send, delivery, scene=scene)


async def _claimed(office: Office, run: Run, send: Send, *, channel: Channel, now: datetime) -> Run | None:
    """The run with the claim of its send, stored; None when somebody moved it before."""
    claim = Claim(
        step=send.step,
        delivery=send.delivery,
        channel=channel.value,
        template=send.template,
        claimed_at=now,
        expires_at=send.expires_at,
        by=office.by,
    )
    is_mine = await claim_run(office, replace(run, claim=claim))
    return replace(run, claim=claim, revision=run.revision + 1) if is_mine else None


async def _held_back(office: Office, run: Run, known: Switches) -> Run | None:
    """The run whose cascade was switched off since its send was judged: over, or as it was before that."""
    unclaimed = replace(run, claim=None)
    if known.state(run.cascade) is CascadeState.STOPPED:
        return engine.cancel(unclaimed, at=office.clock.now(), reason="stopped")
    await store_run(office, unclaimed)
    return None


def _caps(cascade: CompiledCascade, scene: Scene, channel: Channel) -> list[Cap]:
    """Those that the cascade's messages count against there."""
    return caps_of(scene.programme.definition.messaging.caps, category=cascade.category, channel=channel.value)


async def _reserved(
    office: Office, run: Run, cascade: CompiledCascade, send: Send, scene: Scene, *, channel: Channel
) -> bool:
    """Whether the message has its places of the caps now."""
    return await reserve(
        office.store,
        run.member,
        _caps(cascade, scene, channel),
        delivery=send.delivery,
        now=scene.now,
        zone=scene.zone,
        hold_seconds=office.claim_seconds,
    )


async def _attempt(
    office: Office, run: Run, cascade: CompiledCascade, send: Send, delivery: Delivery, *, scene: Scene
) -> Run | None:
    """Sends to every endpoint whose attempt is open and stored, and goes on by what came of it."""
    carrier = office.carriers.get(delivery.channel)
    trying = [attempt for attempt in delivery.attempts.values() if attempt.state == ATTEMPTING]
    outcomes: list[Outcome] = []
    if carrier is not None:
        outcomes = await asyncio.gather(
            *(carrier.send(delivery.message, attempt.endpoint, now=scene.now) for attempt in trying)
        )
    office.at("answer read")
    for attempt, outcome in zip(trying, outcomes, strict=False):
        if outcome.fate in {Fate.GONE, Fate.SET_ASIDE}:
            scene.lost.add(attempt.endpoint)
        if outcome.fate is Fate.GONE and delivery.channel is Channel.PUSH:
            await remove(office.store, attempt.endpoint)
        if outcome.fate is Fate.SET_ASIDE and delivery.channel is Channel.PUSH:
            await set_aside(office.store, attempt.endpoint, now=scene.now)
    answers = {
        attempt.endpoint.id: answered(attempt, outcome) for attempt, outcome in zip(trying, outcomes, strict=False)
    }
    delivery = replace(delivery, attempts={**delivery.attempts, **answers})
    await keep_delivery(office.store, delivery)
    office.at("accepted")
    return await _settle(office, run, cascade, send, delivery, scene=scene)


async def _resume(
    office: Office, run: Run, cascade: CompiledCascade, send: Send, delivery: Delivery, *, scene: Scene
) -> Run | None:
    """Goes on with a delivery that was begun: its process died, or it is to be tried again, if it still may go."""
    now, here = scene.now, {endpoint.id: endpoint for endpoint in scene.reached_on(delivery.channel)}
    found = {key: _found(attempt, here.get(key), now=now) for key, attempt in delivery.attempts.items()}
    if found != delivery.attempts:
        delivery = replace(delivery, attempts=found)
        await keep_delivery(office.store, delivery)
    again = {
        key: replace(attempt, state=ATTEMPTING, tries=attempt.tries + 1)
        for key, attempt in delivery.attempts.items()
        if _goes_again(attempt, cascade, delivery, now=now)
    }
    if not again:
        return await _settle(office, run, cascade, send, delivery, scene=scene)
    alone = replace(send, channels=(delivery.channel.value,))
    match await _verdict(office, run, cascade, alone, scene):
        case Deferred() as deferred:
            await store_run(office, engine.defer(run, deferred, now=now))
            return None
        case Refused(reason=engine.GOAL):
            return _reached(run, send, delivery, now=now)
        case Refused() as refused:
            return await _settle(office, run, cascade, send, delivery, scene=scene, given_up=refused.reason)
    claimed = await _claimed(office, run, send, channel=delivery.channel, now=now)
    if claimed is None:
        return None
    run = claimed
    if not delivery.may_have_come and not await _reserved(office, run, cascade, send, scene, channel=delivery.channel):
        recipient = await recipient_of(office.store, run.member)
        return await _resume(office, run, cascade, send, delivery, scene=replace(scene, recipient=recipient))
    delivery = replace(delivery, attempts={**delivery.attempts, **again})
    await keep_delivery(office.store, delivery)
    return await _attempt(office, run, cascade, send, delivery, scene=scene)


def _reached(run: Run, send: Send, delivery: Delivery, *, now: datetime) -> Run:
    """The run whose goal came before its message was to be tried again."""
    run = replace(run, claim=None)
    if delivery.may_have_come:
        is_sure = any(attempt.state == Fate.ACCEPTED for attempt in delivery.attempts.values())
        what, reason = f"sent by {delivery.channel.value}", None if is_sure else "ambiguous"
        run = engine.sent(run, send, now=now, what=what, reason=reason)
    return engine.reach(run, at=now, event="seen in the journal")


def _found(attempt: Attempt, endpoint: Endpoint | None, *, now: datetime) -> Attempt:
    """The attempt as one finds it, at where its phone is reached now; None when it is not the member's any more.

    One without an answer is ambiguous. What was not taken before a phone became another's never is.
    """
    if attempt.state == ATTEMPTING:
        attempt = replace(attempt, state=Fate.AMBIGUOUS.value, reason="no answer stored", retry_at=now)
    if endpoint is not None:
        return replace(attempt, endpoint=endpoint)
    if attempt.state == Fate.RETRY:
        return replace(attempt, state=Fate.GONE.value, reason="not the member's any more", retry_at=None)
    return replace(attempt, tries=MAX_TRIES)


def _goes_again(attempt: Attempt, cascade: CompiledCascade, delivery: Delivery, *, now: datetime) -> bool:
    """Whether it is time to try once more."""
    if now >= delivery.message.expires_at or (attempt.retry_at is not None and attempt.retry_at > now):
        return False
    return _may_go_again(attempt, cascade)


async def _settle(
    office: Office,
    run: Run,
    cascade: CompiledCascade,
    send: Send,
    delivery: Delivery,
    *,
    scene: Scene,
    given_up: str | None = None,
) -> Run | None:
    """What the answers mean for the run; `given_up` is why nothing is tried again."""
    now, attempts = scene.now, list(delivery.attempts.values())
    if delivery.channel is not Channel.INBOX and not delivery.may_have_come:
        await give_back(office.store, run.member, _caps(cascade, scene, delivery.channel), delivery=send.delivery)
    waiting = [
        _again_at(attempt, now=now)
        for attempt in attempts
        if _may_go_again(attempt, cascade) and _again_at(attempt, now=now) < delivery.message.expires_at
    ]
    if delivery.channel is not Channel.INBOX and waiting and given_up is None:
        reason = next(attempt.reason for attempt in attempts if _may_go_again(attempt, cascade))
        deferred = Deferred(until=max(now, min(waiting)), reason=f"to be tried again: {reason}")
        came = send.delivery if delivery.may_have_come else None
        if not await store_run(office, engine.defer(run, deferred, now=now, delivery=came)) and delivery.may_have_come:
            await note_sent(office, run.id, delivery, reason="decided before", now=now)
        return None
    if delivery.channel is Channel.INBOX or any(attempt.state == Fate.ACCEPTED for attempt in attempts):
        return await _went(office, run, cascade, send, delivery, scene=scene, reason=None)
    if any(attempt.state in {Fate.AMBIGUOUS, ATTEMPTING} for attempt in attempts):
        return await _went(office, run, cascade, send, delivery, scene=scene, reason="ambiguous")
    if any(attempt.state == Fate.REFUSED for attempt in attempts):
        reason = next(attempt.reason for attempt in attempts if attempt.state == Fate.REFUSED)
        await close_step(office.store, cascade.id, version=run.version, step=send.step, keep=[scene.programme.version])
        alarm("message_refused", cascade=cascade.id, step=send.step, template=send.template, reason=reason)
        return engine.skip(run, send.step, now=now, reason=f"the message was refused: {reason}")
    if (unfit := next((attempt for attempt in attempts if attempt.state == Fate.UNFIT), None)) is not None:
        return engine.skip(run, send.step, now=now, reason=f"the message cannot be sent: {unfit.reason}")
    gone = all(attempt.state in {Fate.GONE, Fate.SET_ASIDE} for attempt in attempts)
    if gone and (left := _after(send, delivery.channel)) is not None:
        run = with_event(run, RunEvent(at=now, what="unreachable", step=send.step, reason=delivery.channel.value))
        tried = frozenset(channel for channel in send.channels if channel not in left.channels)
        return await _judge(office, run, cascade, left, scene, tried=tried)
    why = f"unreachable: {delivery.channel.value}" if gone else given_up or "not sent before the message expired"
    return engine.skip(run, send.step, now=now, reason=why, delivery=send.delivery)


def _may_go_again(attempt: Attempt, cascade: CompiledCascade) -> bool:
    """Whether it may be tried once more: certainly not sent, or ambiguous and worth a second visible try."""
    is_worth_it = attempt.tries < MAX_TRIES and cascade.category != "MARKETING"
    return attempt.state == Fate.RETRY or (attempt.state == Fate.AMBIGUOUS and is_worth_it)


def _again_at(attempt: Attempt, *, now: datetime) -> datetime:
    """When it is tried once more."""
    again_at = attempt.retry_at or now + RETRY
    return again_at if attempt.tries < MAX_TRIES else max(again_at, now + RARELY)


def _after(send: Send, channel: Channel) -> Send | None:
    """The send on the channels after that one, under the same delivery id; None when it was the last."""
    left = send.channels[send.channels.index(channel.value) + 1 :]
    return replace(send, channels=left) if left else None


async def _went(
    office: Office,
    run: Run,
    cascade: CompiledCascade,
    send: Send,
    delivery: Delivery,
    *,
    scene: Scene,
    reason: str | None,
) -> Run | None:
    """The run goes on after its message; where it ended meanwhile, that the message went is on record all the same.

    It is stored where it rests next, in one write, or as it stands after the message where another is to be sent.
    """
    now, zone = scene.now, scene.zone
    for _ in range(MAX_TRIES):
        after = engine.sent(run, send, now=now, what=f"sent by {delivery.channel.value}", reason=reason)
        rests, another = engine.proceed(after, cascade, now=now, facts=scene.party.facts(run.facts), zone=zone)
        if await store_run(office, rests if another is None else after):
            office.at("next wait stored")
            return None if another is None else replace(after, revision=after.revision + 1)
        document = await office.store.runs.find_one({"_id": run.id})
        run = run if document is None else run_from(document)
        if document is None or not run.is_live or run.step != send.step:
            break
    await note_sent(office, run.id, delivery, reason="decided before", now=now)
    return None


def _item(run: Run, cascade: CompiledCascade, message: Message, *, now: datetime) -> InboxItem:
    return InboxItem(
        id=message.delivery_id,
        member=run.member,
        title=message.title or "",
        body=message.body,
        category=message.category,
        sent_at=now,
        link=message.link,
        image_url=message.image_url,
        cascade=cascade.id,
    )


async def _to_inbox(office: Office, run: Run, cascade: CompiledCascade, send: Send, scene: Scene) -> bool:
    """Keeps a message that no channel carries for the member to read; False where it cannot be rendered."""
    message = await message_of(office, run, cascade, send, scene)
    if isinstance(message, str):
        alarm("message_not_rendered", cascade=cascade.id, step=send.step, template=send.template, variable=message)
        return False
    await put(office.store, _item(run, cascade, message, now=scene.now))
    return True
