"""A member's rights over his data: to take it with him, and to be forgotten (SEMANTICS §9.5)."""

from datetime import datetime

import strawberry

from api.context import Info, require_member
from api.described import described
from api.edge.errors import BAD_USER_INPUT, ExposedError
from api.members import own_record
from api.scalars import JSON
from domain.members.erasure import erase
from domain.members.export import export_of
from domain.problems import WrongState


@strawberry.type
class Erased:
    at: datetime


@strawberry.type
class RightsMutation:
    @described("Everything held on the member, as one JSON document.")
    async def export_my_data(self, info: Info) -> JSON:
        """By collection; instants as RFC 3339, amounts in minor units, secrets left out."""
        member = await own_record(info)
        return JSON(await export_of(info.context.wallet.store, member.id, now=info.context.now))

    @described(
        "Forget the member: personal data goes, sessions, devices and grants end, the journal stays under a pseudonym."
    )
    async def erase_me(self, info: Info, confirm: str) -> Erased:
        """`confirm` is ERASE, or FORFEIT to give up paid money that is left; points and cashback go in any case."""
        services, now = info.context.wallet, info.context.now
        done = await erase(services.ledger, require_member(info).member_id, confirm=confirm, now=now)
        services.tokens.forget_denials()
        if isinstance(done, WrongState):
            raise ExposedError(done.message, code=BAD_USER_INPUT, details={"state": done.state})
        return Erased(at=done)
