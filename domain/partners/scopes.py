"""What a token may be good for: every scope of the contract, listed once.

A partner app holds scopes of `PARTNER_SCOPES`; staff tokens carry scopes that begin with ``staff:``. A scope
that is not listed here does not exist and is never granted.
"""

from collections.abc import Iterable
from typing import Final

PARTNER_SCOPES: Final = frozenset(
    {
        "members:read",
        "members:enrol",
        "wallet:read",
        "activity:write",
        "vouchers:use",
        "points:spend",
        "prepaid:charge",
        "prepaid:topup",
    }
)
STAFF_SCOPES: Final = frozenset(
    {"staff:members", "staff:programme", "staff:reports", "staff:adjust", "staff:refunds", "staff:partners"}
)
OF_THE_PARTNER_ITSELF: Final = frozenset({"members:enrol"})
"""Scopes that no member can give: who is made by them is not he who lets the app in."""

SCOPES: Final = PARTNER_SCOPES | STAFF_SCOPES


def unknown_scopes(scopes: Iterable[str], known: frozenset[str]) -> tuple[str, ...]:
    """Those of `scopes` that are not `known`, sorted; empty when all is well."""
    return tuple(sorted(set(scopes) - known))
