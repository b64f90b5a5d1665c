"""Sessions: what a phone gets when its member signs in, how it stays signed in, and how that ends."""

from dataclasses import replace
from datetime import datetime
from typing import Annotated, Final

import strawberry

from api.auth.identity import MESSAGES, IdentityRefused
from api.context import Context, Info, require_member
from api.described import described
from api.faults import Faults, given
from api.members import Member, member_now, member_type
from api.problems import InvalidInput, SignInRefused, told
from domain.members.account import account_by_id
from domain.members.enrolment import member_for_subject
from domain.members.session import (
    MAX_DEVICE_LENGTH,
    Refusal,
    begin_session,
    end_session,
    refresh_session,
    sign_out,
)
from domain.problems import Problem

SIGN_IN_REFUSED: Final = "SIGN_IN_REFUSED"
_REFUSED: Final = {
    Refusal.UNKNOWN: "This is not a refresh token of this server. Sign in again.",
    Refusal.EXPIRED: "The session was not used for too long, or is too old. Sign in again.",
    Refusal.REUSED: "This refresh token was used before, so the session has been ended. Sign in again.",
    Refusal.ENDED: "The session has ended. Sign in again.",
}


@strawberry.type
class Session:
    access_token: str
    access_token_expires_at: datetime
    refresh_token: str
    member: Member
    is_new: bool


SignInResult = Annotated[Session | SignInRefused | InvalidInput, strawberry.union("SignInResult")]


@strawberry.type
class SignedOut:
    ended: bool


@strawberry.input
class SignInInput:
    id_token: str
    device: str | None = strawberry.UNSET


@strawberry.type
class SessionMutation:
    @described(
        "Trade an identity token (Firebase Auth, or another OpenID Connect issuer named in the settings) for a "
        "session. Makes the member on first sight."
    )
    async def sign_in(
        self, info: Info, wanted: Annotated[SignInInput, strawberry.argument(name="input")]
    ) -> SignInResult:
        """What the issuer tells of the person is his profile on first sight; later it is his own to change."""
        context, services, faults = info.context, info.context.wallet, Faults()
        device = given(wanted.device)
        if device is not None:
            faults.text("device", device, longest=MAX_DEVICE_LENGTH)
        if (wrong := faults.problem) is not None:
            return told(wrong, Session)
        try:
            identity = await services.identities.identity(wanted.id_token)
        except IdentityRefused as refused:
            because = refused.reason
            return SignInRefused(code=SIGN_IN_REFUSED, message=MESSAGES[because], reason=because.value)
        signed_in = await member_for_subject(
            services.ledger,
            issuer=identity.issuer,
            subject=identity.subject,
            profile=identity.profile,
            now=context.now,
        )
        assert not isinstance(signed_in, Problem), "nothing to refuse without a referral code"
        member, is_new = signed_in
        return await session_type(member.id, context, is_new=is_new, device=device)

    @described("Each refresh token works once; showing a used one again ends the whole session family.")
    async def refresh_session(self, info: Info, refresh_token: str) -> SignInResult:
        """For 10 seconds the last used token gives its successor again, to a phone that lost the answer."""
        context, services = info.context, info.context.wallet
        refreshed = await refresh_session(services.store, services.settings.secret, refresh_token, now=context.now)
        if isinstance(refreshed, Refusal):
            services.tokens.forget_denials()
            return _refused(refreshed)
        account = await account_by_id(services.store, refreshed.member)
        if account is None:
            return _refused(Refusal.ENDED)
        access = await services.tokens.issue_member_token(refreshed.member, context.now, session=refreshed.id)
        return Session(
            access_token=access.text,
            access_token_expires_at=access.expires_at,
            refresh_token=refreshed.refresh_token,
            member=replace(member_type(account.member, account.wallet, context, payer=account.payer), is_own=True),
            is_new=False,
        )

    @described(
        "Ends the session of this refresh token, used or not. `ended` is true when it has ended, now or before, and "
        "false for a text that is not a refresh token. Its access tokens stop within seconds."
    )
    async def sign_out(self, info: Info, refresh_token: str) -> SignedOut:
        services = info.context.wallet
        ended = await sign_out(services.store, services.settings.secret, refresh_token, now=info.context.now)
        services.tokens.forget_denials()
        return SignedOut(ended=ended)

    @described("End one of the member's own sessions, such as that of a lost phone. member")
    async def end_session(self, info: Info, id: strawberry.ID) -> SignedOut:  # noqa: A002 -- as `node(id:)`
        member, services = require_member(info).member_id, info.context.wallet
        ended = await end_session(services.store, id, now=info.context.now, member=member)
        services.tokens.forget_denials()
        return SignedOut(ended=ended)


async def session_type(member: str, context: Context, *, is_new: bool, device: str | None = None) -> Session:
    """A session of that member, begun now; `device` is what his phone calls itself."""
    services = context.wallet
    begun = await begin_session(services.store, services.settings.secret, member=member, now=context.now, device=device)
    access = await services.tokens.issue_member_token(member, context.now, session=begun.id)
    return Session(
        access_token=access.text,
        access_token_expires_at=access.expires_at,
        refresh_token=begun.refresh_token,
        member=replace(await member_now(member, context), is_own=True),
        is_new=is_new,
    )


def _refused(because: Refusal) -> SignInRefused:
    return SignInRefused(code=SIGN_IN_REFUSED, message=_REFUSED[because], reason=because.value)
