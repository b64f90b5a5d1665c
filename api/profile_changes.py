"""Changes that a member makes to his profile: what is left out stays as it is, and null clears a field."""

from typing import Annotated, Final

import strawberry

from api.context import Info
from api.described import described
from api.faults import Faults
from api.members import Member, member_now, own_record
from api.problems import InvalidInput, told
from api.profiles import ProfileInput, read_profile, referral_code
from domain.ledger.expiry import local_date
from domain.members.enrolment import JOINED_ALREADY, joined
from domain.members.member import Profile
from domain.members.profile import change_profile

_NAMES: Final = tuple(Profile.__slots__)


@strawberry.type
class ProfileUpdated:
    member: Member


UpdateProfileResult = Annotated[ProfileUpdated | InvalidInput, strawberry.union("UpdateProfileResult")]


@strawberry.type
class ProfileMutation:
    @described("Fields that are left out stay as they are; null clears one. member")
    async def update_profile(
        self, info: Info, profile: Annotated[ProfileInput, strawberry.argument(name="input")]
    ) -> UpdateProfileResult:
        context, services, faults = info.context, info.context.wallet, Faults()
        today = local_date(context.now, services.programmes.current.zone)
        told_profile = read_profile(profile, faults, today=today, path="")
        if referral_code(profile) is not None:
            faults.add("referralCode", JOINED_ALREADY)
        if (wrong := faults.problem) is not None:
            return told(wrong, ProfileUpdated)
        member = await own_record(info)
        changes = {
            name: getattr(told_profile, name) for name in _NAMES if getattr(profile, name) is not strawberry.UNSET
        }
        await joined(services.ledger, member)
        await change_profile(services.store, member.id, changes, now=context.now)
        return ProfileUpdated(member=await member_now(member.id, context))
