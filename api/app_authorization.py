"""How a member lets a partner app in, and shows it the door again (DESIGN §5).

The consumer app is the authorization screen of OAuth: it shows what a partner asks for, calls `authorizeApp`, and
opens the address that comes back.
"""

from datetime import datetime
from typing import Annotated, Final
from urllib.parse import urlencode

import strawberry

from api.context import Info, require_member
from api.described import described
from api.faults import Faults, given
from api.members import own_record
from api.problems import InvalidInput, NotFound, told
from api.removed import Removed
from domain.members.enrolment import joined
from domain.members.grant import let_in, take_back
from domain.partners.authorization import is_challenge, make_code
from domain.partners.partner import Partner as PartnerRecord
from domain.partners.partner import find_partner
from domain.partners.scopes import OF_THE_PARTNER_ITSELF
from domain.problems import NotFound as Missing

LONGEST_STATE: Final = 1_000
MAX_SCOPES: Final = 50


@strawberry.input
class AuthorizeAppInput:
    client_id: strawberry.ID
    redirect_uri: str
    scopes: list[str]
    code_challenge: str
    state: str | None = strawberry.UNSET


@strawberry.type
class AppAuthorized:
    redirect_to: str
    expires_at: datetime


AuthorizeAppResult = Annotated[AppAuthorized | NotFound | InvalidInput, strawberry.union("AuthorizeAppResult")]


@strawberry.type
class AppAuthorizationMutation:
    @described(
        "Let a partner app in. Returns the address to open, with a single-use code good for 60 seconds. Only S256 PKCE."
    )
    async def authorize_app(
        self, info: Info, wanted: Annotated[AuthorizeAppInput, strawberry.argument(name="input")]
    ) -> AuthorizeAppResult:
        """The member gives the app these scopes beside those that it has; `revokeApp` takes them all back."""
        services, now, faults = info.context.wallet, info.context.now, Faults()
        partner = await find_partner(services.store, wanted.client_id)
        if partner is None or partner.disabled:
            return told(Missing(message="There is no such partner app.", what="partner"), AppAuthorized)
        _read(wanted, partner, faults)
        if (wrong := faults.problem) is not None:
            return told(wrong, AppAuthorized)
        member = await joined(services.ledger, await own_record(info))
        scopes = frozenset(wanted.scopes)
        grant = await let_in(services.store, member.id, client_id=partner.client_id, scopes=scopes, now=now)
        code, expires_at = await make_code(
            services.store,
            grant,
            scopes=scopes,
            redirect_uri=wanted.redirect_uri,
            challenge=wanted.code_challenge,
            now=now,
        )
        carried = {"code": code, "state": given(wanted.state), "iss": services.settings.public_url}
        query = urlencode({name: value for name, value in carried.items() if value is not None})
        mark = "&" if "?" in wanted.redirect_uri else "?"
        return AppAuthorized(redirect_to=f"{wanted.redirect_uri}{mark}{query}", expires_at=expires_at)

    @described(
        "End everything that ties a partner to the member: what he let it do, its tokens, its own reference to him, "
        "and the link. Its tokens stop working within seconds. member"
    )
    async def revoke_app(self, info: Info, partner: strawberry.ID) -> Removed:
        """A partner that is not connected, or does not exist, makes no difference: afterwards it is not connected."""
        services = info.context.wallet
        await take_back(services.store, require_member(info).member_id, client_id=partner, now=info.context.now)
        services.tokens.forget_denials()
        return Removed(id=partner)


def _read(wanted: AuthorizeAppInput, partner: PartnerRecord, faults: Faults) -> None:
    if wanted.redirect_uri not in partner.redirect_uris:
        faults.add("redirectUri", "The partner has not registered it; addresses must match exactly.")
    if not 1 <= len(wanted.scopes) <= MAX_SCOPES:
        faults.add("scopes", f"There are {len(wanted.scopes)}; 1 to {MAX_SCOPES} are allowed.")
    for number, scope in enumerate(wanted.scopes[:MAX_SCOPES]):
        if scope not in partner.scopes:
            faults.add(f"scopes.{number}", "The partner does not have it.")
        elif scope in OF_THE_PARTNER_ITSELF:
            faults.add(f"scopes.{number}", "It is for what the partner does for itself; no member can give it.")
    if not is_challenge(wanted.code_challenge):
        faults.add("codeChallenge", "It is not an S256 challenge: base64url of a SHA-256, 43 characters.")
    state = given(wanted.state)
    if state is not None and len(state) > LONGEST_STATE:
        faults.add("state", f"It has {len(state)} characters; at most {LONGEST_STATE} are allowed.")
