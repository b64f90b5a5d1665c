"""The results of cascades over a period: runs, messages, goals, and the goals of the held out (SEMANTICS §10.11).

Runs are counted by when they started, messages by when they went out. Members who were erased are in neither any more.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from typing import Any, Final

from domain.programme.cascade import CompiledCascade, SendStep
from domain.programme.programme import Programme
from domain.store.connection import Store
from notifications.channel import Channel, Fate
from notifications.delivery import DeliveryEvent
from notifications.run import NOT_STARTED, RunArm, RunState

_WENT: Final = [Fate.ACCEPTED.value, Fate.AMBIGUOUS.value]


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantCount:
    """One template of a step that has several: its messages, those opened, and runs with one that reached a goal."""

    template: str
    sent: int
    opened: int
    goals: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CascadeCount:
    """`started` and `goals` are of members who get messages, `held_out` and `held_out_goals` of those who get none."""

    cascade: str
    started: int
    sent: int
    opened: int
    goals: int
    held_out: int
    held_out_goals: int
    variants: tuple[VariantCount, ...]

    @property
    def uplift(self) -> Fraction | None:
        """The goal rate of the treated minus that of the held out; None while one of them has nobody."""
        if not (self.started and self.held_out):
            return None
        return Fraction(self.goals, self.started) - Fraction(self.held_out_goals, self.held_out)


async def cascade_counts(store: Store, programme: Programme, *, since: datetime, until: datetime) -> list[CascadeCount]:
    """The counts of each cascade of the programme, in its order, for `[since, until)`."""
    return list(
        await asyncio.gather(
            *(_counted(store, cascade, since=since, until=until) for cascade in programme.cascades.values())
        )
    )


async def _counted(store: Store, cascade: CompiledCascade, *, since: datetime, until: datetime) -> CascadeCount:
    of = {"cascade": cascade.id}
    begun = store.runs.aggregate(
        [
            {"$match": {**of, "started_at": {"$gte": since, "$lt": until}, "history.what": {"$ne": NOT_STARTED}}},
            {"$group": {"_id": {"arm": "$arm", "is_goal": _is(RunState.GOAL_REACHED, "$state")}, "runs": {"$sum": 1}}},
        ]
    )
    went = store.deliveries.aggregate(
        [
            {
                "$match": {
                    **of,
                    "created_at": {"$gte": since, "$lt": until},
                    "$or": [{"attempts.state": {"$in": _WENT}}, {"channel": Channel.INBOX.value}],
                }
            },
            {"$lookup": {"from": store.runs.name, "localField": "run", "foreignField": "_id", "as": "of"}},
            {
                "$group": {
                    "_id": "$template",
                    "sent": {"$sum": 1},
                    "opened": {"$sum": {"$cond": [{"$gt": [f"$reports.{DeliveryEvent.OPENED.value}", None]}, 1, 0]}},
                    "goals": {"$sum": {"$cond": [{"$in": [RunState.GOAL_REACHED.value, "$of.state"]}, 1, 0]}},
                }
            },
        ]
    )
    runs = [row async for row in await begun]
    messages = {row["_id"]: row async for row in await went}
    return CascadeCount(
        cascade=cascade.id,
        started=_runs(runs, RunArm.TREATED),
        sent=sum(row["sent"] for row in messages.values()),
        opened=sum(row["opened"] for row in messages.values()),
        goals=_runs(runs, RunArm.TREATED, goals_only=True),
        held_out=_runs(runs, RunArm.HELD_OUT),
        held_out_goals=_runs(runs, RunArm.HELD_OUT, goals_only=True),
        variants=tuple(_variant(template, messages.get(template)) for template in _variants(cascade)),
    )


def _variants(cascade: CompiledCascade) -> list[str]:
    """The templates of the steps that have more than one, in order."""
    steps = [step for step in cascade.steps if isinstance(step, SendStep) and len(step.variants) > 1]
    return list(dict.fromkeys(variant.template for step in steps for variant in step.variants))


def _variant(template: str, row: Mapping[str, Any] | None) -> VariantCount:
    found = row or {"sent": 0, "opened": 0, "goals": 0}
    return VariantCount(template=template, sent=found["sent"], opened=found["opened"], goals=found["goals"])


def _is(value: str, field: str) -> dict[str, Any]:
    return {"$eq": [field, value]}


def _runs(rows: list[dict[str, Any]], arm: RunArm, *, goals_only: bool = False) -> int:
    return sum(
        row["runs"] for row in rows if row["_id"]["arm"] == arm.value and (row["_id"]["is_goal"] or not goals_only)
    )
