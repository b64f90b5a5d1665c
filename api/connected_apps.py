"""The partner apps that a member has let in, as he sees them."""

from datetime import datetime

import strawberry

from api.context import Context
from api.partners import Partner, partner_type
from domain.members.grant import connected
from domain.partners.partner import partners_by_id


@strawberry.type
class ConnectedApp:
    partner: Partner
    scopes: list[str]
    granted_at: datetime
    last_used_at: datetime | None = strawberry.field(
        description="When it last acted as the member, accurate to five minutes; null if it never has."
    )


async def connected_apps(context: Context, member: str) -> list[ConnectedApp]:
    """The apps that the member let in, the newest first."""
    store = context.wallet.store
    grants = await connected(store, member)
    partners = await partners_by_id(store, [grant.client_id for grant in grants])
    return [
        ConnectedApp(
            partner=partner_type(partners[grant.client_id]),
            scopes=sorted(grant.scopes),
            granted_at=grant.granted_at,
            last_used_at=grant.used_at,
        )
        for grant in grants
        if grant.client_id in partners
    ]
