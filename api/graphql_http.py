"""GraphQL over HTTP, as the specification says (graphql.github.io/graphql-over-http, draft of 2025).

POST carries a JSON object, GET a query in its parameters and never a mutation. A response is
``application/graphql-response+json`` where the client asks for it, and then its status says what happened
(400, 401, 403, 405, 413 …); as ``application/json``, the default, a well-formed request is answered with 200.
What is refused before it is GraphQL at all has the same shape of body. Every response names its request in
X-Request-Id.

Cross-site requests: nothing here goes by cookies, POST takes only a content type that a browser asks leave
for, and GET refuses what a browser sends for another site's page.
"""

import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson
from graphql import OperationType
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response as HttpResponse
from starlette.types import Receive, Scope, Send

from api.access import FORBIDDEN, UNAUTHENTICATED
from api.context import Context, Services
from api.documents import Documents, Operation, RequestError, Response
from api.errors import UNAVAILABLE, failure
from api.limits import MAX_BODY_BYTES
from api.metrics import OPERATIONS, SECONDS

GRAPHQL_RESPONSE: Final = "application/graphql-response+json"
JSON: Final = "application/json"
BAD_REQUEST: Final = "BAD_REQUEST"
_GRAPHIQL: Final = Path(__file__).with_name("graphiql.html")
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{8,64}")
_LANGUAGE: Final = re.compile(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{1,8}){0,3}")
_METHODS: Final = {"Allow": "GET, POST"}
_STATUS_OF_CODE: Final = {UNAUTHENTICATED: 401, FORBIDDEN: 403, UNAVAILABLE: 503}
_PAGE_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"
    ),
    "Cache-Control": "no-store",
}


class HttpRefusal(Exception):  # noqa: N818 -- says what happens
    """The request is refused before it is GraphQL; `status` is sent whatever the client accepts."""

    def __init__(
        self, status: int, message: str, *, code: str = BAD_REQUEST, headers: Mapping[str, str] | None = None
    ) -> None:
        self.status = status
        self.message = message
        self.code = code
        self.headers = dict(headers or {})
        super().__init__(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """The parameters of a GraphQL request."""

    query: str
    operation_name: str | None
    variables: Mapping[str, Any]
    extensions: Mapping[str, Any]


class GraphQLEndpoint:
    """The ASGI application at `/graphql`."""

    def __init__(self, documents: Documents, services: Services) -> None:
        self._documents = documents
        self._services = services
        self._page = _GRAPHIQL.read_bytes() if services.settings.sandbox else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._respond(Request(scope, receive))
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> HttpResponse:
        request_id = _request_id(request.headers.get("x-request-id"))
        accept = request.headers.get("accept") or "*/*"
        if self._page is not None and _wants_page(request, accept):
            return HttpResponse(self._page, media_type="text/html", headers=_PAGE_HEADERS)
        media_type = JSON
        began = time.perf_counter()
        try:
            media_type = negotiate(accept)
            parameters = await _parameters(request)
            answer = await self._answer(request, parameters, request_id)
        except HttpRefusal as refusal:
            return _refused(refusal, media_type, request_id)
        except ClientDisconnect:
            return HttpResponse(status_code=499)
        except Exception as error:  # noqa: BLE001 -- the last place before the client
            told = failure(error, request_id=request_id)
            status = _STATUS_OF_CODE.get(told["extensions"]["code"], 500)
            return _http({"errors": [told]}, status, media_type, request_id)
        SECONDS.observe(time.perf_counter() - began)
        status, headers = _status(answer, media_type)
        return _http(answer.body, status, media_type, request_id, headers)

    async def _answer(self, request: Request, parameters: Parameters, request_id: str) -> Response:
        try:
            document = self._documents.prepare(parameters.query)
            operation = self._documents.select(document, parameters.operation_name)
            _check_method(request.method, operation)
            context = await self._context(request, request_id)
            self._documents.admit(operation, context.caller)
        except RequestError as error:
            OPERATIONS.labels("none", "refused").inc()
            return Response(body=error.response(request_id), executed=False)
        response = await self._documents.run(operation, parameters.variables, context)
        OPERATIONS.labels(operation.kind.value, "errors" if "errors" in response.body else "data").inc()
        return response

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


def negotiate(accept: str) -> str:
    """The media type to answer with; JSON where anything will do. Raises HttpRefusal (406)."""
    best, best_quality = "", 0.0
    for part in accept.split(",")[:20]:
        media_type, quality = _media_range(part)
        match media_type:
            case "application/graphql-response+json":
                offered = GRAPHQL_RESPONSE
            case "application/json" | "*/*" | "application/*":
                offered = JSON
            case _:
                continue
        if quality > best_quality or (quality == best_quality > 0 and offered == GRAPHQL_RESPONSE):
            best, best_quality = offered, quality
    if not best:
        raise HttpRefusal(406, f"Accept {GRAPHQL_RESPONSE} or {JSON}.", code="NOT_ACCEPTABLE")
    return best


def preferred_language(accept_language: str | None) -> str | None:
    """The BCP 47 tag that the client likes best, or None."""
    best, best_quality = None, 0.0
    for part in (accept_language or "").split(",")[:20]:
        tag, quality = _media_range(part, lower=False)
        if quality > best_quality and _LANGUAGE.fullmatch(tag):
            best, best_quality = tag, quality
    return best


def _media_range(part: str, *, lower: bool = True) -> tuple[str, float]:
    name, *parameters = (each.strip() for each in part.split(";"))
    quality = 1.0
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                quality = float(parameter[2:])
            except ValueError:
                quality = 0.0
    return (name.lower() if lower else name), quality


async def _parameters(request: Request) -> Parameters:
    if request.method == "GET":
        return _from_query(request)
    if request.method == "POST":
        return _from_object(await _body(request))
    raise HttpRefusal(405, "Use POST, or GET for queries.", code="METHOD_NOT_ALLOWED", headers=_METHODS)


def _from_query(request: Request) -> Parameters:
    mode, site = request.headers.get("sec-fetch-mode"), request.headers.get("sec-fetch-site")
    if mode in {"no-cors", "navigate"} and site not in {"same-origin", "none"}:
        raise HttpRefusal(403, "Queries by GET are not for other sites' pages. Use POST.", code=FORBIDDEN)
    fields: dict[str, Any] = {}
    for name in ("query", "operationName", "variables", "extensions"):
        values = request.query_params.getlist(name)
        if len(values) > 1:
            raise HttpRefusal(400, f"{name} is there {len(values)} times.")
        if not values:
            continue
        fields[name] = values[0]
        if name in {"variables", "extensions"}:
            try:
                fields[name] = orjson.loads(values[0] or "null")
            except orjson.JSONDecodeError:
                raise HttpRefusal(400, f"{name} is not JSON.") from None
    return _from_object(fields)


def _from_object(fields: object) -> Parameters:
    if isinstance(fields, list):
        raise HttpRefusal(400, "Batches are not taken. Send one request at a time.")
    if not isinstance(fields, dict):
        raise HttpRefusal(400, "Send a JSON object with the field query.")
    query, name = fields.get("query"), fields.get("operationName")
    if not isinstance(query, str) or not query.strip():
        raise HttpRefusal(400, "query is missing; it must be a string that holds a GraphQL document.")
    if name is not None and not isinstance(name, str):
        raise HttpRefusal(400, "operationName must be a string.")
    return Parameters(
        query=query,
        operation_name=name or None,
        variables=_map(fields, "variables"),
        extensions=_map(fields, "extensions"),
    )


def _map(fields: Mapping[str, object], name: str) -> Mapping[str, Any]:
    value = fields.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise HttpRefusal(400, f"{name} must be an object.")
    return value


async def _body(request: Request) -> object:
    _check_content_type(request.headers.get("content-type", ""))
    length = request.headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > MAX_BODY_BYTES:
        raise _too_large()
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise _too_large()
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        raise HttpRefusal(400, "The body is not JSON in UTF-8.") from None


def _check_content_type(content_type: str) -> None:
    media_type, *parameters = (each.strip().lower() for each in content_type.split(";"))
    charsets = [each[8:].strip('"') for each in parameters if each.startswith("charset=")]
    if media_type != JSON or not {"utf-8", "utf8"}.issuperset(charsets):
        raise HttpRefusal(
            415,
            f"Send the body as {JSON}, in UTF-8.",
            code="UNSUPPORTED_MEDIA_TYPE",
            headers={"Accept": JSON},
        )


def _too_large() -> HttpRefusal:
    return HttpRefusal(
        413,
        f"The body is larger than {MAX_BODY_BYTES} bytes.",
        code="BODY_TOO_LARGE",
        headers={"Connection": "close"},
    )


def _check_method(method: str, operation: Operation) -> None:
    if operation.kind is OperationType.SUBSCRIPTION:
        raise HttpRefusal(400, "Subscriptions are not served here.")
    if method == "GET" and operation.kind is not OperationType.QUERY:
        raise HttpRefusal(
            405, "Only queries go by GET. Use POST.", code="METHOD_NOT_ALLOWED", headers={"Allow": "POST"}
        )


def _status(response: Response, media_type: str) -> tuple[int, dict[str, str]]:
    """What the specification wants for the media type, and the way to authenticate where that is missing."""
    if response.executed:
        return 200, {}
    code = response.body["errors"][0]["extensions"]["code"]
    headers = {"WWW-Authenticate": "Bearer"} if code == UNAUTHENTICATED else {}
    return (200 if media_type == JSON else _STATUS_OF_CODE.get(code, 400)), headers


def _refused(refusal: HttpRefusal, media_type: str, request_id: str) -> HttpResponse:
    error = {"message": refusal.message, "extensions": {"code": refusal.code, "requestId": request_id}}
    return _http({"errors": [error]}, refusal.status, media_type, request_id, refusal.headers)


def _http(
    body: Mapping[str, Any],
    status: int,
    media_type: str,
    request_id: str,
    headers: Mapping[str, str] | None = None,
) -> HttpResponse:
    return HttpResponse(
        orjson.dumps(body),
        status_code=status,
        headers={
            "Content-Type": f"{media_type}; charset=utf-8",
            "Cache-Control": "no-store",
            "X-Request-Id": request_id,
            **(headers or {}),
        },
    )


def _request_id(given: str | None) -> str:
    """The client's own id where it is one, so that both sides' logs can be laid beside each other."""
    return given if given is not None and _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def _wants_page(request: Request, accept: str) -> bool:
    return request.method == "GET" and "text/html" in accept and "query" not in request.query_params
