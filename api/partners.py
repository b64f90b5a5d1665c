"""Partner apps, as the contract shows them."""

from typing import Annotated, Final

import strawberry
from strawberry.utils.str_converters import to_camel_case

from api.auth.public_key import public_half, public_key
from api.context import Info, require_partner
from api.described import described
from api.edge.errors import InvalidValue
from api.faults import given
from api.node import Node
from api.scalars import JSON
from domain.partners.partner import Partner as PartnerRecord
from domain.partners.partner import (
    PartnerInvalid,
    create_partner,
    disable_partner,
    find_partner,
    rotate_secret,
    set_keys,
)

MAX_KEYS: Final = 5
MAX_KID_LENGTH: Final = 200
_JWKS: Final = "Public keys (RFC 7517) with which the partner proves itself instead of a secret (private_key_jwt)."


@strawberry.type
class Partner(Node):
    name: str
    client_id: strawberry.ID
    scopes: list[str]
    redirect_uris: list[str]
    disabled: bool
    key_ids: list[str] = strawberry.field(description="The keys with which it may prove itself instead of a secret.")


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
    jwks: JSON | None = strawberry.field(default=strawberry.UNSET, description=_JWKS)


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
        keys = _keys(given(wanted.jwks), "input.jwks")
        try:
            partner, secret = await create_partner(
                services.store,
                services.settings.secret,
                name=wanted.name,
                scopes=wanted.scopes,
                redirect_uris=wanted.redirect_uris,
                keys=keys,
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

    @described("Replaces the public keys with which the partner proves itself (private_key_jwt). scope: staff:partners")
    async def set_partner_keys(self, info: Info, partner: strawberry.ID, jwks: JSON) -> Partner:
        """To change over, set the old key and the new one; then the new one alone. None at all: `{"keys": []}`."""
        changed = await set_keys(info.context.wallet.store, partner, _keys(jwks, "jwks"))
        if changed is None:
            raise _no_partner()
        return partner_type(changed)

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
        key_ids=[key["kid"] for key in partner.keys],
    )


def _keys(jwks: object, path: str) -> list[dict[str, str]]:
    """The public keys of a JWK Set, each with an id of its own. Raises InvalidValue."""
    if jwks is None:
        return []
    keys = jwks.get("keys") if isinstance(jwks, dict) else None
    if not isinstance(keys, list) or len(keys) > MAX_KEYS:
        raise InvalidValue(f'{path}: It must be a JWK Set, {{"keys": [...]}}, with up to {MAX_KEYS} keys.')
    for number, key in enumerate(keys):
        if public_key(key) is None or not key.get("kid") or len(key["kid"]) > MAX_KID_LENGTH:
            raise InvalidValue(
                f"{path}.keys.{number}: It must be a public key for signatures by RS256 (2,048 bits or more) or ES256, "
                f"with a kid of up to {MAX_KID_LENGTH} characters."
            )
    if len({key["kid"] for key in keys}) < len(keys):
        raise InvalidValue(f"{path}: Each key needs a kid of its own.")
    return [public_half(key) for key in keys]


def _no_partner() -> InvalidValue:
    return InvalidValue("There is no partner of this id.")
