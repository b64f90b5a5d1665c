"""What every resolver is given: who is calling, the instant, the language, and the wallet to act on.

One `Context` is made per request, after the clock was read once, so that all of a request happens at one
instant. `Services` is built once per process by whoever starts it and is the same for all requests.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import strawberry

from api.access import Caller, MemberCaller, PartnerCaller
from api.auth.identity_tokens import IdentityTokens
from api.auth.tokens import Tokens
from api.edge.errors import InvalidValue
from domain.ledger.commit import Ledger
from domain.members.lookup import MemberLookup
from domain.payments.provider import Provider
from domain.programme.published import Programmes
from domain.settings import Settings
from domain.store.buckets import Buckets
from domain.store.changes import Changes
from domain.store.clock import Clock
from domain.store.connection import Store
from notifications.channel import Carrier, Channel
from notifications.office import Office


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What one process holds open, from its start to its end.

    Without a `provider` nobody can top up by card; a channel without a carrier reaches nobody.
    """

    settings: Settings
    store: Store
    clock: Clock
    tokens: Tokens
    programmes: Programmes
    ledger: Ledger
    provider: Provider | None = None
    carriers: Mapping[Channel, Carrier] = field(default_factory=dict)
    members: MemberLookup = field(init=False)
    identities: IdentityTokens = field(init=False)
    buckets: Buckets = field(init=False)
    changes: Changes = field(init=False)
    office: Office = field(init=False)

    def __post_init__(self) -> None:
        """What all requests share: look-ups of members, costs, changes that are followed, keys of issuers."""
        object.__setattr__(self, "members", MemberLookup(self.store))
        object.__setattr__(self, "identities", IdentityTokens(self.settings))
        object.__setattr__(self, "buckets", Buckets(self.store))
        object.__setattr__(self, "changes", Changes(self.store))
        office = Office(store=self.store, clock=self.clock, programmes=self.programmes, carriers=self.carriers)
        object.__setattr__(self, "office", office)

    async def close(self) -> None:
        """Ends what runs for the requests; who opened the store and the ledger closes those after it."""
        await self.identities.close()
        await self.changes.close()
        await self.buckets.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """One request. `now` is aware UTC; `locale` is a BCP 47 tag as the caller prefers it, or None."""

    caller: Caller
    request_id: str
    now: datetime
    locale: str | None
    wallet: Services


Info = strawberry.Info[Context, None]
"""The type of a resolver's `info`."""


def require_member(info: Info) -> MemberCaller:
    """The member whose session calls a field that takes nobody else (api.access sees to it)."""
    caller = info.context.caller
    assert isinstance(caller, MemberCaller), caller
    return caller


def require_partner(info: Info) -> PartnerCaller:
    """The partner app that calls a field that takes nobody else (api.access sees to it)."""
    caller = info.context.caller
    assert isinstance(caller, PartnerCaller), caller
    return caller


def member_gone() -> InvalidValue:
    """What a member is told whose token still holds after he was forgotten."""
    return InvalidValue("The member of this token no longer exists. Sign in again.")
