"""The phones on which a member is signed in, as he sees them."""

from datetime import datetime

import strawberry

from api.access import MemberCaller
from api.context import Context
from domain.members.session import live_sessions


@strawberry.type(description="A phone on which the member is signed in.")
class MemberSession:
    id: strawberry.ID
    created_at: datetime
    last_used_at: datetime
    device: str | None
    current: bool = strawberry.field(description="Whether this is the session that is asking.")


async def member_sessions(context: Context, member: str) -> list[MemberSession]:
    """The member's sessions that can be refreshed, the last used first."""
    caller = context.caller
    current = caller.session if isinstance(caller, MemberCaller) else None
    return [
        MemberSession(
            id=strawberry.ID(family.id),
            created_at=family.began_at,
            last_used_at=family.used_at,
            device=family.device,
            current=family.id == current,
        )
        for family in await live_sessions(context.wallet.store, member, now=context.now)
    ]
