"""Where the payment provider sends its events: POST /webhooks/stripe (SEMANTICS §6.3).

The body is read raw, up to a limit, since the signature is over its bytes. A signature that does not hold, or is
older than five minutes, is a 400 and nothing is done; whatever was understood is a 200, set aside or not, so that
the provider stops; a database that does not answer is a 503, so that it sends it again.
"""

from typing import Final

import orjson
import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.context import Services
from domain.payments.provider import SignatureInvalid
from domain.payments.webhook import receive

PATH: Final = "/webhooks/stripe"
LARGEST_BODY: Final = 256 * 1024

log = structlog.get_logger(__name__)


def webhook_routes(services: Services) -> list[Route]:
    """The endpoint, to be mounted at the root. There is none without a payment provider."""
    provider = services.provider
    if provider is None:
        return []

    async def webhook(request: Request) -> Response:
        body = await _body(request)
        if body is None:
            return _answer({"error": f"An event has at most {LARGEST_BODY} bytes."}, 413)
        await services.clock.refresh()
        try:
            taken = await receive(services.ledger, provider, body, request.headers.get("Stripe-Signature"))
        except SignatureInvalid as error:
            log.warning("webhook.refused", reason=str(error))
            return _answer({"error": "The signature is invalid or too old."}, 400)
        return _answer({"outcome": taken.outcome.value, "reason": taken.reason}, 200)

    return [Route(PATH, webhook, methods=["POST"])]


async def _body(request: Request) -> bytes | None:
    """The raw body; None when it is too large, of which no more is read then."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > LARGEST_BODY:
            return None
        parts.append(part)
    return b"".join(parts)


def _answer(content: dict[str, str | None], status: int) -> Response:
    return Response(orjson.dumps(content), status_code=status, media_type="application/json")
