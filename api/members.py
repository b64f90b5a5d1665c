"""Members: who calls, who is found, and by whom.

A partner finds a member by its own reference, or by id if the member is linked to it; nothing tells an unknown
member from one that is not linked (SEMANTICS §9.2). Every look-up of a member by anyone goes through here.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import strawberry

from api.access import Caller, MemberCaller, PartnerCaller, StaffCaller
from api.context import Context, Info, require_partner
from api.described import described
from api.errors import InvalidValue
from api.faults import Faults, given, plain
from api.node import Node
from api.problems import IdempotencyMismatch, InvalidInput, problem_type
from api.profiles import Profile, ProfileInput, profile_type, read_profile
from api.scalars import IdempotencyKey
from api.tiers import TierStatus, tier_status
from api.wallet import Wallet, wallet_type
from domain.ledger.command import fingerprint_of
from domain.ledger.expiry import local_date
from domain.ledger.wallet import Wallet as WalletState
from domain.members.account import Account, account_by_id, account_by_reference
from domain.members.enrolment import Enrolled, enrol
from domain.members.lookup import find_members as read_members
from domain.members.member import Member as MemberRecord
from domain.members.member import is_visible
from domain.problems import NotFound


@strawberry.input(one_of=True)
class MemberLookup:
    id: strawberry.ID | None = strawberry.UNSET
    code: str | None = strawberry.UNSET
    reference: str | None = strawberry.UNSET


@strawberry.type
class Member(Node):
    """`is_own` is true for the member who signs in with this very request (api.access)."""

    joined_at: datetime
    profile: Profile = strawberry.field(description="scope: members:read")
    wallet: Wallet = strawberry.field(description="scope: wallet:read")
    tier: TierStatus
    is_own: strawberry.Private[bool] = False


@strawberry.input
class EnrolMemberInput:
    reference: str
    profile: ProfileInput | None = strawberry.UNSET
    idempotency_key: IdempotencyKey


@strawberry.type
class MemberEnrolled:
    member: Member
    is_new: bool
    replayed: bool


EnrolMemberResult = Annotated[
    MemberEnrolled | InvalidInput | IdempotencyMismatch, strawberry.union("EnrolMemberResult")
]


@strawberry.type
class MemberQuery:
    @described("The member whom the token speaks for. member, or a partner's delegated token within its scopes.")
    async def me(self, info: Info) -> Member:
        caller = info.context.caller
        assert isinstance(caller, MemberCaller | PartnerCaller), caller
        assert caller.member_id is not None, caller
        account = await account_by_id(info.context.wallet.store, caller.member_id)
        if account is None:
            raise InvalidValue("The member whom this token speaks for is not there any more. Sign in again.")
        return member_type(account.member, account.wallet, info.context)

    @described(
        "Find one member. A partner finds a member by the code on the member's screen, by its own reference, "
        "or by id if the member is linked to it; nothing tells an unknown member from one that is not linked. "
        "scope: members:read, staff:members"
    )
    async def member(self, info: Info, by: MemberLookup) -> Member | None:
        account = await find_account(info.context, by)
        return None if account is None else member_type(account.member, account.wallet, info.context)


@strawberry.type
class MemberMutation:
    @described("scope: members:enrol")
    async def enrol_member(
        self, info: Info, enrolment: Annotated[EnrolMemberInput, strawberry.argument(name="input")]
    ) -> EnrolMemberResult:
        context, services = info.context, info.context.wallet
        programme, faults = services.programmes.current, Faults()
        faults.text("reference", enrolment.reference)
        today = local_date(context.now, programme.zone)
        profile = read_profile(given(enrolment.profile), faults, today=today)
        if (wrong := faults.problem) is not None:
            return problem_type(wrong)  # type: ignore[return-value]
        enrolled = await enrol(
            services.ledger,
            client_id=require_partner(info).client_id,
            reference=enrolment.reference,
            profile=profile,
            key=enrolment.idempotency_key,
            fingerprint=fingerprint_of("enrolMember", plain(enrolment)),
            now=context.now,
        )
        if not isinstance(enrolled, Enrolled):
            return problem_type(enrolled)  # type: ignore[return-value]
        return MemberEnrolled(
            member=await member_now(enrolled.member.id, context),
            is_new=enrolled.is_new,
            replayed=enrolled.replayed,
        )


def member_type(member: MemberRecord, wallet: WalletState, context: Context) -> Member:
    """The member with that wallet, at the instant of the request, in his own language."""
    programme = context.wallet.programmes.current
    locale = locale_of(member, context)
    return Member(
        id=strawberry.ID(member.id),
        joined_at=member.joined_at,
        profile=profile_type(member, programme),
        wallet=wallet_type(wallet, programme, now=context.now, locale=locale),
        tier=tier_status(wallet, programme, now=context.now, locale=locale),
    )


def locale_of(member: MemberRecord, context: Context) -> str:
    """The member's own language, else the one that the caller prefers, else the programme's."""
    return member.profile.locale or context.locale or context.wallet.programmes.current.definition.locales.default


async def member_now(identifier: str, context: Context) -> Member:
    """The member of an id that is known to exist, with his wallet as it is."""
    account = await account_by_id(context.wallet.store, identifier)
    assert account is not None, "a member that was just there"
    return member_type(account.member, account.wallet, context)


async def find_account(context: Context, by: MemberLookup) -> Account | None:
    """The account that the caller may see under that look-up; None for all others, whether they exist or not."""
    store, caller = context.wallet.store, context.caller
    identifier, reference = given(by.id), given(by.reference)
    account = None
    if identifier is not None:
        account = await account_by_id(store, identifier)
    elif reference is not None and isinstance(caller, PartnerCaller):
        account = await account_by_reference(store, caller.client_id, reference)
    return account if account is not None and _may_see(caller, account.member, by) else None


async def find_members(context: Context, lookups: Sequence[MemberLookup]) -> list[MemberRecord | None]:
    """For each look-up, the member whom the caller may see under it, or None; one round trip for all of them."""
    caller = context.caller
    client_id = caller.client_id if isinstance(caller, PartnerCaller) else None
    found = await read_members(
        context.wallet.store,
        ids={str(by.id) for by in lookups if given(by.id) is not None},
        client_id=client_id or "",
        references={str(by.reference) for by in lookups if client_id is not None and given(by.reference) is not None},
    )
    members: list[MemberRecord | None] = []
    for by in lookups:
        member = found.by_reference.get(given(by.reference) or "") or found.by_id.get(given(by.id) or "")
        members.append(member if member is not None and _may_see(caller, member, by) else None)
    return members


def no_member() -> NotFound:
    """What is answered for a member who is not there and for one whom the caller may not see."""
    return NotFound(message="There is no such member, or he is not linked to you.", what="member")


def _may_see(caller: Caller, member: MemberRecord, by: MemberLookup) -> bool:
    """Whether a member who was found by that look-up is one whom the caller may see.

    A delegated token reaches the member who let the app in, and no other.
    """
    match caller:
        case PartnerCaller():
            if caller.member_id is not None and caller.member_id != member.id:
                return False
            return given(by.reference) is not None or is_visible(member, caller.client_id)
        case MemberCaller():
            return caller.member_id == member.id
        case StaffCaller():
            return True
        case _:
            return False
