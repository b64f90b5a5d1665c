"""The access token that a request to FCM carries, renewed before it expires and off the event loop.

However many messages wait for a token, it is fetched once at a time. One that is good for a few minutes more is
used while its successor is fetched beside.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

import structlog

from notifications.firebase.admin import AccessToken, Unreachable

EARLY: Final = timedelta(minutes=5)
FETCH_SECONDS: Final = 30.0

log = structlog.get_logger(__name__)


class Bearer(Protocol):
    """Where tokens come from. Both raise Unreachable where there is none."""

    async def current(self) -> str:
        """A token that is good now."""
        ...

    async def renewed(self, *, after: str) -> str:
        """Another one than `after`, which was turned down."""
        ...

    async def close(self) -> None:
        """Fetches nothing any more."""
        ...


class FixedBearer:
    """A sandbox's without credentials, for a stand-in."""

    def __init__(self, text: str) -> None:
        self._text = text

    async def current(self) -> str:
        return self._text

    async def renewed(self, *, after: str) -> str:
        del after
        return self._text

    async def close(self) -> None:
        pass


class RefreshedBearer:
    """`fetch` blocks and raises Unreachable; `machine_now` is the clock that the tokens' expiry is of.

    `closed` is called at the end, once nothing is fetched any more.
    """

    def __init__(
        self,
        fetch: Callable[[], AccessToken],
        *,
        closed: Callable[[], None] | None = None,
        machine_now: Callable[[], datetime] | None = None,
    ) -> None:
        self._fetch = fetch
        self._closed = closed
        self._machine_now = machine_now or (lambda: datetime.now(UTC))
        self._token: AccessToken | None = None
        self._fetching: asyncio.Task[AccessToken] | None = None

    async def current(self) -> str:
        token, now = self._token, self._machine_now()
        if token is not None and now < token.expires_at:
            if now >= token.expires_at - EARLY:
                self._begin()
            return token.text
        return (await asyncio.shield(self._begin())).text

    async def renewed(self, *, after: str) -> str:
        if self._token is not None and self._token.text != after:
            return await self.current()
        return (await asyncio.shield(self._begin())).text

    async def close(self) -> None:
        if self._fetching is not None:
            self._fetching.cancel()
            with suppress(asyncio.CancelledError, Unreachable):
                await self._fetching
        if self._closed is not None:
            self._closed()

    def _begin(self) -> asyncio.Task[AccessToken]:
        if self._fetching is None or self._fetching.done():
            self._fetching = asyncio.create_task(self._refresh(), name="firebase-access-token")
            self._fetching.add_done_callback(_tell)
        return self._fetching

    async def _refresh(self) -> AccessToken:
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                self._token = await asyncio.to_thread(self._fetch)
        except TimeoutError as error:
            raise Unreachable(f"no access token within {FETCH_SECONDS:.0f} seconds") from error
        return self._token


def _tell(fetching: asyncio.Task[AccessToken]) -> None:
    if not fetching.cancelled() and (error := fetching.exception()) is not None:
        log.warning("firebase.no_token", error=str(error))
