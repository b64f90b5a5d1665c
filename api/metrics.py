"""The numbers of the edge, for Prometheus: how many operations, how they ended and how long they took.

Labels take few values, all known beforehand; nothing that a client chooses, and no member, becomes one.
"""

from typing import Final

from prometheus_client import Counter, Histogram

OPERATIONS: Final = Counter(
    "wallet_graphql_operations",
    "GraphQL requests: kind is query, mutation or none; outcome is data, errors or refused.",
    ["kind", "outcome"],
)
SECONDS: Final = Histogram(
    "wallet_graphql_seconds",
    "Time from a GraphQL request to its answer.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
