"""Open streams: those of this process, and the reasons why they end.

A stream belongs to a caller and lives no longer than his token, by the wallet's clock, and than his session; a process
that stops ends all of them. One task looks after all streams, once a second, and only while there are any.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

import structlog

from api.access import Caller, MemberCaller
from api.context import Services
from api.edge.metrics import CLOSED
from domain.members.session import ended_sessions
from domain.store import collections
from domain.store.changes import Listener
from domain.store.outage import is_outage

WATCH_SECONDS: Final = 1.0
MAX_STREAMS: Final = 10_000
MAX_STREAMS_OF_CALLER: Final = 10

_LOG: Final = structlog.get_logger(__name__)


class Ending(StrEnum):
    """Why the server ended a stream."""

    TOKEN = "token"  # noqa: S105 -- a reason
    SESSION = "session"
    SLOW = "slow"
    SHUTDOWN = "shutdown"
    ERROR = "error"


class TooManyStreams(Exception):  # noqa: N818 -- says what is the case
    """The caller, or all callers together, have as many streams open as one process holds."""


@dataclass(slots=True, eq=False, kw_only=True)
class Stream:
    """An open connection of one caller; `end` is called once, when it must end, and must not wait."""

    caller: Caller
    expires_at: datetime
    end: Callable[[Ending], None]
    listener: Listener | None = None

    @property
    def session(self) -> str | None:
        return self.caller.session if isinstance(self.caller, MemberCaller) else None


class Live:
    """The streams of one process; :meth:`close` it when the process stops."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._streams: set[Stream] = set()
        self._of_caller: Counter[str] = Counter()
        self._suspects: set[str] = set()
        self._watch: asyncio.Task[None] | None = None
        self.closed = False

    def open(self, stream: Stream) -> None:
        """Looks after the stream until :meth:`leave`. Raises TooManyStreams."""
        actor = stream.caller.actor
        if self.closed or len(self._streams) >= MAX_STREAMS or self._of_caller[actor] >= MAX_STREAMS_OF_CALLER:
            raise TooManyStreams
        self._streams.add(stream)
        self._of_caller[actor] += 1
        session = stream.session
        if session is not None:
            # It may have ended before: the token does not say so.
            self._suspects.add(session)
            changes = self._services.changes
            stream.listener = changes.listen(collections.SESSIONS, session, lambda: self._suspects.add(session))
        if self._watch is None:
            loop = asyncio.get_running_loop()
            self._watch = loop.create_task(self._look_after(), name="live-streams", context=Context())

    def leave(self, stream: Stream) -> None:
        """The stream is over."""
        if stream not in self._streams:
            return
        self._streams.discard(stream)
        self._of_caller[stream.caller.actor] -= 1
        if not self._of_caller[stream.caller.actor]:
            del self._of_caller[stream.caller.actor]
        if stream.listener is not None:
            self._services.changes.leave(stream.listener)

    async def close(self) -> None:
        """Ends every stream."""
        self.closed = True
        for stream in tuple(self._streams):
            self._end(stream, Ending.SHUTDOWN)
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
            self._watch = None

    def _end(self, stream: Stream, why: Ending) -> None:
        CLOSED.labels(why.value).inc()
        self.leave(stream)
        stream.end(why)

    async def _look_after(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        # The driver may swallow a cancellation while it puts a connection away: the task remembers it.
        while self._streams and not task.cancelling():
            try:
                await self._services.clock.refresh()
                await self._end_sessions()
            except Exception as error:  # noqa: BLE001 -- the watch must go on
                if not is_outage(error):
                    _LOG.error("live.failed", error=type(error).__name__)
            now = self._services.clock.now()
            for stream in [each for each in self._streams if each.expires_at <= now]:
                self._end(stream, Ending.TOKEN)
            await asyncio.sleep(WATCH_SECONDS)
        self._watch = None

    async def _end_sessions(self) -> None:
        suspects = set(self._suspects)
        if not suspects:
            return
        ended = await ended_sessions(self._services.store, suspects)
        self._suspects -= suspects
        for stream in [each for each in self._streams if each.session in ended]:
            self._end(stream, Ending.SESSION)
