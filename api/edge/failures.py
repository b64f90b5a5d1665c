"""What fails outside of GraphQL is masked as it is inside: OAuth's endpoints, the webhooks, whatever is added to them.

What passes by itself is answered 503 with Retry-After, and the same request may be sent again. Anything else is a bug
of ours: 500, and logged under the request's id. The bodies have the shape of OAuth's refusals (RFC 6749 §5.2).
"""

from typing import Final

import orjson
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.edge.errors import MASKED_MESSAGE, UNAVAILABLE, failure
from api.edge.http import request_id_of

AWAY: Final = {"error": "temporarily_unavailable", "error_description": "Try again in a moment."}
BROKEN: Final = {"error": "server_error", "error_description": MASKED_MESSAGE}


class MaskedFailures:
    """Lets the application answer, and answers in its place what it failed to."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises what fails once the response has begun: nothing can be said then."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        has_begun = False

        async def tell(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, receive, tell)
        except ClientDisconnect:
            return
        except Exception as error:
            if has_begun:
                raise
            await _response_to(error, request_id_of(Headers(scope=scope).get("x-request-id")))(scope, receive, send)


def _response_to(error: Exception, request_id: str) -> Response:
    is_away = failure(error, request_id=request_id)["extensions"]["code"] == UNAVAILABLE
    return Response(
        orjson.dumps(AWAY if is_away else BROKEN),
        status_code=503 if is_away else 500,
        headers={"Cache-Control": "no-store", "X-Request-Id": request_id, **({"Retry-After": "1"} if is_away else {})},
        media_type="application/json",
    )
