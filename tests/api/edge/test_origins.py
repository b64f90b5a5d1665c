"""Which web pages' scripts may call the API: those of the origins that the operator named, and none by themselves."""

import dataclasses
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest

from domain.settings import Settings
from domain.store.connection import Store
from tests.api.shop import Shop, opened_shop

PAGE: Final = "https://app.example.com"
OTHER: Final = "https://other.example.com"
QUERY: Final = {"query": "{ programme { name } }"}
PREFLIGHT: Final = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type,apollo-require-preflight",
}
ALLOWED: Final = "access-control-allow-origin"


@pytest.fixture
async def open_to_a_page(store: Store, settings: Settings) -> AsyncIterator[Shop]:
    async with opened_shop(store, dataclasses.replace(settings, allowed_origins=(PAGE,))) as shop:
        yield shop


def of(origin: str, **headers: Any) -> dict[str, Any]:
    return {"Origin": origin, **headers}


async def test_no_page_of_another_site_is_let_in_unless_the_operator_says_so(shop: Shop) -> None:
    asked = await shop.http.options("/graphql", headers=of(PAGE, **PREFLIGHT))
    called = await shop.http.post("/graphql", json=QUERY, headers=of(PAGE))

    assert (asked.status_code, ALLOWED in asked.headers, ALLOWED in called.headers) == (405, False, False)


async def test_scripts_of_a_page_that_was_named_may_call_and_read_what_they_need(open_to_a_page: Shop) -> None:
    shop = open_to_a_page

    asked = await shop.http.options("/graphql", headers=of(PAGE, **PREFLIGHT))
    called = await shop.http.post("/graphql", json=QUERY, headers=of(PAGE))
    refused = await shop.http.post("/graphql", content=b"no", headers=of(PAGE))
    streamed = await shop.http.post("/graphql", json=QUERY, headers=of(PAGE, Accept="text/event-stream"))

    assert (asked.status_code, asked.headers[ALLOWED]) == (200, PAGE)
    assert asked.headers["access-control-allow-headers"] == PREFLIGHT["Access-Control-Request-Headers"]
    assert called.json()["data"] == {"programme": {"name": "Corner Club"}}
    assert [each.headers[ALLOWED] for each in (called, refused, streamed)] == [PAGE] * 3
    assert called.headers["access-control-expose-headers"] == "ETag, Retry-After, WWW-Authenticate, X-Request-Id"
    assert "access-control-allow-credentials" not in called.headers


async def test_every_other_page_is_left_out_and_no_cache_confuses_them(open_to_a_page: Shop) -> None:
    shop = open_to_a_page

    asked = await shop.http.options("/graphql", headers=of(OTHER, **PREFLIGHT))
    called = await shop.http.post("/graphql", json=QUERY, headers=of(OTHER))
    token = await shop.http.options("/oauth/token", headers=of(PAGE, **PREFLIGHT))
    without = await shop.http.post("/graphql", json=QUERY)

    assert [ALLOWED in each.headers for each in (asked, called, token, without)] == [False] * 4
    assert "Origin" in without.headers["vary"]
