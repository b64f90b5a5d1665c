"""The HTTP response to a GraphQL request: its status, who may cache it, compression.

As ``application/graphql-response+json`` the status says what happened (400, 401, 403, 503 …); as
``application/json`` a well-formed request is answered with 200. A query by GET whose document was named by its
hash may be kept and asked for again with If-None-Match: an answer to nobody in particular by any cache for a short
while, an answer to a caller by his own client only, and never without asking.

What a token lacks is said in WWW-Authenticate as well, whatever the status (RFC 6750 §3): OAuth's clients look there.
"""

import gzip
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

import orjson
from starlette.responses import Response as HttpResponse

from api.access import FORBIDDEN, UNAUTHENTICATED, Anonymous, Caller
from api.edge.documents import Response
from api.edge.errors import UNAVAILABLE
from api.edge.operations import RATE_LIMITED
from api.edge.persisted import NOT_FOUND
from api.edge.request import JSON, HttpRefusal

MIN_COMPRESSED_BYTES: Final = 1_024
COMPRESSION_LEVEL: Final = 4
PUBLIC_SECONDS: Final = 30
VARY: Final = "Accept, Accept-Encoding, Accept-Language, Authorization, Origin"
_BEARER: Final = 'Bearer realm="wallet"'
_STATUS_OF_CODE: Final = {UNAUTHENTICATED: 401, FORBIDDEN: 403, UNAVAILABLE: 503}
_WHATEVER_IS_ACCEPTED: Final = {
    RATE_LIMITED: 429,
    # Apollo iOS reads no body of another status, and it must read this one to send the text.
    NOT_FOUND: 200,
}


def status_of(
    body: Mapping[str, Any], media_type: str, caller: Caller, *, executed: bool
) -> tuple[int, dict[str, str]]:
    """What the specification wants for the media type, with the headers that go with it."""
    if executed:
        return 200, {}
    extensions = body["errors"][0]["extensions"]
    code = extensions["code"]
    headers = _challenge(body["errors"], caller)
    if code in _WHATEVER_IS_ACCEPTED:
        if "retryAfterSeconds" in extensions:
            headers["Retry-After"] = str(extensions["retryAfterSeconds"])
        return _WHATEVER_IS_ACCEPTED[code], headers
    return (200 if media_type == JSON else _STATUS_OF_CODE.get(code, 400)), headers


def failure_status(body: Mapping[str, Any]) -> tuple[int, dict[str, str]]:
    """The status of a failure of ours, whatever the client accepts."""
    status = _STATUS_OF_CODE.get(body["errors"][0]["extensions"]["code"], 500)
    return status, {"Retry-After": "1"} if status == _STATUS_OF_CODE[UNAVAILABLE] else {}


def cached(
    body: bytes, response: Response, caller: Caller, *, media_type: str, if_none_match: str | None
) -> tuple[bool, dict[str, str]]:
    """The headers of an answer that may be kept, and whether the client has it already."""
    if not response.executed or "errors" in response.body:
        return False, {}
    digest = sha256(body)
    digest.update(media_type.encode())
    # Weak, since a compressed answer is the same answer.
    tag = f'W/"{digest.hexdigest()[:32]}"'
    is_public = isinstance(caller, Anonymous) and not caller.token_refused
    headers = {
        "ETag": tag,
        "Cache-Control": f"public, max-age={PUBLIC_SECONDS}" if is_public else "private, no-cache",
        "Vary": VARY,
    }
    return _matches(if_none_match, tag), headers


def refused(refusal: HttpRefusal, media_type: str, request_id: str) -> HttpResponse:
    """The response of a request that is no GraphQL."""
    error = {"message": refusal.message, "extensions": {"code": refusal.code, "requestId": request_id}}
    return http_response(
        orjson.dumps({"errors": [error]}),
        refusal.status,
        media_type=media_type,
        request_id=request_id,
        headers=refusal.headers,
    )


def http_response(
    body: bytes,
    status: int,
    *,
    media_type: str,
    request_id: str,
    headers: Mapping[str, str] | None = None,
    compress: bool = False,
) -> HttpResponse:
    """A response with a JSON body, compressed if the client takes it and it is worth while."""
    told = {
        "Content-Type": f"{media_type}; charset=utf-8",
        "Cache-Control": "no-store",
        "Vary": VARY,
        "X-Request-Id": request_id,
        **(headers or {}),
    }
    if compress and len(body) >= MIN_COMPRESSED_BYTES:
        body = gzip.compress(body, COMPRESSION_LEVEL, mtime=0)
        told["Content-Encoding"] = "gzip"
    return HttpResponse(body, status_code=status, headers=told)


def _challenge(errors: Sequence[Mapping[str, Any]], caller: Caller) -> dict[str, str]:
    """Which token is wanted in place of the one that came, or of none."""
    if errors[0]["extensions"]["code"] == UNAUTHENTICATED:
        is_refused = isinstance(caller, Anonymous) and caller.token_refused
        return {"WWW-Authenticate": _BEARER + (', error="invalid_token"' if is_refused else "")}
    scopes = dict.fromkeys(error["extensions"]["scope"] for error in errors if "scope" in error["extensions"])
    if scopes:
        return {"WWW-Authenticate": f'{_BEARER}, error="insufficient_scope", scope="{" ".join(scopes)}"'}
    return {}


def _matches(if_none_match: str | None, tag: str) -> bool:
    """Weak comparison (RFC 9110 §8.8.3.2)."""
    if if_none_match is None:
        return False
    tags = {each.strip().removeprefix("W/") for each in if_none_match.split(",")}
    return "*" in tags or tag.removeprefix("W/") in tags
