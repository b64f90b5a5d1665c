"""An alarm: something that no retry repairs and a person must look at, logged and counted for Prometheus."""

from typing import Any, Final

import structlog
from prometheus_client import Counter

ALARMS: Final = Counter(
    "wallet_alarms",
    "What a person must look at: kind is a word of the code, never anything of a member.",
    ["kind"],
)

_LOG: Final = structlog.get_logger(__name__)


def alarm(kind: str, **facts: Any) -> None:
    """Raises the alarm. `facts` are ids of the programme and words of an outside service, nothing of a member."""
    ALARMS.labels(kind=kind).inc()
    _LOG.error("alarm", kind=kind, **facts)
