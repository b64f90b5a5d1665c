"""One operation from its parameters to its response, the same for every transport.

`admit` finds the document, selects the operation, asks whether the caller may touch all of it, and takes its cost
out of the caller's bucket; nothing is done before all of that holds. `run` executes it within a time limit.

    RequestError    refused; with `retry_after` where waiting helps
"""

import asyncio
import hmac
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network
from typing import Any, Final

from graphql import OperationType

from api.access import Anonymous, Caller, MemberCaller, PartnerCaller, StaffCaller
from api.context import Context, Services
from api.edge.documents import Documents, Operation, RequestError, Response
from api.edge.errors import ExposedError, Unavailable
from api.edge.metrics import COST, OPERATIONS, REFUSED, refusal_kind
from api.edge.persisted import PersistedDocuments
from api.edge.request import Parameters
from domain.derived_key import derive_key
from domain.store.buckets import Allowance
from domain.store.deadline import within

OPERATION_SECONDS: Final = 10.0
QUERY_SECONDS: Final = 8.0
LONGER_SECONDS: Final[Mapping[str, float]] = {"Mutation.advanceClock": 600.0}
"""What does years of a sandbox's life before it answers."""
MEMBER_ALLOWANCE: Final = Allowance(capacity=1_000, refill_per_second=50)
PARTNER_ALLOWANCE: Final = Allowance(capacity=40_000, refill_per_second=20_000)
STAFF_ALLOWANCE: Final = Allowance(capacity=10_000, refill_per_second=500)
ANONYMOUS_ALLOWANCE: Final = Allowance(capacity=2_000, refill_per_second=100)
"""For all who share an address, which on a mobile network may be many phones."""
SANDBOX_ALLOWANCE: Final = Allowance(capacity=100_000, refill_per_second=20_000)
"""A sandbox's anonymous callers are its developers."""
NEW_DOCUMENT_COST: Final = 5
"""What is taken beside an operation's cost the first time that a process sees its document, for validating it."""
REFUSED_COST: Final = 10
KEEP_COST: Final = 20
RATE_LIMITED: Final = "RATE_LIMITED"
_IPV6_SITE: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Whose bucket pays: its key and its size."""

    key: str
    allowance: Allowance


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """An operation that may run. `is_persisted` if the client named its document by hash."""

    operation: Operation
    variables: Mapping[str, Any]
    context: Context
    account: Account
    cost: int
    is_persisted: bool


class Operations:
    """Admits and runs operations over one schema."""

    def __init__(self, documents: Documents, services: Services, persisted: PersistedDocuments) -> None:
        self.documents = documents
        self._services = services
        self._persisted = persisted
        self._address_key = derive_key(services.settings.secret, "client-address")

    async def admit(
        self,
        parameters: Parameters,
        context: Context,
        *,
        address: str | None,
        kinds: frozenset[OperationType] = frozenset(OperationType),
    ) -> Admitted:
        """The operation, paid for. Raises RequestError, and KindRefused for a kind that the transport has not."""
        account = self.account_of(context.caller, address)
        try:
            return await self._admit(parameters, context, account=account, kinds=kinds)
        except RequestError as error:
            OPERATIONS.labels("none", "refused").inc()
            REFUSED.labels(refusal_kind(error.code_shown)).inc()
            if error.retry_after is None:
                self._services.buckets.debit(account.key, account.allowance, cost=REFUSED_COST)
            raise

    async def run(self, admitted: Admitted) -> Response:
        """Executes a query or a mutation. Raises Unavailable when its time is over."""
        context, operation = admitted.context, admitted.operation
        seconds = max((LONGER_SECONDS.get(each, 0.0) for each in operation.guarded), default=0.0)
        try:
            async with asyncio.timeout(seconds or OPERATION_SECONDS):
                with within(seconds or QUERY_SECONDS):
                    response = await self.documents.run(operation, admitted.variables, context)
        except TimeoutError:
            REFUSED.labels("time").inc()
            raise Unavailable("This took too long and was given up. Try again with the same key.") from None
        OPERATIONS.labels(operation.kind.value, "errors" if "errors" in response.body else "data").inc()
        if response.executed:
            response.body["extensions"] = {"cost": admitted.cost}
        return response

    async def subscribe(self, admitted: Admitted) -> AsyncGenerator[Response, None]:
        """A response for each event; each costs what the operation costs, which may be owed but is not refused."""
        context, clock = admitted.context, self._services.clock

        def renewed() -> Context:
            return replace(context, now=clock.now())

        responses = self.documents.subscribe(admitted.operation, admitted.variables, renewed)
        async with aclosing(responses):
            async for response in responses:
                self._services.buckets.debit(admitted.account.key, admitted.account.allowance, cost=admitted.cost)
                response.body["extensions"] = {"cost": admitted.cost}
                yield response

    def account_of(self, caller: Caller, address: str | None) -> Account:
        """The bucket of a caller: members, partners and staff have their own, an address one for all anonymous ones."""
        match caller:
            case MemberCaller():
                return Account(key=caller.actor, allowance=MEMBER_ALLOWANCE)
            case PartnerCaller():
                own = self._services.tokens.allowance_of(caller.client_id)
                return Account(key=caller.actor, allowance=own or PARTNER_ALLOWANCE)
            case StaffCaller():
                return Account(key=caller.actor, allowance=STAFF_ALLOWANCE)
            case Anonymous():
                # Addresses are personal data and are stored nowhere.
                site = hmac.digest(self._address_key, site_of(address).encode(), "sha256").hex()[:32]
                allowance = SANDBOX_ALLOWANCE if self._services.settings.sandbox else ANONYMOUS_ALLOWANCE
                return Account(key=f"{caller.actor}:{site}", allowance=allowance)

    async def _admit(
        self, parameters: Parameters, context: Context, *, account: Account, kinds: frozenset[OperationType]
    ) -> Admitted:
        asked = await self._persisted.find(parameters.query, parameters.extensions, context.caller)
        is_new = not self.documents.is_kept(asked.text)
        if is_new:
            await self._charge(account, 0)
        document = self.documents.prepare(asked.text)
        operation = self.documents.select(document, parameters.operation_name)
        if operation.kind not in kinds:
            raise KindRefused(operation.kind)
        self.documents.admit(operation, context.caller)
        cost = self.documents.cost(operation, parameters.variables)
        COST.observe(cost)
        await self._charge(account, cost)
        beside = NEW_DOCUMENT_COST * is_new + KEEP_COST * asked.is_new
        if beside:
            self._services.buckets.debit(account.key, account.allowance, cost=beside)
        if asked.is_new:
            await self._persisted.keep(asked.text)
        return Admitted(
            operation=operation,
            variables=parameters.variables,
            context=context,
            account=account,
            cost=cost,
            is_persisted=asked.is_persisted,
        )

    async def _charge(self, account: Account, cost: int) -> None:
        seconds = await self._services.buckets.charge(account.key, account.allowance, cost=cost)
        if seconds:
            error = ExposedError(
                f"You have used up your allowance for now. Try again in {seconds} s.",
                code=RATE_LIMITED,
                details={"retryable": True, "retryAfterSeconds": seconds, "cost": cost},
            )
            raise RequestError([error], code=RATE_LIMITED, retry_after=seconds)


class KindRefused(Exception):  # noqa: N818 -- says what happens
    """The transport, or its method, does not take operations of this kind."""

    def __init__(self, kind: OperationType) -> None:
        self.kind = kind
        super().__init__(kind.value)


def site_of(address: str | None) -> str:
    """What stands for one customer of the network: an IPv4 address, or the first 64 bits of an IPv6 one."""
    try:
        parsed = ip_address(address or "")
    except ValueError:
        return "unknown"
    if parsed.version == 6:  # noqa: PLR2004 -- the version of the protocol
        return str(parsed.ipv4_mapped or ip_network((int(parsed), _IPV6_SITE), strict=False))
    return str(parsed)
