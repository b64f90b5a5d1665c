"""Runs of cascades as staff read them: why a member got, or did not get, a message."""

from datetime import datetime
from typing import Final

import strawberry

from api.context import Context, Info
from api.described import described
from api.node import Node
from api.pages import MOMENT, Connection, connection, moment, window
from notifications.run import Run, RunArm, RunState, find_run, runs_of

RUNS: Final = "cascadeRuns"

strawberry.enum(RunState)
strawberry.enum(RunArm)


@strawberry.type
class RunEvent:
    at: datetime
    step: int | None
    what: str
    reason: str | None
    delivery: strawberry.ID | None


@strawberry.type
class CascadeRun(Node):
    cascade: strawberry.ID
    definition_version: int
    state: RunState
    arm: RunArm
    started_at: datetime
    ended_at: datetime | None
    due_at: datetime | None
    history: list[RunEvent] = strawberry.field(description="Everything that was decided, and why, in order.")


@strawberry.type
class CascadeRunQuery:
    @described("Why a member got, or did not get, the messages of a cascade. scope: staff:members")
    async def cascade_runs(
        self,
        info: Info,
        member: strawberry.ID,
        cascade: strawberry.ID | None = None,
        first: int = 20,
        after: str | None = None,
    ) -> Connection[CascadeRun]:
        asked, store = window(RUNS, first, after, by=MOMENT), info.context.wallet.store
        runs = await runs_of(store, member, cascade=cascade, limit=asked.fetch, after=asked.after_moment)
        nodes = [run_type(run) for run in runs]
        return connection(RUNS, asked, items=nodes, key=lambda node: moment(node.started_at, str(node.id)))


async def one_run(context: Context, identifier: str) -> CascadeRun | None:
    """The run of that id."""
    run = await find_run(context.wallet.store, identifier)
    return None if run is None else run_type(run)


def run_type(run: Run) -> CascadeRun:
    """The run as the contract shows it."""
    return CascadeRun(
        id=strawberry.ID(run.id),
        cascade=strawberry.ID(run.cascade),
        definition_version=run.version,
        state=run.state,
        arm=run.arm,
        started_at=run.started_at,
        ended_at=run.ended_at,
        due_at=run.due_at,
        history=[
            RunEvent(
                at=event.at,
                step=event.step,
                what=event.what,
                reason=event.reason,
                delivery=None if event.delivery is None else strawberry.ID(event.delivery),
            )
            for event in run.history
        ],
    )
