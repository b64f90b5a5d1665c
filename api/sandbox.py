"""What only a sandbox has: signing in as anybody, staff tokens on request, and a clock that can be moved.

These types are not part of the schema of any other mode.
"""

from datetime import datetime
from typing import Final

import strawberry

from api.auth.tokens import ScopeUnknown
from api.context import Info
from api.described import described
from api.edge.errors import BAD_USER_INPUT, ExposedError, InvalidValue
from api.faults import Faults, given
from api.problems import told
from api.profiles import ProfileInput, read_profile, referral_code
from api.scalars import FURTHEST
from api.sessions import Session, SignInResult, session_type
from domain.ledger.expiry import local_date
from domain.members.enrolment import member_for_subject
from domain.payments.provider import IntentStatus
from domain.payments.sandbox import SandboxCard, SandboxProvider, SecretUnknown
from domain.payments.webhook import hand_over
from domain.problems import Problem
from domain.store.clock import ClockMovedBack, SandboxClock
from domain.store.codec import format_instant
from notifications.advance import advance

ISSUER: Final = "sandbox"
STAFF_SUBJECT: Final = "sandbox"


@strawberry.type
class ClockAdvanced:
    now: datetime
    done: int


@strawberry.type
class TopUpConfirmed:
    """What the provider's SDK tells the app; the money is in the wallet when it says so."""

    succeeded: bool


strawberry.enum(SandboxCard, description="The card that the member pays with, in a sandbox without a real provider.")


@strawberry.type
class SandboxMutation:
    @described("Sign in as anybody, made on first sight.")
    async def sandbox_sign_in(
        self, info: Info, subject: str, profile: ProfileInput | None = strawberry.UNSET
    ) -> SignInResult:
        context, services = info.context, info.context.wallet
        faults = Faults()
        faults.text("subject", subject)
        today = local_date(context.now, services.programmes.current.zone)
        told_profile = read_profile(given(profile), faults, today=today)
        if (wrong := faults.problem) is not None:
            return told(wrong, Session)
        signed_in = await member_for_subject(
            services.ledger,
            issuer=ISSUER,
            subject=subject,
            profile=told_profile,
            now=context.now,
            referral_code=referral_code(profile),
        )
        if isinstance(signed_in, Problem):
            return told(signed_in, Session)
        member, is_new = signed_in
        return await session_type(member.id, context, is_new=is_new)

    @described("A token with any staff scopes.")
    async def sandbox_staff_token(self, info: Info, scopes: list[str]) -> str:
        try:
            token = await info.context.wallet.tokens.issue_staff_token(STAFF_SUBJECT, scopes, info.context.now)
        except ScopeUnknown as error:
            raise InvalidValue(str(error)) from None
        return token.text

    @described(
        "What the payment provider's SDK does on a phone: pay for a top-up, identified by its client secret. The "
        "event is signed and received like any other before this answers."
    )
    async def sandbox_confirm_top_up(
        self, info: Info, client_secret: str, card: SandboxCard = SandboxCard.GOOD
    ) -> TopUpConfirmed:
        services = info.context.wallet
        provider = services.provider
        if not isinstance(provider, SandboxProvider):
            raise InvalidValue("This sandbox is connected to a real provider; confirm with its SDK.")
        try:
            intent = await provider.confirm(client_secret, card)
        except SecretUnknown:
            raise InvalidValue("There is no top-up with this client secret.") from None
        await hand_over(services.ledger, provider, about=intent.id)
        return TopUpConfirmed(succeeded=intent.status is IntentStatus.SUCCEEDED)

    @described(
        "Move the sandbox's clock forward, doing everything that falls due on the way, in order, before it answers."
    )
    async def advance_clock(self, info: Info, to: datetime) -> ClockAdvanced:
        services = info.context.wallet
        assert isinstance(services.clock, SandboxClock), "a sandbox's schema over another clock"
        if to >= FURTHEST:
            raise InvalidValue(f"A sandbox's clock goes no further than {format_instant(FURTHEST)}.")
        try:
            done = await advance(
                services.store,
                services.clock,
                services.ledger,
                to,
                provider=services.provider,
                office=services.office,
            )
        except ClockMovedBack as error:
            now = format_instant(error.now)
            raise ExposedError(
                f"The clock stands at {now} and only moves forward; send a later instant.",
                code=BAD_USER_INPUT,
                details={"now": now},
            ) from None
        return ClockAdvanced(now=services.clock.now(), done=done)
