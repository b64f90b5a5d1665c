"""A scene: what is known about a member at the instant of his sends, to judge them by and to fill them with.

It is read once for all of the member's runs that are due, and nothing is written here: what sends and what only tells
what would be sent (:mod:`notifications.simulation`) judge alike.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from domain.commands.birthday import BIRTHDAY, birthday_key
from domain.ledger.entry import entry_from
from domain.members.consent import ConsentPurpose, granted
from domain.members.member import zone_of
from domain.programme.cascade import CompiledCascade
from domain.programme.programme import Programme
from domain.programme.template import MissingVariable
from notifications import engine
from notifications.caps import caps_of, full
from notifications.channel import Channel, Endpoint, EndpointKind, Message, MessageCategory
from notifications.control import CascadeState, Switches
from notifications.devices import Device, devices_by_member, endpoints, locale_among, time_zone_among
from notifications.engine import Conditions, Send
from notifications.event import journal_query
from notifications.filling import filled
from notifications.office import Office, Party, parties_of
from notifications.preferences import Preferences, preferences_from
from notifications.recipient import Recipient, recipients_of
from notifications.run import Run
from notifications.schedule import quiet_until
from notifications.template import render_template

NEAR: Final = timedelta(minutes=5)
AGAIN: Final = timedelta(milliseconds=50)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A member at the instant of his sends.

    `near` are his runs that are due by then or within :data:`NEAR` after. `lost` are endpoints that were found to be
    none of his since.
    """

    party: Party
    recipient: Recipient
    consents: frozenset[str]
    preferences: Preferences
    endpoints: Mapping[Channel, list[Endpoint]]
    locale: str
    zone: ZoneInfo
    near: Sequence[Run]
    known: Switches
    now: datetime
    lost: set[Endpoint] = field(default_factory=set)

    @property
    def programme(self) -> Programme:
        return self.party.programme

    def reached_on(self, channel: Channel) -> list[Endpoint]:
        """Where a message on the channel goes now."""
        return [endpoint for endpoint in self.endpoints.get(channel, ()) if endpoint not in self.lost]


async def scene_of(office: Office, member: str, *, near: Sequence[Run], known: Switches, now: datetime) -> Scene | None:
    """The member's scene; None if he no longer exists or is being forgotten. `known` are the switches, just read."""
    return (await scenes_of(office, {member: near}, known=known, now=now)).get(member)


async def scenes_of(
    office: Office, near: Mapping[str, Sequence[Run]], *, known: Switches, now: datetime
) -> dict[str, Scene]:
    """The scenes of the members whose runs that are near are given, read together, without those who are gone."""
    store = office.store
    parties, devices, recipients = await asyncio.gather(
        parties_of(office, near, now=now), devices_by_member(store, near, now=now), recipients_of(store, near)
    )
    return {
        member: _scene(
            office,
            party,
            devices=devices[member],
            recipient=recipients[member],
            near=near[member],
            known=known,
        )
        for member, party in parties.items()
    }


def _scene(
    office: Office,
    party: Party,
    *,
    devices: Sequence[Device],
    recipient: Recipient,
    near: Sequence[Run],
    known: Switches,
) -> Scene:
    now, profile = party.now, party.member.profile
    reach = {Channel.PUSH: endpoints(devices, now=now)}
    if profile.email is not None:
        reach[Channel.EMAIL] = [Endpoint(id="email", kind=EndpointKind.EMAIL, value=profile.email)]
    if profile.phone is not None:
        reach[Channel.SMS] = [Endpoint(id="phone", kind=EndpointKind.PHONE, value=profile.phone)]
    return Scene(
        party=party,
        recipient=recipient,
        consents=frozenset(purpose.value for purpose in ConsentPurpose if granted(party.stored, purpose.value)),
        preferences=preferences_from(party.stored),
        endpoints={channel: found for channel, found in reach.items() if found and channel in office.carriers},
        locale=profile.locale or locale_among(devices) or party.programme.definition.locales.default,
        zone=zone_of(party.member, party.programme, else_in=time_zone_among(devices)),
        near=near,
        known=known,
        now=now,
    )


async def conditions_of(
    office: Office, run: Run, cascade: CompiledCascade, send: Send, scene: Scene, *, tried: frozenset[str]
) -> Conditions:
    now, programme = scene.now, scene.programme
    category = MessageCategory(cascade.category)
    reachable = {channel.value for channel in scene.endpoints if scene.reached_on(channel)} | {Channel.INBOX.value}
    caps = programme.definition.messaging.caps
    blocked = {
        channel: found
        for channel in send.channels
        if (
            found := full(
                scene.recipient,
                caps_of(caps, category=cascade.category, channel=channel),
                now=now,
                zone=scene.zone,
                delivery=send.delivery,
            )
        )
    }
    return Conditions(
        now=now,
        consents=scene.consents,
        muted=frozenset(each.value for each, muted in scene.preferences.muted if muted is category),
        has_goal=_may_have_goal(run, scene) and await has_goal(office, run, cascade),
        reachable=frozenset(reachable - tried),
        full=blocked,
        quiet_until=_quiet_until(scene),
        wait_for=await _wait_for(office, run, scene),
    )


def _quiet_until(scene: Scene) -> datetime | None:
    """The end of the member's quiet hours, else of the programme's, or of his pause: whichever is later."""
    hours = scene.preferences.quiet
    times = None if hours is None else (hours.start, hours.end)
    if times is None and (own := scene.programme.definition.messaging.quiet_hours) is not None:
        times = own.times
    ends = [] if times is None else [quiet_until(scene.now, *times, scene.zone)]
    if scene.preferences.paused_until is not None and scene.preferences.paused_until > scene.now:
        ends.append(scene.preferences.paused_until)
    return max((end for end in ends if end is not None), default=None)


async def _wait_for(office: Office, run: Run, scene: Scene) -> tuple[str, datetime] | None:
    """A send of higher priority that is due within five minutes goes first (SEMANTICS §10.12)."""
    for other in scene.near:
        if scene.known.state(other.cascade) is not CascadeState.LIVE:
            continue
        if other.priority > run.priority and other.due_at is not None and other.due_at > scene.now:
            cascade = await office.cascade_of(other)
            if cascade is not None and engine.is_about_to_send(other, cascade):
                return other.cascade, other.due_at + AGAIN
    return None


def _may_have_goal(run: Run, scene: Scene) -> bool:
    """Whether the journal has entries that were not heard: a goal among those heard has ended the run."""
    return scene.party.wallet.sequence > max(run.sequence, scene.recipient.sequence)


async def has_goal(office: Office, run: Run, cascade: CompiledCascade) -> bool:
    """Whether the goal stands in the journal or was told, heard or not."""
    queries = {event: journal_query(event) for event in cascade.goal_events}
    if kinds := [query for query in queries.values() if query is not None]:
        wanted: dict[str, Any] = {"member": run.member, "seq": {"$gt": run.sequence}, "$or": kinds}
        if await office.store.journal.find_one(wanted, {"_id": True}) is not None:
            return True
    if told := sorted(event for event, query in queries.items() if query is None):
        wanted = {
            "member": run.member,
            "event": {"$in": told},
            "at": {"$gte": run.started_at},
            "_id": {"$ne": run.signal},
        }
        return await office.store.signals.find_one(wanted, {"_id": True}) is not None
    return False


async def message_of(office: Office, run: Run, cascade: CompiledCascade, send: Send, scene: Scene) -> Message | str:
    """The message of the run's version, in the member's language, or the names of the variables that are missing."""
    variables = filled(run, scene.party, locale=scene.locale)
    if run.event == BIRTHDAY:
        variables |= {"points": await _birthday_points(office, run)}
    rendered = render_template(
        await office.programmes.at(run.version),
        send.template,
        locale=scene.locale,
        variables=variables,
        zone=scene.zone,
    )
    if isinstance(rendered, MissingVariable):
        return ", ".join(rendered.variables)
    return Message(
        delivery_id=send.delivery,
        category=MessageCategory(cascade.category),
        title=rendered.title,
        body=rendered.body,
        link=rendered.link,
        image_url=rendered.image_url,
        label=send.label,
        expires_at=send.expires_at,
    )


async def _birthday_points(office: Office, run: Run) -> int:
    """What the birthday of the run's year gave so far; it may be told of before it comes."""
    awarded = {"member": run.member, "key": birthday_key(run.facts["year"]), "operation": BIRTHDAY, "seq": {"$gt": 0}}
    document = await office.store.journal.find_one(awarded)
    return 0 if document is None else entry_from(document).points
