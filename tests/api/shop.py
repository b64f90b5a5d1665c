"""The whole API over a real database, and its three kinds of client: a till, a phone, and staff."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from api.auth.tokens import open_tokens
from api.context import Services
from api.edge.app import build_app
from api.schema import build_schema
from domain.ledger.commit import Ledger
from domain.partners.partner import create_partner
from domain.payments.opening import open_provider
from domain.programme.published import Programmes, ensure_first
from domain.settings import Settings
from domain.store.clock import SandboxClock
from domain.store.connection import Store

PROGRAMME = Path(__file__).parents[2] / "programme.yaml"
START = datetime(2026, 7, 6, 8, 30, tzinfo=UTC)
TILL_SCOPES = ("members:read", "members:enrol", "wallet:read", "activity:write")

RECORD = """
mutation Record($input: PurchaseInput!) {
  recordPurchase(input: $input) {
    __typename
    ... on PurchaseRecorded {
      replayed
      entry { id sequence points explanation { rule text points cashback { amount } } }
      member { id wallet { version points { available } cashback { available { amount } pending { amount } } } }
    }
    ... on Problem { code message }
    ... on InvalidInput { fields { path message } }
    ... on NotFound { what }
    ... on IdempotencyMismatch { differs }
    ... on DuplicateReceipt { firstEntry }
    ... on InsufficientBalance { asset available required }
  }
}
"""
ENROL = """
mutation Enrol($input: EnrolMemberInput!) {
  enrolMember(input: $input) {
    __typename
    ... on MemberEnrolled {
      isNew replayed
      member {
        id joinedAt
        profile { displayName email phone birthday locale timeZone }
        wallet { version points { available } }
      }
    }
    ... on Problem { code message }
    ... on InvalidInput { fields { path message } }
    ... on IdempotencyMismatch { differs }
  }
}
"""
ADJUST = """
mutation Adjust($input: AdjustInput!) {
  adjustBalance(input: $input) {
    __typename
    ... on BalanceAdjusted {
      replayed
      entry { id kind points money { pocket amount { amount } } explanation { text points } }
      member { wallet { points { available } prepaid { available { amount } } cashback { available { amount } } } }
    }
    ... on Problem { code message }
    ... on InvalidInput { fields { path } }
    ... on NotFound { what }
    ... on InsufficientBalance { asset available required }
    ... on IdempotencyMismatch { differs }
  }
}
"""
RETURN = """
mutation Return($input: ReturnInput!) {
  returnPurchase(input: $input) {
    __typename
    ... on PurchaseReturned {
      replayed
      entry { id kind points reverses receipt explanation { text points } }
      member { wallet { points { available owed } } }
    }
    ... on Problem { code message }
    ... on InvalidInput { fields { path } }
    ... on NotFound { what }
    ... on LimitReached { limit headroom }
    ... on WrongState { state }
    ... on IdempotencyMismatch { differs }
  }
}
"""

_numbers = count(1)


@dataclass(frozen=True, kw_only=True)
class Shop:
    """A sandbox with the example programme. Tokens are made for the clock's instant at each request."""

    app: Starlette
    services: Services
    http: httpx.AsyncClient
    clock: SandboxClock
    till_id: str
    other_till_id: str

    async def ask(
        self,
        query: str,
        variables: Mapping[str, Any] | None = None,
        *,
        token: str | None = None,
        language: str | None = None,
    ) -> dict[str, Any]:
        """The whole response's JSON."""
        headers = {} if language is None else {"Accept-Language": language}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        body = {"query": query, "variables": dict(variables or {})}
        response = await self.http.post("/graphql", json=body, headers=headers)
        answered: dict[str, Any] = response.json()
        return answered

    async def till(
        self, query: str, variables: Mapping[str, Any] | None = None, *, scopes: tuple[str, ...] = TILL_SCOPES
    ) -> dict[str, Any]:
        """The data of what the till asked."""
        return data(await self.ask(query, variables, token=await self.till_token(*scopes)))

    async def other_till(self, query: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The data of what another partner's till asked."""
        return data(await self.ask(query, variables, token=await self.till_token(client_id=self.other_till_id)))

    async def phone(
        self, member: str, query: str, variables: Mapping[str, Any] | None = None, *, language: str | None = None
    ) -> dict[str, Any]:
        """The data of what the member's phone asked."""
        return data(await self.ask(query, variables, token=await self.member_token(member), language=language))

    async def staff(
        self, query: str, variables: Mapping[str, Any] | None = None, *, scopes: tuple[str, ...] = ("staff:adjust",)
    ) -> dict[str, Any]:
        """The data of what staff asked."""
        return data(await self.ask(query, variables, token=await self.staff_token(*scopes)))

    async def till_token(self, *scopes: str, client_id: str | None = None) -> str:
        issued = await self.services.tokens.issue_partner_token(
            client_id or self.till_id, scopes or TILL_SCOPES, self.clock.now()
        )
        return issued.text

    async def member_token(self, member: str) -> str:
        return (await self.services.tokens.issue_member_token(member, self.clock.now())).text

    async def staff_token(self, *scopes: str) -> str:
        return (await self.services.tokens.issue_staff_token("ana", scopes, self.clock.now())).text

    async def enrol(self, reference: str | None = None, **profile: Any) -> str:
        """The id of a member whom the till enrolled now, with 100 points for joining."""
        wanted = {"reference": reference or f"ref-{next(_numbers)}", "profile": profile, "idempotencyKey": new_key()}
        enrolled = (await self.till(ENROL, {"input": wanted}))["enrolMember"]
        assert enrolled["__typename"] == "MemberEnrolled", enrolled
        member: str = enrolled["member"]["id"]
        return member

    async def record(self, purchase: Mapping[str, Any]) -> dict[str, Any]:
        """What recordPurchase answers to the till."""
        answered: dict[str, Any] = (await self.till(RECORD, {"input": purchase}))["recordPurchase"]
        return answered

    async def adjust(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """What adjustBalance answers to staff."""
        answered: dict[str, Any] = (await self.staff(ADJUST, {"input": wanted}))["adjustBalance"]
        return answered

    async def give_back(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """What returnPurchase answers to the till."""
        answered: dict[str, Any] = (await self.till(RETURN, {"input": wanted}))["returnPurchase"]
        return answered

    async def advance(self, to: str) -> dict[str, Any]:
        """What the sandbox's clock answers."""
        asked = await self.ask("mutation($to: DateTime!) { advanceClock(to: $to) { now done } }", {"to": to})
        answered: dict[str, Any] = data(asked)["advanceClock"]
        return answered

    async def posted(self) -> int:
        """How many documents the journal has, refusals and all."""
        return await self.services.store.journal.count_documents({})


def new_key() -> str:
    """An idempotency key that nobody used."""
    return f"key-{next(_numbers):08}"


def a_purchase(member: str, total: str = "10.00", /, **changes: Any) -> dict[str, Any]:
    """A receipt that can be taken, with its own number and key."""
    return {
        "member": {"id": member},
        "receipt": f"R-{next(_numbers)}",
        "total": {"amount": total, "currency": "USD"},
        "idempotencyKey": new_key(),
        **changes,
    }


def data(answered: Mapping[str, Any]) -> dict[str, Any]:
    """The data of a response without errors."""
    assert "errors" not in answered, answered["errors"]
    found: dict[str, Any] = answered["data"]
    return found


def codes(answered: Mapping[str, Any]) -> list[str]:
    """The codes of a response's errors."""
    return [error["extensions"]["code"] for error in answered["errors"]]


@pytest.fixture
async def shop(store: Store, settings: Settings) -> AsyncIterator[Shop]:
    """A sandbox whose clock stands at START, with two tills."""
    async with opened_shop(store, settings) as shop:
        yield shop


@asynccontextmanager
async def opened_services(store: Store, settings: Settings) -> AsyncIterator[tuple[Services, SandboxClock]]:
    """What the API holds open, with the example programme, in a sandbox whose clock stands at START.

    The payment provider is that of the settings: the sandbox's own, unless they name another.
    """
    clock = SandboxClock(store)
    await clock.start_at(START)
    await ensure_first(store, PROGRAMME.read_text(encoding="utf-8"), now=clock.now())
    programmes = await Programmes.open(store)
    ledger = Ledger(store, clock, programmes)
    services = Services(
        settings=settings,
        store=store,
        clock=clock,
        tokens=await open_tokens(store, settings, clock.now()),
        programmes=programmes,
        ledger=ledger,
        provider=open_provider(settings, store, clock),
    )
    yield services, clock
    await services.close()
    await ledger.close()
    if services.provider is not None:
        await services.provider.close()


@asynccontextmanager
async def opened_client(app: Starlette) -> AsyncIterator[httpx.AsyncClient]:
    """A client that speaks HTTP to the application, without a socket."""
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8000") as client:
        yield client


@asynccontextmanager
async def opened_shop(store: Store, settings: Settings) -> AsyncIterator[Shop]:
    """A shop with two tills."""
    async with opened_services(store, settings) as (services, clock):
        tills = [
            await create_partner(store, settings.secret, name=name, scopes=TILL_SCOPES, now=clock.now())
            for name in ("Till", "Another till")
        ]
        app = build_app(services, build_schema(sandbox=True))
        async with opened_client(app) as http:
            yield Shop(
                app=app,
                services=services,
                http=http,
                clock=clock,
                till_id=tills[0][0].client_id,
                other_till_id=tills[1][0].client_id,
            )
