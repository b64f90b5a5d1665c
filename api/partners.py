"""Partner apps, as the contract shows them."""

import strawberry

from api.context import Info, require_partner
from api.described import described
from api.node import Node
from domain.partners.partner import Partner as PartnerRecord
from domain.partners.partner import find_partner


@strawberry.type
class Partner(Node):
    name: str
    client_id: strawberry.ID
    scopes: list[str]
    redirect_uris: list[str]
    disabled: bool


@strawberry.type
class PartnerQuery:
    @described("The calling partner app. Any partner token.")
    async def partner(self, info: Info) -> Partner:
        partner = await find_partner(info.context.wallet.store, require_partner(info).client_id)
        assert partner is not None, "a token of a partner that was there a moment ago"
        return partner_type(partner)


def partner_type(partner: PartnerRecord) -> Partner:
    """The partner without its secrets."""
    return Partner(
        id=strawberry.ID(partner.client_id),
        name=partner.name,
        client_id=strawberry.ID(partner.client_id),
        scopes=sorted(partner.scopes),
        redirect_uris=list(partner.redirect_uris),
        disabled=partner.disabled,
    )
