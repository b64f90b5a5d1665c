"""What to serve, and where."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from domain.settings import Settings

MAX_PROCESSES: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to serve, and where. `shared` binds the port so that several processes can."""

    settings: Settings
    host: str
    port: int
    start_at: datetime | None = None
    worker: bool = True
    shared: bool = False
