"""A small application over real services: the edge without the nouns."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Optional

import httpx
import pytest
import strawberry
from starlette.applications import Starlette
from strawberry.schema.config import StrawberryConfig

from api.context import Info, Services, require_partner
from api.edge.app import build_app
from api.edge.errors import Unavailable
from api.pages import window
from api.problems import InvalidInput, NotFound, problem_type
from api.scalars import JSON, SCALARS, Currency, Decimal, IdempotencyKey, Long
from domain.problems import NotFound as NotFoundProblem
from domain.settings import Settings
from domain.store.clock import SandboxClock
from domain.store.connection import Store
from tests.api.post import opened_post
from tests.api.shop import Shop, opened_client, opened_services, shop
from tests.notifications.conftest import phones, running_phones
from tests.notifications.phones import Phones

__all__ = ["phones", "running_phones", "shop"]


@strawberry.input
class MoneyInput:
    amount: Decimal
    currency: Currency


@strawberry.input(one_of=True)
class MemberLookup:
    id: strawberry.ID | None = strawberry.UNSET
    code: str | None = strawberry.UNSET


@strawberry.enum
class Pocket(StrEnum):
    PREPAID = "PREPAID"
    CASHBACK = "CASHBACK"


@strawberry.input
class LineInput:
    sku: str
    quantity: int = 1


@strawberry.input
class PurchaseInput:
    member: MemberLookup
    receipt: str
    total: MoneyInput
    occurred_at: datetime | None = strawberry.UNSET
    quantity: Long | None = strawberry.UNSET
    attributes: JSON | None = strawberry.UNSET
    lines: list[LineInput] | None = strawberry.UNSET
    tender: list[Pocket] | None = strawberry.UNSET
    idempotency_key: IdempotencyKey


@strawberry.type
class Money:
    amount: Decimal
    currency: Currency


@strawberry.type
class Wallet:
    version: Long
    balance: Money


@strawberry.type
class Member:
    id: strawberry.ID
    joined_at: datetime
    wallet: Wallet
    segments: list[strawberry.ID]


@strawberry.type
class PurchaseRecorded:
    member: Member
    replayed: bool


RecordPurchaseResult = Annotated[PurchaseRecorded | NotFound | InvalidInput, strawberry.union("RecordPurchaseResult")]


@strawberry.type
class Programme:
    name: str
    locale: str | None
    again: Optional["Programme"] = None


@dataclass
class Done:
    """What resolvers did, so that a test can say that nothing was."""

    recorded: list[str]
    inputs: list[PurchaseInput]


DONE = Done(recorded=[], inputs=[])


def a_member(now: datetime) -> Member:
    money = Money(amount=Decimal("12.50"), currency=Currency("EUR"))
    return Member(id=strawberry.ID("m1"), joined_at=now, wallet=Wallet(version=Long(7), balance=money), segments=[])


@strawberry.type
class Query:
    @strawberry.field
    async def me(self, info: Info) -> Member:
        return a_member(info.context.now)

    @strawberry.field
    def programme(self, info: Info) -> Programme:
        return Programme(name="Café", locale=info.context.locale)

    @strawberry.field
    async def member(self, info: Info, by: MemberLookup) -> Member | None:
        del by
        return a_member(info.context.now)

    @strawberry.field
    def places(self, first: int = 19, after: str | None = None) -> int:
        return window("places", first, after, by=(str,)).first

    @strawberry.field
    def voucher(self, code: str) -> str:
        if code == "away":
            raise Unavailable
        raise KeyError(code)


@strawberry.type
class Mutation:
    @strawberry.mutation
    async def record_purchase(self, info: Info, input: PurchaseInput) -> RecordPurchaseResult:  # noqa: A002
        require_partner(info)
        DONE.recorded.append(input.receipt)
        DONE.inputs.append(input)
        if input.member.code == "unknown":
            return problem_type(NotFoundProblem(message="No such member.", what="member"))  # type: ignore[return-value]
        return PurchaseRecorded(member=a_member(info.context.now), replayed=False)

    @strawberry.mutation
    async def adjust_balance(self) -> bool:
        DONE.recorded.append("adjusted")
        return True


def a_schema() -> strawberry.Schema:
    return strawberry.Schema(query=Query, mutation=Mutation, config=StrawberryConfig(scalar_map=SCALARS))


@dataclass(frozen=True, kw_only=True)
class Edge:
    """The application, its services, and a client that speaks HTTP to it."""

    app: Starlette
    services: Services
    client: httpx.AsyncClient
    clock: SandboxClock

    async def ask(
        self,
        query: str,
        variables: dict[str, Any] | None = None,
        *,
        token: str | None = None,
        accept: str = "application/json",
        headers: dict[str, str] | None = None,
    ) -> httpx.Response:
        authorization = {} if token is None else {"Authorization": f"Bearer {token}"}
        return await self.client.post(
            "/graphql",
            json={"query": query, "variables": variables},
            headers={"Accept": accept, **authorization, **(headers or {})},
        )

    async def partner_token(self, *scopes: str) -> str:
        """A token of a partner that exists."""
        await self.services.store.partners.update_one({"_id": "pa_till"}, {"$set": {"disabled": False}}, upsert=True)
        issued = await self.services.tokens.issue_partner_token("pa_till", scopes, self.services.clock.now())
        return issued.text

    async def member_token(self) -> str:
        return (await self.services.tokens.issue_member_token("m1", self.services.clock.now())).text

    async def pass_time(self, length: timedelta) -> None:
        await self.clock.move_to(self.clock.now() + length)


@pytest.fixture
async def edge(store: Store, settings: Settings) -> AsyncIterator[Edge]:
    """The application in a sandbox whose clock stands at START and may be moved."""
    async with opened_services(store, settings) as (services, clock):
        app = build_app(services, a_schema())
        DONE.recorded.clear()
        DONE.inputs.clear()
        async with opened_client(app) as client:
            yield Edge(app=app, services=services, client=client, clock=clock)


@pytest.fixture
async def post(store: Store, settings: Settings, phones: Phones) -> AsyncIterator[Shop]:
    """A shop whose pushes go to those phones."""
    async with opened_post(store, settings, phones) as shop:
        yield shop


def codes(response: httpx.Response) -> list[str]:
    """The codes of a response's errors."""
    return [error["extensions"]["code"] for error in response.json()["errors"]]
