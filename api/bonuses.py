"""Growing bonuses, as the contract shows them."""

from datetime import datetime

import strawberry

from api.money import Money, money
from domain.ledger.bonus import Bonus as HeldBonus
from domain.ledger.bonus import worth_minor


@strawberry.type
class BonusStep:
    at: datetime
    worth: Money


@strawberry.type(description="A bonus that is worth more the longer it is left alone.")
class Bonus:
    id: strawberry.ID
    definition: strawberry.ID
    worth_now: Money
    grows: list[BonusStep]
    expires_at: datetime


def bonus_type(bonus: HeldBonus, now: datetime) -> Bonus:
    """The bonus with its worth at that instant, and the steps by which it grows."""
    return Bonus(
        id=strawberry.ID(bonus.id),
        definition=strawberry.ID(bonus.definition),
        worth_now=money(worth_minor(bonus, now), bonus.currency),
        grows=[BonusStep(at=step.at, worth=money(step.worth_minor, bonus.currency)) for step in bonus.steps[1:]],
        expires_at=bonus.expires_at,
    )
