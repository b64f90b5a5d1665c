"""The promises of /graphql over HTTP: statuses, media types, refusals, and that nothing happens on a refusal."""

import asyncio
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import cast

import httpx
import orjson
import pytest
import strawberry
import uvicorn
from structlog.testing import capture_logs

from api.edge.limits import MAX_BODY_BYTES
from api.scalars import JSON, Currency, Decimal, IdempotencyKey, Long
from tests.api.conftest import (
    DONE,
    Edge,
    LineInput,
    MemberLookup,
    MoneyInput,
    Pocket,
    PurchaseInput,
    codes,
)

GRAPHQL = "application/graphql-response+json"
RECORD = """
mutation Record($input: PurchaseInput!) {
  recordPurchase(input: $input) {
    __typename
    ... on PurchaseRecorded { replayed member { id joinedAt } }
    ... on Problem { code message }
  }
}
"""
PURCHASE = {
    "member": {"id": "m1"},
    "receipt": "R-1",
    "total": {"amount": "12.50", "currency": "EUR"},
    "idempotencyKey": "key-0001",
}


@pytest.mark.parametrize("accept", ["*/*", "application/json", "application/*;q=0.5", ""])
async def test_json_is_answered_unless_the_client_asks_for_more(edge: Edge, accept: str) -> None:
    response = await edge.ask("{ programme { name } }", accept=accept)

    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json; charset=utf-8"
    assert response.json()["data"] == {"programme": {"name": "Café"}}


async def test_the_response_type_of_graphql_is_answered_where_it_is_liked_as_well(edge: Edge) -> None:
    response = await edge.ask("{ programme { name } }", accept=f"application/json, {GRAPHQL}")

    assert response.headers["content-type"] == f"{GRAPHQL}; charset=utf-8"


async def test_a_client_that_accepts_neither_is_told_what_there_is(edge: Edge) -> None:
    response = await edge.ask("{ programme { name } }", accept="text/plain")

    assert response.status_code == 406
    assert codes(response) == ["NOT_ACCEPTABLE"]


@pytest.mark.parametrize(
    ("query", "code", "status"),
    [
        ("{", "GRAPHQL_PARSE_FAILED", 400),
        ("{ nothing }", "GRAPHQL_VALIDATION_FAILED", 400),
        ("query A { programme { name } } query B { programme { name } }", "OPERATION_RESOLUTION_FAILURE", 400),
        ("{ me { id } }", "UNAUTHENTICATED", 401),
    ],
)
async def test_a_request_that_is_not_executed_says_so_by_its_status(
    edge: Edge, query: str, code: str, status: int
) -> None:
    strict = await edge.ask(query, accept=GRAPHQL)
    lenient = await edge.ask(query, accept="application/json")

    assert (strict.status_code, lenient.status_code) == (status, 200)
    assert codes(strict) == codes(lenient) == [code]
    assert "data" not in strict.json()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nothing",
        b'"text"',
        b"[]",
        b'[{"query": "{ programme { name } }"}]',
        b"{}",
        b'{"query": 7}',
        b'{"query": ""}',
        b'{"query": "{ programme { name } }", "variables": "{}"}',
        b'{"query": "{ programme { name } }", "variables": []}',
        b'{"query": "{ programme { name } }", "operationName": 7}',
        b'{"query": "{ programme { name } }", "extensions": 7}',
        b'{"query": "{ programme { name } } \xff"}',
    ],
)
async def test_a_malformed_request_is_400_whatever_is_accepted(edge: Edge, body: bytes) -> None:
    for accept in ("application/json", GRAPHQL):
        response = await edge.client.post(
            "/graphql", content=body, headers={"Content-Type": "application/json", "Accept": accept}
        )

        assert response.status_code == 400
        assert codes(response) == ["BAD_REQUEST"]


async def test_nulls_are_as_good_as_left_out(edge: Edge) -> None:
    response = await edge.client.post(
        "/graphql",
        json={
            "query": "{ programme { name } }",
            "variables": None,
            "operationName": None,
            "extensions": None,
        },
    )

    assert response.json()["data"] == {"programme": {"name": "Café"}}


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/json; charset=latin-1", ""],
)
async def test_a_content_type_that_a_browser_sends_for_any_page_is_refused(edge: Edge, content_type: str) -> None:
    response = await edge.client.post(
        "/graphql", content=b'{"query": "{ programme { name } }"}', headers={"Content-Type": content_type}
    )

    assert response.status_code == 415
    assert codes(response) == ["UNSUPPORTED_MEDIA_TYPE"]


async def test_queries_go_by_get_with_variables(edge: Edge) -> None:
    response = await edge.client.get(
        "/graphql", params={"query": "query($n: Int!) { places(first: $n) }", "variables": '{"n": 3}'}
    )

    assert response.json()["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"

    token = await edge.member_token()
    response = await edge.client.get(
        "/graphql",
        params={"query": "query($n: Int!) { places(first: $n) }", "variables": '{"n": 3}'},
        headers={"Authorization": f"Bearer {token}"},
    )

    assert response.json()["data"] == {"places": 3}


async def test_a_mutation_by_get_is_405_and_does_nothing(edge: Edge) -> None:
    token = await edge.partner_token("activity:write")

    response = await edge.client.get(
        "/graphql",
        params={"query": RECORD, "variables": orjson.dumps({"input": PURCHASE}).decode()},
        headers={"Authorization": f"Bearer {token}"},
    )

    assert response.status_code == 405
    assert response.headers["allow"] == "POST"
    assert DONE.recorded == []


async def test_a_query_by_get_for_another_sites_page_is_refused(edge: Edge) -> None:
    response = await edge.client.get(
        "/graphql",
        params={"query": "{ programme { name } }"},
        headers={"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Site": "cross-site"},
    )

    assert response.status_code == 403


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "HEAD"])
async def test_other_methods_are_405(edge: Edge, method: str) -> None:
    response = await edge.client.request(method, "/graphql")

    assert response.status_code == 405
    assert response.headers["allow"] == "GET, POST"


async def test_a_browser_in_a_sandbox_gets_a_page_that_loads_nothing_from_elsewhere(edge: Edge) -> None:
    response = await edge.client.get("/graphql", headers={"Accept": "text/html,*/*;q=0.8"})

    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert "https://" not in response.text
    assert "http://" not in response.text


async def test_a_body_of_64_kib_is_read_and_one_byte_more_is_not(edge: Edge) -> None:
    query = b'{"query": "{ programme { name } }"'
    fitting = query + b" " * (MAX_BODY_BYTES - len(query) - 1) + b"}"

    taken = await edge.client.post("/graphql", content=fitting, headers={"Content-Type": "application/json"})
    refused = await edge.client.post("/graphql", content=fitting + b" ", headers={"Content-Type": "application/json"})

    assert taken.status_code == 200
    assert refused.status_code == 413
    assert codes(refused) == ["BODY_TOO_LARGE"]


async def test_a_body_of_unknown_length_is_read_no_further_than_allowed(edge: Edge) -> None:
    sent = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(1_000):
            sent += 8_192
            yield b" " * 8_192

    response = await edge.client.post("/graphql", content=chunks(), headers={"Content-Type": "application/json"})

    assert response.status_code == 413


async def test_a_mebibyte_is_refused_over_a_real_connection_and_the_next_request_is_served(edge: Edge) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(edge.app, port=port, log_level="error", lifespan="off"))
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 -- uvicorn offers nothing to wait for
        await asyncio.sleep(0.01)
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            large = await client.post("/graphql", content=b" " * 2**20, headers={"Content-Type": "application/json"})
            small = await client.post("/graphql", json={"query": "{ programme { name } }"})
    finally:
        server.should_exit = True
        await serving

    assert large.status_code == 413
    assert codes(large) == ["BODY_TOO_LARGE"]
    assert small.json()["data"] == {"programme": {"name": "Café"}}


async def test_every_response_names_its_request(edge: Edge) -> None:
    given = await edge.ask("{ me { id } }", headers={"X-Request-Id": "till-7-000123"})
    made = await edge.ask("{ me { id } }", headers={"X-Request-Id": "no good"})

    assert given.headers["x-request-id"] == "till-7-000123"
    assert given.json()["errors"][0]["extensions"]["requestId"] == "till-7-000123"
    assert len(made.headers["x-request-id"]) == 32


async def test_an_unexpected_failure_is_masked_and_logged_without_what_the_member_sent(edge: Edge) -> None:
    token = await edge.partner_token("vouchers:use")

    with capture_logs() as logs:
        response = await edge.ask(
            "query($code: String!) { voucher(code: $code) }", {"code": "secret-of-mine"}, token=token
        )

    error = response.json()["errors"][0]
    assert error["message"] == "Something went wrong on our side. Quote the request id."
    assert error["extensions"] == {"code": "INTERNAL", "requestId": response.headers["x-request-id"]}
    assert logs[0]["request_id"] == response.headers["x-request-id"]
    assert logs[0]["kinds"] == ["builtins.KeyError"]
    assert "in voucher" in logs[0]["traceback"]
    assert "secret-of-mine" not in str(logs)


async def test_what_passes_by_itself_says_that_it_may_be_tried_again(edge: Edge) -> None:
    token = await edge.partner_token("vouchers:use")

    response = await edge.ask('{ voucher(code: "away") }', token=token)

    assert codes(response) == ["UNAVAILABLE"]
    assert response.json()["errors"][0]["extensions"]["retryable"] is True


async def test_a_missing_scope_is_named_and_nothing_of_the_operation_is_done(edge: Edge) -> None:
    token = await edge.partner_token("activity:write")

    response = await edge.ask(
        "mutation($input: PurchaseInput!) { recordPurchase(input: $input) { __typename } adjustBalance }",
        {"input": PURCHASE},
        token=token,
        accept=GRAPHQL,
    )

    assert response.status_code == 403
    assert codes(response) == ["FORBIDDEN"]
    assert response.json()["errors"][0]["extensions"]["scope"] == "staff:adjust"
    missing = 'error="insufficient_scope", scope="staff:adjust"'
    assert response.headers["www-authenticate"] == f'Bearer realm="wallet", {missing}'
    assert DONE.recorded == []


async def test_all_scopes_that_are_missing_are_named_at_once_and_a_token_of_another_kind_is_asked_for_none(
    edge: Edge,
) -> None:
    token = await edge.partner_token("members:read")
    query = RECORD.replace("member { id joinedAt }", "member { wallet { version } }")

    two = await edge.ask(query, {"input": PURCHASE}, token=token)
    another = await edge.ask("{ me { id } }", token=token)

    assert two.headers["www-authenticate"].endswith('error="insufficient_scope", scope="activity:write wallet:read"')
    assert codes(another) == ["FORBIDDEN"]
    assert "www-authenticate" not in another.headers


async def test_a_field_of_an_object_needs_its_own_scope(edge: Edge) -> None:
    token = await edge.partner_token("activity:write")
    query = RECORD.replace("member { id joinedAt }", "member { ...M }") + "fragment M on Member { wallet { version } }"

    refused = await edge.ask(query, {"input": PURCHASE}, token=token)
    token = await edge.partner_token("activity:write", "wallet:read")
    allowed = await edge.ask(query, {"input": PURCHASE}, token=token)

    assert refused.json()["errors"][0]["extensions"]["scope"] == "wallet:read"
    assert allowed.json()["data"]["recordPurchase"]["member"]["wallet"]["version"] == 7
    assert DONE.recorded == ["R-1"]


async def test_a_field_that_is_left_out_by_condition_needs_no_scope_and_is_guarded_when_it_is_not(
    edge: Edge,
) -> None:
    token = await edge.partner_token("members:read")
    query = 'query($w: Boolean!) { member(by: {id: "m1"}) { id wallet @include(if: $w) { version } } }'

    without = await edge.ask(query, {"w": False}, token=token)
    withit = await edge.ask(query, {"w": True}, token=token)

    assert without.json()["data"] == {"member": {"id": "m1"}}
    assert codes(withit) == ["FORBIDDEN"]


async def test_a_token_of_the_wrong_kind_is_told_which_kind_it_takes(edge: Edge) -> None:
    token = await edge.partner_token("members:read")

    response = await edge.ask("{ me { id } }", token=token)

    assert codes(response) == ["FORBIDDEN"]
    assert "a member's own session" in response.json()["errors"][0]["message"]


async def test_a_mutation_answers_with_its_result_or_a_problem(edge: Edge) -> None:
    token = await edge.partner_token("activity:write")

    done = await edge.ask(RECORD, {"input": PURCHASE}, token=token)
    unknown = await edge.ask(RECORD, {"input": PURCHASE | {"member": {"code": "unknown"}}}, token=token)

    assert done.json()["data"]["recordPurchase"] == {
        "__typename": "PurchaseRecorded",
        "replayed": False,
        "member": {"id": "m1", "joinedAt": done.json()["data"]["recordPurchase"]["member"]["joinedAt"]},
    }
    assert unknown.json()["data"]["recordPurchase"] == {
        "__typename": "NotFound",
        "code": "NOT_FOUND",
        "message": "No such member.",
    }


@pytest.mark.parametrize(
    ("change", "path", "told"),
    [
        ({"total": {"amount": 12.5, "currency": "EUR"}}, "input.total.amount", "Send the amount as a string"),
        ({"total": {"amount": "1e3", "currency": "EUR"}}, "input.total.amount", "not a plain decimal"),
        ({"total": {"amount": "12.50", "currency": "EURO"}}, "input.total.currency", "ISO 4217"),
        ({"occurredAt": "2026-07-06 08:30"}, "input.occurredAt", "2026-11-22T"),
        ({"occurredAt": "2026-02-30T08:30:00Z"}, "input.occurredAt", "instant"),
        ({"quantity": 1.0}, "input.quantity", "whole number"),
        ({"quantity": True}, "input.quantity", "whole number"),
        ({"quantity": 2**53}, "input.quantity", "2^53"),
        ({"idempotencyKey": "short"}, "input.idempotencyKey", "8 to 128"),
        ({"idempotencyKey": "k" * 129}, "input.idempotencyKey", "8 to 128"),
        ({"idempotencyKey": "schlüssel"}, "input.idempotencyKey", "printable ASCII"),
        ({"receipt": None}, "input.receipt", "null"),
        ({"member": {"id": "m1", "code": "c"}}, "input.member", "one"),
        ({"member": {}}, "input.member", "one"),
        ({"unknown": 1}, "input.unknown", "unknown"),
    ],
)
async def test_an_input_that_cannot_be_taken_is_named_by_its_path(
    edge: Edge, change: dict[str, object], path: str, told: str
) -> None:
    token = await edge.partner_token("activity:write")

    response = await edge.ask(RECORD, {"input": PURCHASE | change}, token=token, accept=GRAPHQL)

    assert response.status_code == 400
    assert codes(response) == ["BAD_USER_INPUT"]
    error = response.json()["errors"][0]
    assert error["extensions"]["path"] == path
    assert told in error["message"]
    assert DONE.recorded == []


async def test_an_input_comes_as_python_values_from_variables_and_from_literals(edge: Edge) -> None:
    token = await edge.partner_token("activity:write")
    literal = """mutation { recordPurchase(input: {member: {id: "m1"}, receipt: "R-1", idempotencyKey: "key-0001",
      total: {amount: "12.50", currency: "EUR"}, occurredAt: "2026-07-06T10:00:00.1239+02:00",
      quantity: 9007199254740991, attributes: {a: [1]}, lines: [{sku: "A"}, {sku: "B", quantity: 2}],
      tender: [CASHBACK, PREPAID]}) { __typename } }"""
    changes = {
        "occurredAt": "2026-07-06T10:00:00.1239+02:00",
        "quantity": 2**53 - 1,
        "attributes": {"a": [1]},
        "lines": [{"sku": "A"}, {"sku": "B", "quantity": 2}],
        "tender": ["CASHBACK", "PREPAID"],
    }

    await edge.ask(RECORD, {"input": PURCHASE | changes}, token=token)
    await edge.ask(literal, token=token)

    expected = PurchaseInput(
        member=MemberLookup(id=strawberry.ID("m1")),
        receipt="R-1",
        total=MoneyInput(amount=Decimal("12.5"), currency=Currency("EUR")),
        occurred_at=datetime(2026, 7, 6, 8, 0, 0, 123_000, tzinfo=UTC),
        quantity=Long(2**53 - 1),
        attributes=cast("JSON", {"a": [1]}),
        lines=[LineInput(sku="A"), LineInput(sku="B", quantity=2)],
        tender=[Pocket.CASHBACK, Pocket.PREPAID],
        idempotency_key=IdempotencyKey("key-0001"),
    )
    assert DONE.inputs == [expected, expected]
    assert [type(each) for each in DONE.inputs[0].tender or []] == [Pocket, Pocket]
    assert expected.member.code is strawberry.UNSET


async def test_a_literal_that_cannot_be_taken_is_told_the_same_way(edge: Edge) -> None:
    token = await edge.partner_token("activity:write")
    query = """mutation { recordPurchase(input: {member: {id: "m1"}, receipt: "R-1", idempotencyKey: "short",
      total: {amount: 12.5, currency: "EUR"}}) { __typename } }"""

    response = await edge.ask(query, token=token, accept=GRAPHQL)

    assert response.status_code == 400
    assert codes(response) == ["BAD_USER_INPUT", "BAD_USER_INPUT"]
    assert DONE.recorded == []


async def test_both_members_in_one_lookup_are_refused_as_a_literal_too(edge: Edge) -> None:
    token = await edge.partner_token("members:read")

    response = await edge.ask('{ member(by: {id: "m1", code: "c"}) { id } }', token=token, accept=GRAPHQL)

    assert response.status_code == 400


async def test_a_null_where_nothing_may_be_null_is_the_callers_mistake(edge: Edge) -> None:
    token = await edge.member_token()

    response = await edge.ask("query($n: Int = 3) { places(first: $n) }", {"n": None}, token=token)

    assert codes(response) == ["BAD_USER_INPUT"]


@pytest.mark.parametrize("after", ["nonsense", "bm9uc2Vuc2U", "WyJvdGhlciIsMV0", "x" * 600, "WyJwbGFjZXMiLDFd!"])
async def test_a_cursor_that_is_damaged_or_foreign_is_refused(edge: Edge, after: str) -> None:
    token = await edge.member_token()

    response = await edge.ask("query($a: String!) { places(after: $a) }", {"a": after}, token=token)

    assert codes(response) == ["BAD_USER_INPUT"]
    assert "cursor" in response.json()["errors"][0]["message"]


@pytest.mark.parametrize("first", [0, -1, 101])
async def test_a_page_has_1_to_100_items(edge: Edge, first: int) -> None:
    token = await edge.member_token()

    response = await edge.ask("query($n: Int!) { places(first: $n) }", {"n": first}, token=token)

    assert codes(response) == ["BAD_USER_INPUT"]


async def test_the_language_is_the_one_that_the_client_likes_best(edge: Edge) -> None:
    response = await edge.ask("{ programme { locale } }", headers={"Accept-Language": "en;q=0.4, sl-SI, <script>;q=2"})

    assert response.json()["data"] == {"programme": {"locale": "sl-SI"}}


async def test_the_process_tells_that_it_lives_and_is_ready(edge: Edge) -> None:
    live, ready, metrics = [await edge.client.get(path) for path in ("/live", "/ready", "/metrics")]

    assert live.json() == {"live": True}
    assert ready.json() == {"ready": True}
    assert "wallet_graphql_operations_total" in metrics.text
