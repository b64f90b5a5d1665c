"""The code on the member's screen, as the contract shows it."""

from datetime import datetime

import strawberry

from api.context import Context
from domain.members.presence import code_of


@strawberry.type
class MemberCode:
    payload: str
    digits: str
    expires_at: datetime


async def member_code(context: Context, member: str) -> MemberCode:
    """The member's code at this instant."""
    services = context.wallet
    code = await code_of(services.store, member, operator_secret=services.settings.secret, now=context.now)
    return MemberCode(payload=code.payload, digits=code.digits, expires_at=code.expires_at)
