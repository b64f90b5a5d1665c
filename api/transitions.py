"""Transitions: a phone crossed a geofence. It names the place, never where it is."""

import math
from datetime import datetime
from typing import Annotated
from zoneinfo import ZoneInfo

import strawberry

from api.context import Info, require_member
from api.described import described
from api.edge.errors import InvalidValue
from api.faults import given
from notifications.location import Report, Transition, is_goal, listeners_to, take_report

strawberry.enum(Transition)


@strawberry.input
class TransitionInput:
    place: strawberry.ID
    transition: Transition
    occurred_at: datetime
    accuracy_metres: float | None = strawberry.UNSET


@strawberry.type(
    description=(
        "`ignored` says why nothing will come of it (no consent, too old, too inaccurate, cooling down); "
        "null when it counts."
    )
)
class TransitionAccepted:
    place: strawberry.ID
    ignored: str | None = strawberry.field(
        description="NO_CONSENT, IN_FUTURE, TOO_OLD, TOO_INACCURATE, CLOSED or COOLING_DOWN."
    )


@strawberry.type
class TransitionMutation:
    @described("The phone crossed a geofence. Takes the place and the transition, never coordinates.")
    async def report_transition(
        self, info: Info, transition: Annotated[TransitionInput, strawberry.argument(name="input")]
    ) -> TransitionAccepted:
        context, programme = info.context, info.context.wallet.programmes.current
        place, accuracy = programme.places.get(transition.place), given(transition.accuracy_metres)
        if place is None:
            raise InvalidValue(f"place: there is no place {transition.place[:64]!r}. Ask for places again.")
        if accuracy is not None and not (math.isfinite(accuracy) and accuracy >= 0):
            raise InvalidValue("accuracyMetres is a distance: zero or more, or left out.")
        report = Report(
            member=require_member(info).member_id,
            place=place,
            transition=transition.transition,
            occurred_at=transition.occurred_at,
            accuracy_metres=accuracy,
        )
        cascades, event = programme.cascades.values(), transition.transition.event
        ignored = await take_report(
            context.wallet.store,
            report,
            listeners=listeners_to(cascades, event, place.id),
            counts_anyway=is_goal(cascades, event),
            zone=ZoneInfo(place.time_zone) if place.time_zone else programme.zone,
            now=context.now,
        )
        return TransitionAccepted(
            place=transition.place,
            ignored=None if ignored is None else ignored.value,
        )
