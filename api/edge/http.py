"""GraphQL over HTTP, as the specification says (graphql.github.io/graphql-over-http, draft of 2025).

POST carries a JSON object, GET a query in its parameters and never a mutation. What is refused before it is
GraphQL at all has the same shape of body as all else. Every response names its request in X-Request-Id.
"""

import asyncio
import re
import time
import uuid
from pathlib import Path
from typing import Final

import orjson
from graphql import OperationType
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response as HttpResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from api.context import Context, Services
from api.edge.documents import RequestError, Response
from api.edge.errors import failure
from api.edge.live import Live, TooManyStreams
from api.edge.metrics import REFUSED, SECONDS, refusal_kind
from api.edge.operations import OPERATION_SECONDS, RATE_LIMITED, Admitted, KindRefused, Operations
from api.edge.request import (
    EVENT_STREAM,
    GRAPHQL_RESPONSE,
    JSON,
    HttpRefusal,
    Parameters,
    negotiate,
    preferred_language,
    read_parameters,
    takes_gzip,
)
from api.edge.response import cached, failure_status, http_response, refused, status_of
from api.edge.sse import EventStream

_GRAPHIQL: Final = Path(__file__).with_name("graphiql.html")
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{8,64}")
_BY_GET: Final = frozenset({OperationType.QUERY})
_BY_POST: Final = frozenset({OperationType.QUERY, OperationType.MUTATION})
_PAGE_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"
    ),
    "Cache-Control": "no-store",
}


class GraphQLEndpoint:
    """The ASGI application at `/graphql`."""

    def __init__(self, operations: Operations, services: Services, live: Live) -> None:
        self._operations = operations
        self._services = services
        self._live = live
        self._page = _GRAPHIQL.read_bytes() if services.settings.sandbox else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._respond(Request(scope, receive))
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> ASGIApp:
        request_id = request_id_of(request.headers.get("x-request-id"))
        accept = request.headers.get("accept") or "*/*"
        if self._page is not None and _wants_page(request, accept):
            return HttpResponse(self._page, media_type="text/html", headers=_PAGE_HEADERS)
        media_type = JSON
        began = time.perf_counter()
        try:
            media_type = negotiate(accept)
            parameters = await read_parameters(request)
            # The database may be away before the operation begins, whose own time limit would come too late.
            async with asyncio.timeout(OPERATION_SECONDS):
                context = await self._context(request, request_id)
            return await self._answer(request, parameters, context, media_type=media_type)
        except HttpRefusal as refusal:
            REFUSED.labels(refusal_kind(refusal.code)).inc()
            return refused(refusal, JSON if media_type == EVENT_STREAM else media_type, request_id)
        except ClientDisconnect:
            return HttpResponse(status_code=499)
        except Exception as error:  # noqa: BLE001 -- the last place before the client
            body = {"errors": [failure(error, request_id=request_id)]}
            status, headers = failure_status(body)
            media_type = JSON if media_type == EVENT_STREAM else media_type
            return http_response(
                orjson.dumps(body), status, media_type=media_type, request_id=request_id, headers=headers
            )
        finally:
            SECONDS.observe(time.perf_counter() - began)

    async def _answer(self, request: Request, parameters: Parameters, context: Context, *, media_type: str) -> ASGIApp:
        kinds = _BY_GET if request.method == "GET" else _BY_POST
        if media_type == EVENT_STREAM:
            kinds |= {OperationType.SUBSCRIPTION}
        address = None if request.client is None else request.client.host
        admitted: Admitted | None = None
        try:
            admitted = await self._operations.admit(parameters, context, address=address, kinds=kinds)
            if media_type == EVENT_STREAM:
                return await self._stream(request, admitted)
            response = await self._operations.run(admitted)
        except KindRefused as refusal:
            raise _wrong_kind(refusal.kind) from None
        except RequestError as error:
            response = Response(body=error.response(context.request_id), executed=False)
            # An event stream that does not begin is answered as what says so by its status.
            media_type = GRAPHQL_RESPONSE if media_type == EVENT_STREAM else media_type
        body = orjson.dumps(response.body)
        status, headers = status_of(response.body, media_type, context.caller, executed=response.executed)
        if request.method == "GET" and admitted is not None and admitted.is_persisted:
            is_known, headers = cached(
                body,
                response,
                context.caller,
                media_type=media_type,
                if_none_match=request.headers.get("if-none-match"),
            )
            if is_known:
                return HttpResponse(status_code=304, headers={**headers, "X-Request-Id": context.request_id})
        return http_response(
            body,
            status,
            media_type=media_type,
            request_id=context.request_id,
            headers=headers,
            compress=takes_gzip(request.headers.get("accept-encoding")),
        )

    async def _stream(self, request: Request, admitted: Admitted) -> EventStream:
        _, expires_at = await self._services.tokens.caller_until(
            request.headers.get("authorization"), admitted.context.now
        )
        try:
            return EventStream(self._operations, self._live, admitted, expires_at=expires_at)
        except TooManyStreams:
            raise HttpRefusal(
                429, "Too many streams of this caller are open.", code=RATE_LIMITED, headers={"Retry-After": "5"}
            ) from None

    async def _context(self, request: Request, request_id: str) -> Context:
        await self._services.clock.refresh()
        now = self._services.clock.now()
        caller = await self._services.tokens.caller_of(request.headers.get("authorization"), now)
        return Context(
            caller=caller,
            request_id=request_id,
            now=now,
            locale=preferred_language(request.headers.get("accept-language")),
            wallet=self._services,
        )


def request_id_of(given: str | None) -> str:
    """The client's own id where it is one, so that both sides' logs can be laid beside each other."""
    return given if given is not None and _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def _wrong_kind(kind: OperationType) -> HttpRefusal:
    if kind is OperationType.SUBSCRIPTION:
        return HttpRefusal(
            406, f"A subscription is answered as {EVENT_STREAM}, by POST, or at /graphql/ws.", code="NOT_ACCEPTABLE"
        )
    return HttpRefusal(405, "GET is for queries only. Use POST.", code="METHOD_NOT_ALLOWED", headers={"Allow": "POST"})


def _wants_page(request: Request, accept: str) -> bool:
    return (
        request.method == "GET"
        and "text/html" in accept
        and not {"query", "extensions"}.intersection(request.query_params)
    )
