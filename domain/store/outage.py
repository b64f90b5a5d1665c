"""Which failures of the database pass on their own, so that the same call may be made again."""

from typing import Final

from pymongo.errors import ConnectionFailure, ExecutionTimeout, WaitQueueTimeoutError, WTimeoutError

from domain.store.connection import StoreUnavailable

_OUTAGES: Final = (
    StoreUnavailable,
    ConnectionFailure,
    ExecutionTimeout,
    WaitQueueTimeoutError,
    WTimeoutError,
    TimeoutError,
)


def is_outage(error: BaseException) -> bool:
    """True when the database was away or too slow; whether the call had an effect is then not known."""
    return isinstance(error, _OUTAGES)
