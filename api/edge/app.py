"""The HTTP application: all of its paths, over services that whoever starts it has opened."""

from collections.abc import Sequence
from typing import Final

import strawberry
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route, WebSocketRoute

from api.auth.oauth import oauth_routes
from api.context import Services
from api.edge.documents import Documents
from api.edge.failures import MaskedFailures
from api.edge.health import health_routes
from api.edge.http import GraphQLEndpoint
from api.edge.live import Live
from api.edge.operations import Operations
from api.edge.persisted import PersistedDocuments, read_manifests
from api.edge.webhooks import webhook_routes
from api.edge.ws import GraphQLSocketEndpoint
from api.unsubscribing import unsubscribing_routes
from domain.settings import DocumentMode

PREFLIGHT_SECONDS: Final = 7_200
TOLD_TO_PAGES: Final = ("ETag", "Retry-After", "WWW-Authenticate", "X-Request-Id")


def build_app(services: Services, schema: strawberry.Schema) -> Starlette:
    """The application on `services`, which it neither opens nor closes. `state.live` is to be closed when it stops.

    Raises AssertionError for a schema with a root field that api.access does not know, and ManifestInvalid.
    """
    settings = services.settings
    documents = Documents(schema, open_to_all=settings.sandbox)
    trusted = read_manifests(settings.trusted_documents, strict=settings.trusted_documents_mode is DocumentMode.STRICT)
    operations = Operations(documents, services, PersistedDocuments(services.store, trusted))
    live = Live(services)
    graphql = GraphQLEndpoint(operations, services, live)
    app = Starlette(
        routes=[
            Route("/graphql", graphql, methods=None, middleware=_for_pages_of(settings.allowed_origins)),
            WebSocketRoute("/graphql/ws", GraphQLSocketEndpoint(operations, services, live)),
            *oauth_routes(services),
            *webhook_routes(services),
            *unsubscribing_routes(services),
            *health_routes(services),
        ],
        middleware=[Middleware(MaskedFailures)],
    )
    app.state.live = live
    return app


def _for_pages_of(origins: Sequence[str]) -> list[Middleware]:
    """Lets scripts of web pages at those origins call, and read the answers; without any, no page of another site can.

    Nothing goes by cookies: whoever calls brings a token, so a header more gives nobody anything.
    """
    if not origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=TOLD_TO_PAGES,
            max_age=PREFLIGHT_SECONDS,
        )
    ]
