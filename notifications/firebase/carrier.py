"""PUSH: one message to one endpoint through FCM's HTTP v1 API, over a pooled connection of our own.

FCM knows no idempotency key. So a message is sent once per call, every one of a delivery under the same tag and
collapse id, and what is not known to have failed is AMBIGUOUS. RETRY means that FCM certainly did not take it. A
`retry_at` is never before what FCM asked for; one that is not before the message's `expires_at` says that its time
is over.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Final

import aiohttp
import orjson
from prometheus_client import Counter

from notifications.alarm import alarm
from notifications.channel import Channel, Endpoint, Fate, Message, Outcome
from notifications.firebase.admin import Unreachable, Unsendable, wire_body
from notifications.firebase.answer import SERVER_FLOOR_SECONDS, Answer, Scope, Verdict, judge
from notifications.firebase.bearer import Bearer
from notifications.firebase.mismatches import Mismatches
from notifications.firebase.pauses import Pauses
from notifications.firebase.rate import Rate

CONNECTIONS: Final = 256
CONNECT_SECONDS: Final = 5.0
READ_SECONDS: Final = 20.0
LONGEST_WAIT_SECONDS: Final = 0.4
"""How long a message waits here for its turn: a switch that is thrown meanwhile must work within a second.

What would wait longer is given back with the time of its turn.
"""

OUTCOMES: Final = Counter("wallet_push_outcomes", "Messages to one endpoint each, and what became of them.", ["fate"])
_OUTCOME: Final = {fate: OUTCOMES.labels(fate=fate.value) for fate in Fate}

_NOT_SENT: Final = Verdict(fate=Fate.RETRY, reason="NOT_SENT", wait_seconds=SERVER_FLOOR_SECONDS, grows=True)
_NO_ANSWER: Final = Verdict(fate=Fate.AMBIGUOUS, reason="NO_ANSWER", wait_seconds=SERVER_FLOOR_SECONDS, grows=True)
_NO_CREDENTIAL: Final = Verdict(
    fate=Fate.RETRY,
    reason="NO_CREDENTIAL",
    scope=Scope.PROJECT,
    wait_seconds=SERVER_FLOOR_SECONDS,
    alarm=True,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the carrier takes from outside of it, so that tests can give it another time and another chance."""

    monotonic: Callable[[], float] = time.monotonic
    machine_now: Callable[[], datetime] = lambda: datetime.now(UTC)
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    random: Random = field(default_factory=Random)


class FirebaseCarrier:
    """The carrier of PUSH. Belongs to the event loop that it is made on."""

    channel = Channel.PUSH

    def __init__(
        self,
        *,
        url: str,
        project: str,
        bearer: Bearer,
        rate: Rate,
        read_seconds: float = READ_SECONDS,
        surroundings: Surroundings | None = None,
    ) -> None:
        self._address = f"{url}/v1/projects/{project}/messages:send"
        self._bearer = bearer
        self._rate = rate
        self._around = surroundings or Surroundings()
        self._pauses = Pauses(self._around.random)
        self._mismatches = Mismatches()
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=CONNECTIONS),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Content-Type": "application/json", "Accept-Encoding": "identity"},
            timeout=aiohttp.ClientTimeout(total=3 * read_seconds, connect=CONNECT_SECONDS, sock_read=read_seconds),
        )

    async def send(self, message: Message, endpoint: Endpoint, *, now: datetime) -> Outcome:
        """As `Carrier.send`: sends once, and again only where our credential was turned down and renewed."""
        outcome = await self._send(message, endpoint, now=now)
        _OUTCOME[outcome.fate].inc()
        return outcome

    async def close(self) -> None:
        await self._bearer.close()
        await self._http.close()

    async def _send(self, message: Message, endpoint: Endpoint, *, now: datetime) -> Outcome:
        if (waits := self._paused(endpoint, now=now)) is not None:
            return waits
        at = self._around.monotonic()
        wait = self._rate.take(at, longest=LONGEST_WAIT_SECONDS)
        turn = self._rate.wait_seconds(at) if wait is None else wait
        if wait is None or now + timedelta(seconds=turn) >= message.expires_at:
            reason = "RATE" if wait is None else "EXPIRED"
            return Outcome(fate=Fate.RETRY, reason=reason, retry_at=now + timedelta(seconds=turn), asked=False)
        try:
            body = wire_body(message, endpoint, now=now)
        except Unsendable as error:
            alarm("push.unsendable", label=message.label, reason=error.reason)
            return Outcome(fate=Fate.UNFIT, reason=error.reason, asked=False)
        if wait > 0:
            await self._around.sleep(wait)
            if (waits := self._paused(endpoint, now=now)) is not None:
                return waits
        return self._heed(await self._asked(body), message, endpoint, now=now)

    def _paused(self, endpoint: Endpoint, *, now: datetime) -> Outcome | None:
        paused = self._pauses.of(endpoint, now=now)
        if paused is None:
            return None
        until, reason = paused
        return Outcome(
            fate=Fate.RETRY,
            reason=reason,
            retry_at=self._pauses.spread(until, (until - now).total_seconds()),
            asked=False,
        )

    async def _asked(self, body: bytes) -> Verdict:
        try:
            token = await self._bearer.current()
            verdict = await self._post(body, token)
            if verdict.credential:
                verdict = await self._post(body, await self._bearer.renewed(after=token))
        except Unreachable:
            return _NO_CREDENTIAL
        return verdict

    async def _post(self, body: bytes, token: str) -> Verdict:
        """What the one request came to. Only what failed before there was a connection is known not to be sent."""
        headers = {"Authorization": f"Bearer {token}"}
        try:
            async with self._http.post(self._address, data=body, headers=headers, allow_redirects=False) as response:
                said = await response.read()
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            return _NOT_SENT
        except (aiohttp.ClientError, TimeoutError, OSError):
            return _NO_ANSWER
        return judge(
            Answer(
                status=response.status,
                body=_object(said),
                retry_after=response.headers.get("Retry-After"),
                at=self._around.machine_now(),
            )
        )

    def _heed(self, verdict: Verdict, message: Message, endpoint: Endpoint, *, now: datetime) -> Outcome:
        """What follows from the verdict: pauses, a slower rate, alarms, and the outcome."""
        at = self._around.monotonic()
        news = self._pauses.of(endpoint, now=now) is None
        if verdict.reason == "QUOTA_EXCEEDED" and verdict.scope is Scope.PROJECT and news:
            self._rate.slow_down(at)
        if verdict.alarm and (news or verdict.scope is Scope.MESSAGE):
            alarm("push.refused", reason=verdict.reason, scope=verdict.scope.value, label=message.label)
        if self._mismatches.count(at, mismatch=verdict.fate is Fate.SET_ASIDE):
            alarm("push.sender_id_mismatch", reason=verdict.reason)
        retry_at = self._pauses.heed(verdict, endpoint, message.delivery_id, now=now)
        return Outcome(fate=verdict.fate, reason=verdict.reason, retry_at=retry_at)


def _object(said: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(said)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}
