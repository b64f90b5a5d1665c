"""A dry run of a cascade for one member, as a query for staff."""

from datetime import datetime
from zoneinfo import ZoneInfo

import strawberry

from api.context import Info
from api.described import described
from api.edge.errors import InvalidValue
from api.scalars import FURTHEST
from domain.store.codec import format_instant
from notifications.control import CascadeState
from notifications.run import RunArm, RunState
from notifications.simulation import CascadeUnknown, Line, NobodyThere, simulate


@strawberry.type
class SimulatedEvent:
    at: datetime
    local_time: str = strawberry.field(description="`at` where the member is, such as 2026-07-06T10:30:00+02:00.")
    step: int | None
    what: str
    reason: str | None
    until: datetime | None = strawberry.field(description="When the run takes its next turn.")
    title: str | None
    body: str | None
    link: str | None


@strawberry.type
class CascadeSimulation:
    cascade: strawberry.ID
    definition_version: int
    arm: RunArm
    state: RunState = strawberry.field(description="How the run ends.")
    switched: CascadeState
    time_zone: str
    locale: str
    history: list[SimulatedEvent] = strawberry.field(description="As the run's history would be.")


@strawberry.type
class CascadeSimulationQuery:
    @described(
        "What a cascade would send a member if its signal came at `at`; by default now, or when the member's date "
        "comes. Nothing is sent or stored. scope: staff:members"
    )
    async def simulate_cascade(
        self,
        info: Info,
        cascade: strawberry.ID,
        member: strawberry.ID,
        at: datetime | None = None,
        reacts: bool = False,  # noqa: FBT001, FBT002 -- an argument by name in GraphQL
    ) -> CascadeSimulation:
        context = info.context
        if at is not None and at < context.now:
            raise InvalidValue("at lies before now. Leave it out, or give an instant to come.")
        if at is not None and at >= FURTHEST:
            raise InvalidValue(f"at is too far away. Give an instant before {format_instant(FURTHEST)}.")
        try:
            found = await simulate(context.wallet.office, cascade, member, now=context.now, at=at, reacts=reacts)
        except CascadeUnknown as error:
            raise InvalidValue(f"cascade is {cascade}. {error}") from None
        except NobodyThere as error:
            raise InvalidValue(f"member is {member}. {error}") from None
        return CascadeSimulation(
            cascade=strawberry.ID(found.cascade),
            definition_version=found.version,
            arm=found.arm,
            state=found.state,
            switched=found.switched,
            time_zone=found.zone,
            locale=found.locale,
            history=[_event_type(line, ZoneInfo(found.zone)) for line in found.lines],
        )


def _event_type(line: Line, zone: ZoneInfo) -> SimulatedEvent:
    event, message = line.event, line.message
    return SimulatedEvent(
        at=event.at,
        local_time=event.at.astimezone(zone).isoformat(timespec="seconds"),
        step=event.step,
        what=event.what,
        reason=event.reason,
        until=line.until,
        title=None if message is None else message.title,
        body=None if message is None else message.body,
        link=None if message is None else message.link,
    )
