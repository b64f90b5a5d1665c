"""Growing bonuses, as the contract shows them."""

from datetime import datetime

import strawberry

from api.money import Money


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
