"""Sessions: what a phone is given when its member signs in."""

from dataclasses import replace
from datetime import datetime
from typing import Annotated

import strawberry

from api.context import Context
from api.members import Member, member_now
from api.problems import InvalidInput, SignInRefused
from domain.members.session import begin_session


@strawberry.type
class Session:
    access_token: str
    access_token_expires_at: datetime
    refresh_token: str
    member: Member
    is_new: bool


SignInResult = Annotated[Session | SignInRefused | InvalidInput, strawberry.union("SignInResult")]


async def session_type(member: str, context: Context, *, is_new: bool) -> Session:
    """A session of that member, begun now."""
    services = context.wallet
    begun = await begin_session(services.store, services.settings.secret, member=member, now=context.now)
    access = await services.tokens.issue_member_token(member, context.now, session=begun.id)
    return Session(
        access_token=access.text,
        access_token_expires_at=access.expires_at,
        refresh_token=begun.refresh_token,
        member=replace(await member_now(member, context), is_own=True),
        is_new=is_new,
    )
