"""Members: who is calling, who is found, and by whom.

A partner finds a member by the code on his screen, by its own reference, or by id if the member is linked to it;
an unknown member cannot be told from one that is not linked (SEMANTICS §9.2). Every look-up of a member by anyone
goes through here.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

import strawberry

from api.access import Caller, MemberCaller, PartnerCaller, StaffCaller
from api.badges import BadgeProgress, badge_progress
from api.challenges import ChallengeStatus, challenges
from api.connected_apps import ConnectedApp, connected_apps
from api.consents import Consent, member_consents
from api.context import Context, Info, member_gone, require_member, require_partner
from api.described import described
from api.devices import Device, member_devices
from api.faults import Faults, given, plain
from api.inbox import InboxItem, inbox_connection, member_unread_count
from api.member_code import MemberCode, member_code
from api.member_sessions import MemberSession, member_sessions
from api.node import Node
from api.pages import Connection
from api.plans import PlanStatus, plan_status
from api.preferences import NotificationPreferences, member_preferences
from api.problems import IdempotencyMismatch, InvalidInput, told
from api.profiles import Profile, ProfileInput, profile_type, read_profile, referral_code
from api.referrals import ReferralStatus, referral_status
from api.rewards import Reward, reward_connection
from api.scalars import IdempotencyKey
from api.stamp_cards import StampCardStatus, stamp_cards
from api.streaks import StreakStatus, streak_statuses
from api.tiers import TierStatus, tier_status
from api.vouchers import Voucher, voucher_connection, voucher_type
from api.wallet import Wallet, wallet_type
from domain.ledger.command import fingerprint_of
from domain.ledger.due import as_settled
from domain.ledger.expiry import local_date
from domain.ledger.issued import vouchers_by_id
from domain.ledger.voucher import VoucherStatus
from domain.ledger.wallet import Wallet as WalletState
from domain.members.account import Account, account_by_id, account_by_reference
from domain.members.enrolment import Enrolled, enrol
from domain.members.member import Member as MemberRecord
from domain.members.member import is_visible, member_by_id, member_facts
from domain.members.presence import show_code
from domain.problems import NotFound
from domain.programme.segments import segments_of


@strawberry.input(one_of=True)
class MemberLookup:
    id: strawberry.ID | None = strawberry.UNSET
    code: str | None = strawberry.UNSET
    reference: str | None = strawberry.UNSET


@strawberry.type
class Member(Node):
    """`is_own` is true for the member who signs in with this very request (api.access)."""

    state: strawberry.Private[WalletState]
    record: strawberry.Private[MemberRecord]
    locale: strawberry.Private[str]
    joined_at: datetime
    profile: Profile = strawberry.field(description="scope: members:read")
    wallet: Wallet = strawberry.field(description="scope: wallet:read")
    tier: TierStatus
    streaks: list[StreakStatus]
    plan: PlanStatus | None
    is_own: strawberry.Private[bool] = False

    @described(
        "A code for the till, new every 30 seconds, good for 90: text for a QR picture and eight digits to say aloud. "
        "member"
    )
    async def code(self, info: Info) -> MemberCode:
        return await member_code(info.context, self.id)

    @described("Where the member is signed in, most recently used first; at most 100. member")
    async def sessions(self, info: Info) -> list[MemberSession]:
        return await member_sessions(info.context, self.id)

    @strawberry.field
    def badges(self, info: Info) -> list[BadgeProgress]:
        return badge_progress(self.state, info.context.wallet.programmes.current, self.locale)

    @strawberry.field
    def stamp_cards(self, info: Info) -> list[StampCardStatus]:
        return stamp_cards(self.state, info.context.wallet.programmes.current, self.locale, now=info.context.now)

    @described("Segments that the member is in now. scope: staff:members")
    def segments(self, info: Info) -> list[strawberry.ID]:
        programme, now = info.context.wallet.programmes.current, info.context.now
        facts = member_facts(self.record, as_settled(self.state, programme, now), programme, at=now)
        return [strawberry.ID(segment) for segment in segments_of(facts, programme)]

    @described("Challenges that are running now.")
    def challenges(self, info: Info) -> list[ChallengeStatus]:
        return challenges(self.state, info.context.wallet.programmes.current, self.locale, now=info.context.now)

    @described("member")
    async def inbox(
        self,
        info: Info,
        *,
        first: int = 20,
        after: str | None = strawberry.UNSET,
        unread_only: bool | None = False,
    ) -> Connection[InboxItem]:
        return await inbox_connection(
            info.context, str(self.id), first=first, after=given(after), unread_only=bool(unread_only)
        )

    @strawberry.field
    async def unread_count(self, info: Info) -> int:
        return await member_unread_count(info.context, self.id)

    @described("member")
    async def devices(self, info: Info) -> list[Device]:
        return await member_devices(info.context, self.id)

    @described("member")
    async def consents(self, info: Info) -> list[Consent]:
        return await member_consents(info.context, self.id)

    @described("member")
    async def preferences(self, info: Info) -> NotificationPreferences:
        return await member_preferences(info.context, self.id)

    @described("Partner apps that this member has let in. member")
    async def connected_apps(self, info: Info) -> list[ConnectedApp]:
        return await connected_apps(info.context, self.id)

    @strawberry.field
    async def referral(self, info: Info) -> ReferralStatus:
        return await referral_status(info.context, self.state)

    @described("Rewards that this member may see; `affordable` keeps those within the available points.")
    async def rewards(
        self, info: Info, *, first: int = 20, after: str | None = strawberry.UNSET, affordable: bool | None = False
    ) -> Connection[Reward]:
        return await reward_connection(
            info.context,
            self.state,
            locale=self.locale,
            first=first,
            after=given(after),
            affordable=bool(affordable),
        )

    @strawberry.field
    async def vouchers(
        self,
        info: Info,
        first: int = 20,
        after: str | None = strawberry.UNSET,
        status: VoucherStatus | None = strawberry.UNSET,
    ) -> Connection[Voucher]:
        return await voucher_connection(
            info.context, str(self.id), locale=self.locale, first=first, after=given(after), status=given(status)
        )


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
            raise member_gone()
        return member_type(account.member, account.wallet, info.context, payer=account.payer)

    @described(
        "Find one member. A partner finds a member by the code on the member's screen, by its own reference, "
        "or by id if the member is linked to it; nothing tells an unknown member from one that is not linked. "
        "scope: members:read, staff:members"
    )
    async def member(self, info: Info, by: MemberLookup) -> Member | None:
        account = await find_account(info.context, by)
        return (
            None if account is None else member_type(account.member, account.wallet, info.context, payer=account.payer)
        )


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
            return told(wrong, MemberEnrolled)
        enrolled = await enrol(
            services.ledger,
            client_id=require_partner(info).client_id,
            reference=enrolment.reference,
            profile=profile,
            referral_code=referral_code(enrolment.profile),
            key=enrolment.idempotency_key,
            fingerprint=fingerprint_of("enrolMember", plain(enrolment)),
            now=context.now,
        )
        if not isinstance(enrolled, Enrolled):
            return told(enrolled, MemberEnrolled)
        return MemberEnrolled(
            member=await member_now(enrolled.member.id, context),
            is_new=enrolled.is_new,
            replayed=enrolled.replayed,
        )


def member_type(
    member: MemberRecord, wallet: WalletState, context: Context, *, payer: Mapping[str, Any] | None = None
) -> Member:
    """The member with that wallet, at the instant of the request, in his own language.

    `payer` is what an account read beside it; None has his automatic top-up read when it is asked for.
    """
    programme = context.wallet.programmes.current
    locale = locale_of(member, context)
    return Member(
        id=strawberry.ID(member.id),
        joined_at=member.joined_at,
        profile=profile_type(member, programme),
        state=wallet,
        record=member,
        locale=locale,
        wallet=wallet_type(wallet, programme, now=context.now, locale=locale, payer=payer),
        tier=tier_status(wallet, programme, now=context.now, locale=locale),
        streaks=streak_statuses(member, wallet, programme, now=context.now, locale=locale),
        plan=plan_status(wallet, programme, now=context.now, locale=locale),
    )


def locale_of(member: MemberRecord, context: Context) -> str:
    """The member's own language, else the one that the caller prefers, else the programme's."""
    return member.profile.locale or context.locale or context.wallet.programmes.current.definition.locales.default


async def own_record(info: Info) -> MemberRecord:
    """The member whose session calls. Raises InvalidValue for one who is not there any more."""
    member = await member_by_id(info.context.wallet.store, require_member(info).member_id)
    if member is None:
        raise member_gone()
    return member


async def voucher_now(identifier: str, member: MemberRecord | None, context: Context) -> Voucher:
    """A voucher that is known to exist, as it is now, in the member's language."""
    issued = await vouchers_by_id(context.wallet.store, [identifier], now=context.now)
    programme = context.wallet.programmes.current
    locale = context.locale or programme.definition.locales.default if member is None else locale_of(member, context)
    return voucher_type(issued[identifier], programme, locale)


async def member_now(identifier: str, context: Context) -> Member:
    """The member of an id that is known to exist, with his wallet as it is."""
    account = await account_by_id(context.wallet.store, identifier)
    assert account is not None, "a member that was just there"
    return member_type(account.member, account.wallet, context, payer=account.payer)


async def find_account(context: Context, by: MemberLookup) -> Account | None:
    """The account that the caller may see under that look-up; None for all others, whether they exist or not."""
    store, caller = context.wallet.store, context.caller
    identifier, reference, code = given(by.id), given(by.reference), given(by.code)
    account = None
    if code is not None:
        shown = await _by_code(context, code)
        identifier = None if shown is None else shown.id
    if identifier is not None:
        account = await account_by_id(store, identifier)
    elif reference is not None and isinstance(caller, PartnerCaller):
        account = await account_by_reference(store, caller.client_id, reference)
    return account if account is not None and _may_see(caller, account.member, by) else None


async def find_members(context: Context, lookups: Sequence[MemberLookup]) -> list[MemberRecord | None]:
    """For each look-up, the member whom the caller may see under it, or None; one round trip for all without codes."""
    caller = context.caller
    client_id = caller.client_id if isinstance(caller, PartnerCaller) else None
    found = await context.wallet.members.find(
        ids={str(by.id) for by in lookups if given(by.id) is not None},
        client_id=client_id or "",
        references={str(by.reference) for by in lookups if client_id is not None and given(by.reference) is not None},
    )
    codes = list(dict.fromkeys(str(by.code) for by in lookups if given(by.code) is not None))
    shown = dict(zip(codes, await asyncio.gather(*(_by_code(context, code) for code in codes)), strict=True))
    members: list[MemberRecord | None] = []
    for by in lookups:
        member = shown.get(given(by.code) or "")
        member = member or found.by_reference.get(given(by.reference) or "") or found.by_id.get(given(by.id) or "")
        members.append(member if member is not None and _may_see(caller, member, by) else None)
    return members


async def _by_code(context: Context, code: str) -> MemberRecord | None:
    """The member whose code is shown to the calling partner; a code is for partners, and finds nobody for others."""
    caller, services = context.caller, context.wallet
    if not isinstance(caller, PartnerCaller):
        return None
    return await show_code(
        services.store,
        code,
        client_id=caller.client_id,
        operator_secret=services.settings.secret,
        now=context.now,
        only=caller.member_id,
    )


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
