"""Partner apps, as the contract shows them."""

from typing import Annotated

import strawberry
from strawberry.utils.str_converters import to_camel_case

from api.context import Info, require_partner
from api.described import described
from api.errors import InvalidValue
from api.node import Node
from domain.partners.partner import Partner as PartnerRecord
from domain.partners.partner import PartnerInvalid, create_partner, disable_partner, find_partner, rotate_secret


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


@strawberry.input
class CreatePartnerInput:
    name: str
    scopes: list[str]
    redirect_uris: list[str] = strawberry.field(default_factory=list)


@strawberry.type
class PartnerCreated:
    partner: Partner
    client_secret: str


@strawberry.type
class PartnerMutation:
    @described("The secret is shown this once. scope: staff:partners")
    async def create_partner(
        self, info: Info, wanted: Annotated[CreatePartnerInput, strawberry.argument(name="input")]
    ) -> PartnerCreated:
        services = info.context.wallet
        try:
            partner, secret = await create_partner(
                services.store,
                services.settings.secret,
                name=wanted.name,
                scopes=wanted.scopes,
                redirect_uris=wanted.redirect_uris,
                now=info.context.now,
            )
        except PartnerInvalid as error:
            raise InvalidValue(f"input.{to_camel_case(error.field)}: {error}") from None
        return PartnerCreated(partner=partner_type(partner), client_secret=secret)

    @described("scope: staff:partners")
    async def rotate_partner_secret(self, info: Info, partner: strawberry.ID) -> PartnerCreated:
        """A new secret beside the newest one, so that the partner can change over; older ones stop at once."""
        services = info.context.wallet
        rotated = await rotate_secret(services.store, services.settings.secret, partner)
        if rotated is None:
            raise _no_partner()
        changed, secret = rotated
        return PartnerCreated(partner=partner_type(changed), client_secret=secret)

    @described("scope: staff:partners")
    async def disable_partner(self, info: Info, partner: strawberry.ID, *, disabled: bool) -> Partner:
        """A disabled partner gets no tokens, and those that it has stop within a minute (SEMANTICS §9.6)."""
        services = info.context.wallet
        changed = await disable_partner(services.store, partner, disabled=disabled)
        if changed is None:
            raise _no_partner()
        services.tokens.forget_partner(partner)
        return partner_type(changed)


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


def _no_partner() -> InvalidValue:
    return InvalidValue("There is no partner of this id.")
