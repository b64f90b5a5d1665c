"""Whether the process is alive, whether it can serve, and its numbers: /live, /ready and /metrics."""

import asyncio
from typing import Final

import orjson
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.context import Services
from domain.store.connection import StoreUnavailable

READY_SECONDS: Final = 2.0


def health_routes(services: Services) -> list[Route]:
    """The endpoints, to be mounted at the root."""

    async def live(_request: Request) -> Response:
        return _json({"live": True}, 200)

    async def ready(_request: Request) -> Response:
        try:
            async with asyncio.timeout(READY_SECONDS):
                await services.store.ping()
        except (TimeoutError, StoreUnavailable):
            return _json({"ready": False, "reason": "The database does not answer."}, 503)
        return _json({"ready": True}, 200)

    async def metrics(_request: Request) -> Response:
        return Response(generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return [
        Route("/live", live, methods=["GET"]),
        Route("/ready", ready, methods=["GET"]),
        Route("/metrics", metrics, methods=["GET"]),
    ]


def _json(content: object, status: int) -> Response:
    return Response(
        orjson.dumps(content),
        status_code=status,
        media_type="application/json",
        headers={"Cache-Control": "no-store"},
    )
