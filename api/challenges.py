"""Challenges that are running at the instant of reading, and how far a member has come with each."""

from datetime import datetime

import strawberry

from api.scalars import Long
from domain.ledger.wallet import Wallet
from domain.programme.challenges import challenge_state, ends_at, is_open, shown_count
from domain.programme.programme import Programme
from domain.programme.wording import localised


@strawberry.type
class ChallengeStatus:
    challenge: strawberry.ID
    name: str
    progress: Long
    target: Long
    completed_at: datetime | None
    ends_at: datetime | None


def challenges(wallet: Wallet, programme: Programme, locale: str, *, now: datetime) -> list[ChallengeStatus]:
    """The challenges whose window holds that instant, in the programme's order."""
    running: list[ChallengeStatus] = []
    for challenge in programme.definition.challenges:
        if not is_open(challenge, now, programme.zone):
            continue
        state = challenge_state(wallet.progress, challenge, programme.zone)
        running.append(
            ChallengeStatus(
                challenge=strawberry.ID(challenge.id),
                name=localised(programme, challenge.name, locale),
                progress=Long(shown_count(challenge, state.count, programme.currency)),
                target=Long(challenge.target),
                completed_at=state.completed_at,
                ends_at=ends_at(challenge, programme.zone),
            )
        )
    return running
