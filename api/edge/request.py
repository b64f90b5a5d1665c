"""The parameters of a GraphQL request over HTTP, read strictly: from a JSON body, or from a query string.

Cross-site requests: nothing here goes by cookies, POST takes only a content type that a browser asks leave
for, and GET refuses what a browser sends for another site's page, unless it has a header that a browser asks leave
for.
"""

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson
from starlette.requests import Request

from api.access import FORBIDDEN
from api.edge.limits import MAX_BODY_BYTES

GRAPHQL_RESPONSE: Final = "application/graphql-response+json"
JSON: Final = "application/json"
EVENT_STREAM: Final = "text/event-stream"
BAD_REQUEST: Final = "BAD_REQUEST"
MAX_NESTING: Final = 50
"""Of variables; what reads them goes by recursion."""
PREFLIGHT_HEADERS: Final = ("graphql-require-preflight", "apollo-require-preflight", "x-apollo-operation-name")
_METHODS: Final = {"Allow": "GET, POST"}
_GZIP: Final = zlib.MAX_WBITS | 16
_LANGUAGE: Final = re.compile(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{1,8}){0,3}")


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
    """The parameters of a GraphQL request. `query` is None only where `extensions` name a persisted document."""

    query: str | None
    operation_name: str | None
    variables: Mapping[str, Any]
    extensions: Mapping[str, Any]


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
            case "text/event-stream":
                offered = EVENT_STREAM
            case _:
                continue
        if quality > best_quality or (quality == best_quality > 0 and offered == GRAPHQL_RESPONSE):
            best, best_quality = offered, quality
    if not best:
        raise HttpRefusal(406, f"Accept {GRAPHQL_RESPONSE}, {JSON} or {EVENT_STREAM}.", code="NOT_ACCEPTABLE")
    return best


def preferred_language(accept_language: str | None) -> str | None:
    """The BCP 47 tag that the client likes best, or None."""
    best, best_quality = None, 0.0
    for part in (accept_language or "").split(",")[:20]:
        tag, quality = _media_range(part, lower=False)
        if quality > best_quality and _LANGUAGE.fullmatch(tag):
            best, best_quality = tag, quality
    return best


def takes_gzip(accept_encoding: str | None) -> bool:
    """Whether the client takes a compressed response."""
    qualities = dict(_media_range(part) for part in (accept_encoding or "").split(",")[:20])
    return qualities.get("gzip", qualities.get("*", 0.0)) > 0


async def read_parameters(request: Request) -> Parameters:
    """The parameters of the request. Raises HttpRefusal."""
    if request.method == "GET":
        return _from_query(request)
    if request.method == "POST":
        return parameters_of(await _body(request))
    raise HttpRefusal(405, "Use POST, or GET for queries.", code="METHOD_NOT_ALLOWED", headers=_METHODS)


def parameters_of(fields: object) -> Parameters:
    """The parameters in a JSON object. Raises HttpRefusal (400)."""
    if isinstance(fields, list):
        raise HttpRefusal(400, "Batches are not taken. Send one request at a time.")
    if not isinstance(fields, dict):
        raise HttpRefusal(400, "Send a JSON object with the field query.")
    query, name = fields.get("query"), fields.get("operationName")
    extensions = _map(fields, "extensions")
    if query is None and "persistedQuery" in extensions:
        pass
    elif not isinstance(query, str) or not query.strip():
        raise HttpRefusal(400, "query is missing; it must be a string that holds a GraphQL document.")
    if name is not None and not isinstance(name, str):
        raise HttpRefusal(400, "operationName must be a string.")
    variables = _map(fields, "variables")
    if _is_nested_deeper(variables, MAX_NESTING):
        raise HttpRefusal(400, f"variables are nested more than {MAX_NESTING} deep.")
    return Parameters(
        query=query,
        operation_name=name or None,
        variables=variables,
        extensions=extensions,
    )


def _is_nested_deeper(value: Mapping[str, object], most: int) -> bool:
    """Whether there are lists and objects in each other more than so deep, by level and without recursion."""
    level: list[Any] = [value]
    for _ in range(most):
        inner = [each for outer in level for each in (outer.values() if isinstance(outer, dict) else outer)]
        level = [each for each in inner if isinstance(each, dict | list)]
        if not level:
            return False
    return True


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


def _from_query(request: Request) -> Parameters:
    mode, site = request.headers.get("sec-fetch-mode"), request.headers.get("sec-fetch-site")
    is_foreign = mode in {"no-cors", "navigate"} and site not in {"same-origin", "none"}
    if is_foreign and not any(each in request.headers for each in PREFLIGHT_HEADERS):
        raise HttpRefusal(403, "GET queries from other sites' pages are not allowed. Use POST.", code=FORBIDDEN)
    fields: dict[str, Any] = {}
    for name in ("query", "operationName", "variables", "extensions"):
        values = request.query_params.getlist(name)
        if len(values) > 1:
            raise HttpRefusal(400, f"{name} is given {len(values)} times.")
        if not values:
            continue
        fields[name] = values[0]
        if name in {"variables", "extensions"}:
            try:
                fields[name] = orjson.loads(values[0] or "null")
            except orjson.JSONDecodeError:
                raise HttpRefusal(400, f"{name} is not JSON.") from None
    return parameters_of(fields)


def _map(fields: Mapping[str, object], name: str) -> Mapping[str, Any]:
    value = fields.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise HttpRefusal(400, f"{name} must be an object.")
    return value


async def _body(request: Request) -> object:
    _check_content_type(request.headers.get("content-type", ""))
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"identity", "gzip"}:
        raise HttpRefusal(
            415,
            "Send the body as it is, or compressed with gzip.",
            code="UNSUPPORTED_MEDIA_TYPE",
            headers={"Accept-Encoding": "gzip"},
        )
    length = request.headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > MAX_BODY_BYTES:
        raise _too_large()
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise _too_large()
    try:
        return orjson.loads(_unpacked(bytes(body)) if encoding == "gzip" else body)
    except orjson.JSONDecodeError:
        raise HttpRefusal(400, "The body is not JSON in UTF-8.") from None


def _unpacked(body: bytes) -> bytes:
    """The content of a gzipped body, unpacked no further than a body may be long."""
    unpacking = zlib.decompressobj(_GZIP)
    try:
        content = unpacking.decompress(body, MAX_BODY_BYTES + 1)
    except zlib.error:
        raise HttpRefusal(400, "The body is not gzip, although its Content-Encoding says so.") from None
    if len(content) > MAX_BODY_BYTES:
        raise _too_large()
    if not unpacking.eof:
        raise HttpRefusal(400, "The gzipped body ends too early.")
    return content


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
