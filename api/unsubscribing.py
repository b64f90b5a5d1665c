"""Where a mail program unsubscribes its reader: POST /unsubscribe/… (RFC 8058), without a login.

A GET changes nothing, since filters of mail look at every address in a message; it shows a page with one button. The
answers are the same whoever the member is, and whether he had left already.
"""

from typing import Final

import structlog
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from api.context import Services
from domain.store.outage import is_outage
from notifications.unsubscribing import PATH, unsubscribe, unsubscribe_links

HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; form-action 'self'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex",
}
_PAGE: Final = '<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><p>{text}</p>{more}</html>'
_ASK: Final = _PAGE.format(
    title="Unsubscribe",
    text="You will get no more offers from us, by e-mail or otherwise.",
    more='<form method="post"><button name="List-Unsubscribe" value="One-Click">Unsubscribe</button></form>',
)
_DONE: Final = _PAGE.format(title="Unsubscribed", text="You get no more offers from us.", more="")
_UNKNOWN: Final = _PAGE.format(title="Not found", text="This address is not complete.", more="")
_LATER: Final = _PAGE.format(title="Not now", text="Please try again in a moment.", more="")

log = structlog.get_logger(__name__)


def unsubscribing_routes(services: Services) -> list[Route]:
    """The endpoint, to be mounted at the root."""
    links = unsubscribe_links(services.settings)

    async def leave(request: Request) -> Response:
        delivery = links.delivery_of(request.path_params["token"])
        if delivery is None:
            return HTMLResponse(_UNKNOWN, 404, HEADERS)
        if request.method != "POST":
            return HTMLResponse(_ASK, 200, HEADERS)
        try:
            await services.clock.refresh()
            await unsubscribe(services.store, delivery, now=services.clock.now())
        except Exception as error:
            if not is_outage(error):
                raise
            log.warning("unsubscribing.unavailable", error=type(error).__name__)
            return HTMLResponse(_LATER, 503, HEADERS)
        return HTMLResponse(_DONE, 200, HEADERS)

    return [Route(f"{PATH}/{{token}}", leave, methods=["GET", "POST"])]
