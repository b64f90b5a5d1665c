"""The switch of a cascade, or of all cascades."""

import strawberry

from api.context import Info
from api.described import described
from api.edge.errors import InvalidValue
from notifications.control import ALL, CascadeState, has_live_runs, set_state

strawberry.enum(CascadeState, description="PAUSED keeps runs and holds their clocks; STOPPED ends them.")


@strawberry.type
class CascadeStateMutation:
    @described("scope: staff:programme")
    async def set_cascade_state(self, info: Info, cascade: strawberry.ID, state: CascadeState) -> CascadeState:
        context = info.context
        store, known = context.wallet.store, context.wallet.programmes.current.cascades
        if cascade not in {ALL, *known} and not await has_live_runs(store, cascade):
            raise InvalidValue(
                f'cascade is {cascade}; there are {", ".join(known) or "none"}, and "*" for all of them.'
            )
        return await set_state(store, cascade, state, now=context.now)
