"""What a phone did with a message, as the app reports it."""

from datetime import datetime

import strawberry

from api.context import Info, require_member
from api.described import described
from api.edge.errors import InvalidValue
from notifications.delivery import DeliveryEvent, take_delivery_report

strawberry.enum(DeliveryEvent)


@strawberry.type
class DeliveryNoted:
    delivery: strawberry.ID
    late: bool


@strawberry.type
class DeliveryMutation:
    @described("What the phone did with a message; it stops a cascade that waits for it.")
    async def report_delivery(
        self, info: Info, delivery: strawberry.ID, event: DeliveryEvent, at: datetime
    ) -> DeliveryNoted:
        context = info.context
        member = require_member(info).member_id
        late = await take_delivery_report(context.wallet.store, member, delivery, event, told_at=at, now=context.now)
        if late is None:
            raise InvalidValue("There is no such message of this member; report the delivery that came with the push.")
        return DeliveryNoted(delivery=delivery, late=late)
