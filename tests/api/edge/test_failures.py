"""What fails outside of GraphQL: an outage may be tried again, and a bug is masked."""

from typing import Any, Final

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from structlog.testing import capture_logs

from api.edge.failures import MaskedFailures
from domain.store.deadline import within
from tests.api.conftest import Edge
from tests.api.shop import opened_client

AWAY: Final = {"error": "temporarily_unavailable", "error_description": "Try again in a moment."}
NO_TIME: Final = 0.000_001


@pytest.mark.parametrize(
    ("method", "path", "form"),
    [
        ("POST", "/oauth/token", {"grant_type": "client_credentials", "client_id": "pa_x", "client_secret": "x"}),
        ("POST", "/oauth/introspect", {"token": "x", "client_id": "pa_x", "client_secret": "x"}),
        ("POST", "/oauth/revoke", {"token": "x", "client_id": "pa_x", "client_secret": "x"}),
        ("GET", "/.well-known/jwks.json", None),
        ("POST", "/webhooks/stripe", {"id": "evt_1"}),
    ],
)
async def test_a_database_that_is_away_is_a_503_to_be_tried_again(
    edge: Edge, method: str, path: str, form: dict[str, Any] | None
) -> None:
    with within(NO_TIME), capture_logs() as logs:
        answered = await edge.client.request(method, path, data=form, headers={"X-Request-Id": "request-1"})
    afterwards = await edge.client.request(method, path, data=form)

    assert (answered.status_code, answered.json()) == (503, AWAY)
    assert (answered.headers["retry-after"], answered.headers["cache-control"]) == ("1", "no-store")
    assert [log["request_id"] for log in logs] == [answered.headers["x-request-id"]] == ["request-1"]
    assert afterwards.status_code < 500


async def test_a_bug_is_told_by_the_request_id_alone() -> None:
    async def broken(request: Request) -> Response:
        raise KeyError(request.query_params["code"])

    app = Starlette(routes=[Route("/", broken)], middleware=[Middleware(MaskedFailures)])

    with capture_logs() as logs:
        async with opened_client(app) as client:
            answered = await client.get("/", params={"code": "secret-of-mine"})

    assert answered.status_code == 500
    assert answered.json()["error"] == "server_error"
    assert logs[0]["request_id"] == answered.headers["x-request-id"]
    assert logs[0]["kinds"] == ["builtins.KeyError"]
    assert "secret-of-mine" not in f"{answered.text} {logs}"
