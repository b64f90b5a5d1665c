"""What a caller is told when something goes wrong, and what is withheld.

    ExposedError            fit to be shown: carries a code
    ├── AccessError         UNAUTHENTICATED, FORBIDDEN               (api.access)
    ├── InvalidValue        BAD_USER_INPUT: a scalar, a cursor
    ├── LimitError          QUERY_TOO_DEEP and its like              (api.edge.limits)
    └── Unavailable         UNAVAILABLE: too busy or too slow; try again with the same key

Whatever else comes out of a resolver is a bug of ours: it is logged with its traceback under the request id,
and the caller is told nothing but that id. Logs hold no messages of exceptions, since those may hold personal
data.
"""

import traceback
from collections.abc import Mapping
from typing import Any, Final

import structlog
from graphql import GraphQLError

from domain.ledger.outcome import Unavailable as LedgerUnavailable
from domain.store.outage import is_outage

BAD_USER_INPUT: Final = "BAD_USER_INPUT"
INTERNAL: Final = "INTERNAL"
UNAVAILABLE: Final = "UNAVAILABLE"
MASKED_MESSAGE: Final = "Something went wrong on our side. Quote the request id."
_CAUSES: Final = 5

_log = structlog.get_logger(__name__)


class ExposedError(GraphQLError):
    """An error that is meant for the caller. `code` goes into the extensions, beside `details`."""

    def __init__(self, message: str, *, code: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message, extensions={"code": code, **(details or {})})


class InvalidValue(ExposedError):  # noqa: N818 -- says what is the case
    """A value that cannot be taken; the message says what is wrong with it and what to send instead."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code=BAD_USER_INPUT)


class Unavailable(ExposedError):  # noqa: N818 -- says what is the case
    """Nothing is wrong with the request: the same one, with the same key, may be sent again."""

    def __init__(self, message: str = "The service is too busy. Try again with the same key.") -> None:
        super().__init__(message, code=UNAVAILABLE, details={"retryable": True})


def formatted(error: GraphQLError, *, code: str, request_id: str) -> dict[str, Any]:
    """An error of a request that was not executed, as the response holds it.

    `code` is that of the stage that found it, unless the error brings its own.
    """
    original = error if isinstance(error, ExposedError) else error.original_error
    extensions = {"code": code, **(error.extensions or {})}
    if isinstance(original, ExposedError):
        extensions |= original.extensions or {}
    return _response_form(error, error.message, extensions | {"requestId": request_id})


def formatted_field_error(error: GraphQLError, *, request_id: str) -> dict[str, Any]:
    """An error of the execution, as the response holds it: shown if it may be, else masked and logged."""
    original = error if isinstance(error, ExposedError) else error.original_error
    if original is not None and not isinstance(original, ExposedError) and _passes(original):
        log_unexpected(original, request_id=request_id, field=_dotted(error.path))
        original = Unavailable()
    if isinstance(original, ExposedError):
        return _response_form(error, error.message, {**(original.extensions or {}), "requestId": request_id})
    if _of_argument(error):
        return _response_form(error, error.message, {"code": BAD_USER_INPUT, "requestId": request_id})
    log_unexpected(original or error, request_id=request_id, field=_dotted(error.path))
    return _response_form(error, MASKED_MESSAGE, {"code": INTERNAL, "requestId": request_id})


def failure(error: BaseException, *, request_id: str) -> dict[str, Any]:
    """A failure outside of any field, as the response holds it; logs what was not meant for the caller."""
    if isinstance(error, ExposedError):
        return _response_form(error, error.message, {**(error.extensions or {}), "requestId": request_id})
    log_unexpected(error, request_id=request_id, field=None)
    if _passes(error):
        away = Unavailable()
        return _response_form(away, away.message, {**(away.extensions or {}), "requestId": request_id})
    return {"message": MASKED_MESSAGE, "extensions": {"code": INTERNAL, "requestId": request_id}}


def log_unexpected(error: BaseException, *, request_id: str, field: str | None) -> None:
    """One line with the kinds of the exception and its causes, and where they were raised."""
    chain = [error]
    while len(chain) < _CAUSES and (cause := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(cause)
    _log.error(
        "unexpected error",
        request_id=request_id,
        field=field,
        kinds=[f"{type(each).__module__}.{type(each).__qualname__}" for each in chain],
        traceback="".join(line for each in reversed(chain) for line in traceback.format_tb(each.__traceback__)),
    )


def _passes(error: BaseException) -> bool:
    return isinstance(error, LedgerUnavailable) or is_outage(error)


def _of_argument(error: GraphQLError) -> bool:
    """Whether graphql-core refused an argument, such as a variable that is null where nothing may be null.

    Such an error has no class of its own: it is a GraphQLError that no other error caused.
    """
    cause = error.original_error
    return error.message.startswith("Argument '") and (cause is None or type(cause) is GraphQLError)


def _response_form(error: GraphQLError, message: str, extensions: dict[str, Any]) -> dict[str, Any]:
    form: dict[str, Any] = {"message": message}
    if error.locations:
        form["locations"] = [{"line": each.line, "column": each.column} for each in error.locations]
    if error.path is not None:
        form["path"] = error.path
    form["extensions"] = extensions
    return form


def _dotted(path: list[str | int] | None) -> str | None:
    """The names of a response path; indexes stay, values never come into it."""
    return None if path is None else ".".join(str(step) for step in path)
