"""Runs of cascades as staff read them: why a member got, or did not get, a message."""

from datetime import datetime
from typing import Final

import strawberry

from api.context import Context, Info
from api.described import described
from api.edge.errors import InvalidValue
from api.node import Node
from api.pages import PageInfo, page, window
from domain.store.codec import epoch_ms, from_epoch_ms
from notifications.run import Run, RunArm, RunState, run_from

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
class CascadeRunEdge:
    cursor: str
    node: CascadeRun


@strawberry.type
class CascadeRunConnection:
    edges: list[CascadeRunEdge]
    nodes: list[CascadeRun]
    page_info: PageInfo


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
    ) -> CascadeRunConnection:
        asked = window(RUNS, first, after)
        wanted: dict[str, object] = {"member": member}
        if cascade is not None:
            wanted["cascade"] = cascade
        match asked.after:
            case None:
                pass
            case (int(started_ms), str(identifier)):
                started_at = from_epoch_ms(started_ms)
                wanted["$or"] = [
                    {"started_at": {"$lt": started_at}},
                    {"started_at": started_at, "_id": {"$lt": identifier}},
                ]
            case _:
                raise InvalidValue("after is no cursor of this connection. Leave it out to start anew.")
        found = info.context.wallet.store.runs.find(wanted).sort([("started_at", -1), ("_id", -1)]).limit(asked.fetch)
        nodes = [run_type(run_from(document)) async for document in found]
        read = page(RUNS, asked, items=nodes, key=lambda node: (epoch_ms(node.started_at), str(node.id)))
        return CascadeRunConnection(
            edges=[CascadeRunEdge(cursor=each, node=node) for each, node in zip(read.cursors, read.nodes, strict=True)],
            nodes=read.nodes,
            page_info=read.page_info,
        )


async def one_run(context: Context, identifier: str) -> CascadeRun | None:
    """The run of that id."""
    document = await context.wallet.store.runs.find_one({"_id": identifier})
    return None if document is None else run_type(run_from(document))


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
