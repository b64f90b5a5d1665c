"""Feedback: what a member thinks, and what the programme gives for saying so."""

from typing import Final

import strawberry

from api.context import Info
from api.described import described
from api.edge.errors import InvalidValue
from api.faults import given
from api.members import own_record
from domain.commands.activity import FEEDBACK, feedback_reward
from domain.ledger.expiry import local_date
from domain.members.enrolment import joined
from domain.members.feedback import Feedback, feedback_id, keep_feedback
from domain.programme.mechanisms import is_listened_to

BEST: Final = 5
LONGEST_TEXT: Final = 2_000


@strawberry.type
class FeedbackTaken:
    id: strawberry.ID


@strawberry.type
class FeedbackMutation:
    @described(
        "The rating is 1 to 5; the text has at most 2,000 characters. There is one feedback for each entry, and one "
        "a day for everything else: sent again, the latest words replace the earlier ones, and it is rewarded once. "
        "member"
    )
    async def submit_feedback(
        self,
        info: Info,
        rating: int,
        text: str | None = strawberry.UNSET,
        entry: strawberry.ID | None = strawberry.UNSET,
    ) -> FeedbackTaken:
        """Kept whatever the programme gives for it; what goes wrong between the two is made good by the next tap."""
        context, services, words, about = info.context, info.context.wallet, given(text), given(entry)
        if not 1 <= rating <= BEST:
            raise InvalidValue(f"The rating is {rating}; 1 to {BEST} are allowed.")
        if words is not None and len(words) > LONGEST_TEXT:
            raise InvalidValue(f"The text has {len(words)} characters; at most {LONGEST_TEXT} are allowed.")
        member = await own_record(info)
        if about is not None:
            meant = await services.ledger.journal.entry(about)
            if meant is None or meant.member != member.id:
                raise InvalidValue("You have no such entry. Send the id of one of yours, or leave it out.")
        programme = services.programmes.current
        identifier = feedback_id(member.id, entry=about, on=local_date(context.now, programme.zone))
        said = Feedback(
            member=member.id, rating=rating, text=(words or "").strip() or None, entry=about, at=context.now
        )
        await keep_feedback(services.store, identifier, said)
        if FEEDBACK in programme.rules or is_listened_to(programme.definition, FEEDBACK):
            await joined(services.ledger, member)
            await services.ledger.commit(feedback_reward(member, identifier))
        return FeedbackTaken(id=strawberry.ID(identifier))
