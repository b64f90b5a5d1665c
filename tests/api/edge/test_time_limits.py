"""An operation has its time and each query what is left of it; the refused and the slow keep nobody else waiting."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from typing import Final

import pytest
import strawberry

import api.edge.http
import api.edge.operations
from api.context import Info
from api.edge.app import build_app
from benchmarks.refusals import TEXTS
from domain.settings import Settings
from domain.store.clock import SandboxClock
from domain.store.connection import Store
from tests.api.conftest import Edge, codes
from tests.api.shop import Shop, data, opened_client, opened_services

SLOW: Final = {"$where": "for (let n = 0; n < 2000; n++) { sleep(10); }"}
STUCK: Final = asyncio.Event()


@strawberry.type
class Query:
    @strawberry.field
    async def programme(self) -> str:
        """Waits for what never comes, and asks the database for nothing."""
        await STUCK.wait()
        return "never"

    @strawberry.field
    async def places(self, info: Info) -> int:
        """Asks the database for what takes twenty seconds."""
        return len(await info.context.wallet.store.clock.find(SLOW).to_list())


@pytest.fixture
async def slow(store: Store, settings: Settings) -> AsyncIterator[Edge]:
    async with opened_services(store, settings) as (services, clock):
        app = build_app(services, strawberry.Schema(query=Query))
        async with opened_client(app) as client:
            yield Edge(app=app, services=services, client=client, clock=clock)


async def running_queries(store: Store) -> int:
    """How many of our slow queries the server works on."""
    told = await store.client.admin.command({"currentOp": 1, "command.find": "clock"})
    return len(told["inprog"])


async def test_an_operation_that_takes_too_long_is_given_up_and_may_be_sent_again(
    slow: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api.edge.operations, "OPERATION_SECONDS", 0.3)

    given_up = await slow.ask("{ programme }", accept="application/graphql-response+json")

    assert (given_up.status_code, codes(given_up)) == (503, ["UNAVAILABLE"])
    assert given_up.json()["errors"][0]["extensions"]["retryable"] is True
    assert int(given_up.headers["retry-after"]) >= 1


class StuckClock(SandboxClock):
    """The clock of a sandbox whose database does not answer."""

    async def refresh(self) -> None:
        await STUCK.wait()


async def test_a_database_that_does_not_even_tell_the_time_is_not_waited_for_any_longer(
    slow: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api.edge.http, "OPERATION_SECONDS", 0.3)
    stuck = dataclasses.replace(slow.services, clock=StuckClock(slow.services.store))

    async with opened_client(build_app(stuck, strawberry.Schema(query=Query))) as client:
        given_up = await client.post("/graphql", json={"query": "{ programme }"})

    assert (given_up.status_code, codes(given_up)) == (503, ["UNAVAILABLE"])
    assert int(given_up.headers["retry-after"]) >= 1


async def test_a_query_that_takes_too_long_is_ended_on_the_server_as_well(
    slow: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api.edge.operations, "QUERY_SECONDS", 0.3)

    given_up = await slow.ask("{ places }", token=await slow.member_token())

    assert codes(given_up) == ["UNAVAILABLE"]
    async with asyncio.timeout(60):
        while await running_queries(slow.services.store):  # noqa: ASYNC110 -- nothing to wait for
            await asyncio.sleep(0.02)


async def test_others_are_answered_while_monsters_are_refused(shop: Shop) -> None:
    member = await shop.enrol()
    token, attacker = await shop.member_token(member), await shop.member_token(await shop.enrol())
    refused: list[str] = []
    over = asyncio.Event()

    async def attack(text: str) -> None:
        while not over.is_set():
            await asyncio.sleep(0)
            body, headers = {"query": text}, {"Authorization": f"Bearer {attacker}"}
            answered = await shop.http.post("/graphql", json=body, headers=headers)
            refused.append(answered.json()["errors"][0]["extensions"]["code"])

    attacks = [asyncio.create_task(attack(text)) for text in TEXTS.values()]
    answers = [await shop.ask("{ me { id } }", token=token) for _ in range(20)]
    over.set()
    await asyncio.gather(*attacks)

    assert [data(each) for each in answers] == [{"me": {"id": member}}] * 20
    assert len(refused) > 2 * len(TEXTS)
    assert {"QUERY_TOO_COSTLY", "QUERY_TOO_DEEP", "BODY_TOO_LARGE", "RATE_LIMITED"} < set(refused)
