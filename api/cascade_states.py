"""The switch of a cascade, or of all of them."""

import strawberry

from api.context import Info
from api.described import described
from api.errors import InvalidValue
from notifications.control import ALL, CascadeState, set_state

strawberry.enum(CascadeState, description="PAUSED keeps runs and holds their clocks; STOPPED ends them.")


@strawberry.type
class CascadeStateMutation:
    @described("scope: staff:programme")
    async def set_cascade_state(self, info: Info, cascade: strawberry.ID, state: CascadeState) -> CascadeState:
        context = info.context
        known = context.wallet.programmes.current.cascades
        if cascade != ALL and cascade not in known:
            raise InvalidValue(
                f'cascade is {cascade}; there are {", ".join(known) or "none"}, and "*" for all of them.'
            )
        return await set_state(context.wallet.store, cascade, state, now=context.now)
