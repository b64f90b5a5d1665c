"""The HTTP application: every path of it, over services that whoever starts it has opened."""

import strawberry
from starlette.applications import Starlette
from starlette.routing import Route

from api.context import Services
from api.documents import Documents
from api.graphql_http import GraphQLEndpoint
from api.health import health_routes
from api.oauth import oauth_routes
from api.webhooks import webhook_routes


def build_app(services: Services, schema: strawberry.Schema) -> Starlette:
    """The application on `services`, which it neither opens nor closes.

    Raises AssertionError for a schema with a root field that api.access does not know.
    """
    documents = Documents(schema, open_to_all=services.settings.sandbox)
    graphql = GraphQLEndpoint(documents, services)
    return Starlette(
        routes=[
            Route("/graphql", graphql, methods=None),
            *oauth_routes(services),
            *webhook_routes(services),
            *health_routes(services),
        ]
    )
