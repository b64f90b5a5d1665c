"""The numbers of the edge, for Prometheus: how many operations, how they ended, what they cost, how long they took.

Labels take few values, all known beforehand; nothing that a client chooses, and no member, becomes one.
"""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

OPERATIONS: Final = Counter(
    "wallet_graphql_operations",
    "GraphQL requests: kind is query, mutation, subscription or none; outcome is data, errors or refused.",
    ["kind", "outcome"],
)
REFUSED: Final = Counter(
    "wallet_graphql_refused",
    "GraphQL requests that were not executed: kind is syntax, validation, size, cost, rate, access, persisted, time "
    "or other.",
    ["kind"],
)
COST: Final = Histogram(
    "wallet_graphql_cost",
    "What operations cost, before they run; at most 1,000.",
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000),
)
SECONDS: Final = Histogram(
    "wallet_graphql_seconds",
    "Time from a GraphQL request to its answer.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
SUBSCRIPTIONS: Final = Gauge(
    "wallet_graphql_subscriptions",
    "Subscriptions open in this process: transport is ws or sse.",
    ["transport"],
)
SOCKETS: Final = Gauge("wallet_graphql_sockets", "WebSocket connections that are open in this process.")
EVENTS: Final = Counter("wallet_graphql_events", "What subscriptions were told: transport is ws or sse.", ["transport"])
CLOSED: Final = Counter(
    "wallet_graphql_subscriptions_closed",
    "Subscriptions that the server ended: reason is token, session, slow, shutdown or error.",
    ["reason"],
)
_KINDS: Final = {
    "GRAPHQL_PARSE_FAILED": "syntax",
    "GRAPHQL_VALIDATION_FAILED": "validation",
    "BAD_USER_INPUT": "validation",
    "OPERATION_RESOLUTION_FAILURE": "validation",
    "QUERY_TOO_LONG": "size",
    "QUERY_TOO_DEEP": "size",
    "TOO_MANY_ALIASES": "size",
    "TOO_MANY_ROOT_FIELDS": "size",
    "TOO_MANY_FIELDS": "size",
    "BODY_TOO_LARGE": "size",
    "QUERY_TOO_COSTLY": "cost",
    "RATE_LIMITED": "rate",
    "UNAUTHENTICATED": "access",
    "FORBIDDEN": "access",
    "INTROSPECTION_DISABLED": "access",
    "PERSISTED_QUERY_NOT_FOUND": "persisted",
    "PERSISTED_QUERY_NOT_SUPPORTED": "persisted",
    "PERSISTED_QUERY_HASH_MISMATCH": "persisted",
    "DOCUMENT_NOT_TRUSTED": "persisted",
}


def refusal_kind(code: str) -> str:
    """The label of a refusal's code."""
    return _KINDS.get(code, "other")
