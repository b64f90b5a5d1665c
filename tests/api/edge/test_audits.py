"""The 61 audits of npm's graphql-http 1.23, by their ids: what GraphQL over HTTP says of a server."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
import orjson
import pytest

from api.edge.app import build_app
from domain.settings import Settings
from domain.store.connection import Store
from tests.api.conftest import Edge, a_schema
from tests.api.shop import opened_client, opened_services

GRAPHQL: Final = "application/graphql-response+json"
JSON: Final = "application/json"
TYPE: Final = "query Type($name: String!) { __type(name: $name) { name } }"
NO_SUCH_FIELD: Final = "{ 8f31403dfe404bccbb0e835f2629c6a7 }"
COERCION: Final = "query CoerceFailure($id: ID!){ __typename }"
WRONG_TEXTS: Final = ({"obj": "ect"}, 0, False, ["array"])
WRONG_MAPS: Final = ("string", 0, False, ["array"])


@dataclass(frozen=True, kw_only=True)
class Audit:
    """A request, and what its response must be. A parameter in `body` that is bytes is the body as it stands."""

    body: Mapping[str, Any] | bytes | None = None
    get: Mapping[str, str] | None = None
    accept: str | None = None
    content_type: str | None = JSON
    statuses: tuple[range, ...] = (range(200, 201),)
    answers: str | None = None
    without: tuple[str, ...] = field(default=())


def post(body: Mapping[str, Any] | bytes | None, accept: str | None = None, /, **expected: Any) -> Audit:
    return Audit(body=body, accept=accept, **expected)


def status(number: int) -> tuple[range, ...]:
    return (range(number, number + 1),)


CLIENT_ERROR: Final = (range(400, 500),)
ERROR: Final = (range(400, 600),)
ANY: Final = (range(200, 300), range(400, 500), range(500, 600))
TYPENAME: Final = {"query": "{ __typename }"}

AUDITS: Final[dict[str, Audit]] = {
    "22EB": post(TYPENAME, GRAPHQL, answers=GRAPHQL),
    "4655": post(TYPENAME, JSON, answers=JSON),
    "47DE": post(TYPENAME, "*/*", answers=JSON),
    "80D8": post(TYPENAME, answers=JSON),
    "82A3": post(TYPENAME),
    "BF61": post({"query": '{ __type(name: "Run🏃Swim🏊") { name } }'}, content_type=f"{JSON}; charset=utf-8"),
    "78D5": post(TYPENAME),
    "2C94": post(TYPENAME),
    "5A70": Audit(get=TYPENAME),
    "9C48": Audit(get={"query": "mutation { __typename }"}, accept=GRAPHQL, statuses=CLIENT_ERROR),
    "9ABE": post(TYPENAME, content_type=None, statuses=CLIENT_ERROR),
    "03D4": post(TYPENAME),
    "A5BF": post(None, statuses=status(400)),
    "423L": post({"notquery": "{ __typename }"}, GRAPHQL, statuses=status(400)),
    **{f"LKJ{n}": post({"query": wrong}, statuses=status(400)) for n, wrong in enumerate(WRONG_TEXTS)},
    "34A2": post(TYPENAME, GRAPHQL),
    "13EE": post(TYPENAME, JSON, without=("errors",)),
    **{
        f"6C0{n}": post({"operationName": wrong, **TYPENAME}, statuses=status(400))
        for n, wrong in enumerate(WRONG_TEXTS)
    },
    "8161": post({"operationName": "Query", "query": "query Query { __typename }"}, GRAPHQL),
    "B8B3": post({"operationName": "Query", "query": "query Query { __typename }"}, JSON, without=("errors",)),
    **{
        f"94B{n}": post({**TYPENAME, name: None}, GRAPHQL, without=("errors",))
        for n, name in enumerate(("variables", "operationName", "extensions"))
    },
    **{
        f"022{n}": post({**TYPENAME, name: None}, JSON, without=("errors",))
        for n, name in enumerate(("variables", "operationName", "extensions"))
    },
    **{f"476{n}": post({**TYPENAME, "variables": wrong}, statuses=status(400)) for n, wrong in enumerate(WRONG_MAPS)},
    "2EA1": post({"query": TYPE, "variables": {"name": "sometype"}}, GRAPHQL),
    "28B9": post({"query": TYPE, "variables": {"name": "sometype"}}, JSON, without=("errors",)),
    "D6D5": Audit(get={"query": TYPE, "variables": '{"name":"sometype"}'}, accept=GRAPHQL, without=("errors",)),
    "6A70": Audit(get={"query": TYPE, "variables": '{"name":"sometype"}'}, accept=JSON, without=("errors",)),
    **{f"58B{n}": post({**TYPENAME, "extensions": wrong}, statuses=status(400)) for n, wrong in enumerate(WRONG_MAPS)},
    "428F": post({**TYPENAME, "extensions": {"some": "value"}}, GRAPHQL),
    "1B7A": post({**TYPENAME, "extensions": {"some": "value"}}, JSON, without=("errors",)),
    "B6DC": post(b'{ "not a JSON', JSON, statuses=ANY),
    "BCF8": post(b'{ "not a JSON', JSON, statuses=status(400)),
    "B7N8": post(b'{ "not a JSON', GRAPHQL, statuses=status(400)),
    "8764": post({"qeury": "{ __typename }"}, statuses=ERROR),
    "3E3A": post({"qeury": "{ __typename }"}, statuses=status(400)),
    "572B": post({"query": "{"}, JSON),
    "FDE2": post({"query": NO_SUCH_FIELD}, JSON),
    "7B9B": post({"query": COERCION, "variables": {"id": None}}, JSON),
    "865D": post({"query": "{"}, GRAPHQL, statuses=ERROR),
    "556A": post({"query": "{"}, GRAPHQL, statuses=status(400)),
    "D586": post({"query": "{"}, GRAPHQL, statuses=ERROR, without=("data",)),
    "51FE": post({"query": NO_SUCH_FIELD}, GRAPHQL, statuses=ERROR),
    "74FF": post({"query": NO_SUCH_FIELD}, GRAPHQL, statuses=status(400)),
    "5E5B": post({"query": NO_SUCH_FIELD}, GRAPHQL, statuses=ERROR, without=("data",)),
    "86EE": post({"query": COERCION, "variables": {"id": None}}, GRAPHQL, statuses=status(400)),
}


@pytest.fixture(scope="module")
async def edge(prepared_store: Store, settings: Settings) -> AsyncIterator[Edge]:
    """One application for all audits, which leave nothing behind."""
    async with opened_services(prepared_store, settings) as (services, clock):
        app = build_app(services, a_schema())
        async with opened_client(app) as client:
            yield Edge(app=app, services=services, client=client, clock=clock)


async def asked(edge: Edge, audit: Audit) -> httpx.Response:
    headers = {} if audit.accept is None else {"Accept": audit.accept}
    if audit.get is not None:
        request = edge.client.build_request("GET", "/graphql", params=audit.get, headers=headers)
    else:
        content = (
            audit.body if isinstance(audit.body, bytes) else None if audit.body is None else orjson.dumps(audit.body)
        )
        if audit.content_type is not None:
            headers["Content-Type"] = audit.content_type
        request = edge.client.build_request("POST", "/graphql", content=content, headers=headers)
    if audit.accept is None:
        del request.headers["Accept"]
    return await edge.client.send(request)


def test_there_are_as_many_audits_as_the_package_has() -> None:
    assert len(AUDITS) == 61


@pytest.mark.parametrize("identifier", AUDITS)
async def test_the_audit_passes(edge: Edge, identifier: str) -> None:
    audit = AUDITS[identifier]

    response = await asked(edge, audit)

    assert any(response.status_code in wanted for wanted in audit.statuses), response.text
    assert (audit.answers or "application/") in response.headers["content-type"]
    assert not set(audit.without) & set(response.json())
    response.content.decode("utf-8")
