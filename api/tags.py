"""Tags: what staff note about a member, for rules and segments to use."""

from typing import Annotated

import strawberry

from api.context import Info
from api.described import described
from api.faults import Faults
from api.members import Member, member_now
from api.problems import InvalidInput, NotFound, told
from domain.members.tags import MAX_TAGS, TAG, set_tags
from domain.problems import NotFound as NotFoundProblem


@strawberry.type
class MemberTagged:
    member: Member


SetMemberTagsResult = Annotated[MemberTagged | NotFound | InvalidInput, strawberry.union("SetMemberTagsResult")]


@strawberry.type
class TagMutation:
    @described(
        "Replaces the member's tags: at most 50, each an id such as `bakery`. Conditions know them as "
        "`member.tags`. scope: staff:members"
    )
    async def set_member_tags(self, info: Info, member: strawberry.ID, tags: list[str]) -> SetMemberTagsResult:
        faults = Faults()
        if len(tags) > MAX_TAGS:
            faults.add("tags", f"There are {len(tags)}; at most {MAX_TAGS} are allowed.")
        for index, tag in enumerate(tags[:MAX_TAGS]):
            if not TAG.fullmatch(tag):
                faults.add(f"tags.{index}", "A tag has at most 64 lower-case letters, digits and dashes.")
        if (wrong := faults.problem) is not None:
            return told(wrong, MemberTagged)
        tagged = await set_tags(info.context.wallet.store, member, tags)
        if tagged is None:
            return told(NotFoundProblem(message="There is no such member.", what="member"), MemberTagged)
        return MemberTagged(member=await member_now(tagged.id, info.context))
