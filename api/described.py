"""A field with a resolver and a description, typed: Strawberry's own decorator loses the function's type."""

from collections.abc import Callable
from typing import Any, TypeVar

import strawberry

_F = TypeVar("_F", bound=Callable[..., Any])


def described(description: str) -> Callable[[_F], _F]:
    """Make the method a field that says this of itself, be it of a query, a mutation or an object."""
    decorate: Callable[[_F], _F] = strawberry.field(description=description)
    return decorate
