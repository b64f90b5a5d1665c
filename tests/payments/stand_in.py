"""Stripe's stand-in: localstripe as a process of its own, with what it lacks of Stripe put in front of it.

    python -m tests.payments.stand_in PORT

What is put in front: an `Idempotency-Key` gives the first answer again, and lists take `created`. All the rest, the
cards, the declines and the signed webhooks, is localstripe's own. `GET /_config/calls` says how often each path
was really carried out; `POST /_config/down` has everything answered with 503 until `POST /_config/up`.
"""

import json
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from localstripe.resources import Store
from localstripe.server import app

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

ANSWERS: dict[str, tuple[int, bytes]] = {}
CALLS: Counter[str] = Counter()
DOWN: list[bool] = []


@web.middleware
async def as_stripe_does(request: web.Request, handler: Handler) -> web.StreamResponse:
    if request.path.startswith("/_config/"):
        return await handler(request)
    if DOWN:
        return web.json_response({"error": {"type": "api_error", "message": "down"}}, status=503)
    key = request.headers.get("Idempotency-Key")
    if key is not None and key in ANSWERS:
        status, body = ANSWERS[key]
        return web.Response(status=status, body=body, content_type="application/json")
    created = {name: int(value) for name, value in request.query.items() if name.startswith("created[")}
    if created:
        kept = {name: value for name, value in request.query.items() if name not in created}
        request = request.clone(rel_url=request.rel_url.with_query(kept))
    CALLS[f"{request.method} {request.path}"] += 1
    answered = await handler(request)
    assert isinstance(answered, web.Response)
    if created:
        answered = web.json_response(_within(json.loads(answered.text or "{}"), created))
    if key is not None:
        assert isinstance(answered.body, bytes)
        ANSWERS[key] = (answered.status, answered.body)
    return answered


def _within(listed: dict[str, Any], created: dict[str, int]) -> dict[str, Any]:
    since, until = created.get("created[gte]", 0), created.get("created[lt]", sys.maxsize)
    return {**listed, "data": [each for each in listed["data"] if since <= each["created"] < until]}


async def calls(_request: web.Request) -> web.Response:
    return web.json_response(dict(CALLS))


async def down(_request: web.Request) -> web.Response:
    DOWN.append(True)
    return web.Response()


async def up(_request: web.Request) -> web.Response:
    DOWN.clear()
    return web.Response()


# It would write all it knows into one file of the machine's at each change, whoever else runs it there.
Store.dump_to_disk = lambda _store: None
app.middlewares.insert(0, as_stripe_does)
app.router.add_get("/_config/calls", calls)
app.router.add_post("/_config/down", down)
app.router.add_post("/_config/up", up)

if __name__ == "__main__":
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None)
