"""Until when nothing is sent to the project, to a platform or to a device, because FCM said so.

Instants are the wallet's clock, which a sandbox moves: whoever moves it past a pause has waited for it.
"""

from collections import OrderedDict
from datetime import datetime, timedelta
from random import Random
from typing import Final, TypeVar

from notifications.channel import Endpoint, Fate, Platform
from notifications.firebase.answer import Scope, Verdict

MAX_REMEMBERED: Final = 10_000
"""Devices and messages that were told to wait, the newest; forgetting one means asking FCM again."""
MAX_GROWN_SECONDS: Final = 3_600.0
MAX_DOUBLINGS: Final = 20
JITTER_SHARE: Final = 0.25
"""Up to this share of a wait is added to it, never taken away, so that not all come back at once."""

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class Pauses:
    """What one process was told."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._project: _Pause | None = None
        self._platforms: dict[Platform | None, _Pause] = {}
        self._devices: OrderedDict[str, _Pause] = OrderedDict()
        self._failures: OrderedDict[_Failing, int] = OrderedDict()

    def of(self, endpoint: Endpoint, *, now: datetime) -> tuple[datetime, str] | None:
        """Until when to leave the endpoint alone, and the reason; None where nothing is in the way."""
        for pause in (
            self._project,
            self._platforms.get(endpoint.platform),
            self._devices.get(endpoint.value),
        ):
            if pause is not None and pause[0] > now:
                return pause
        return None

    def heed(self, verdict: Verdict, endpoint: Endpoint, delivery: str, *, now: datetime) -> datetime | None:
        """Remembers what the verdict asks for; when this message may be sent again, or None if it need not be."""
        failing: _Failing = {Scope.PROJECT: Scope.PROJECT, Scope.PLATFORM: endpoint.platform}.get(
            verdict.scope, (delivery, endpoint.value)
        )
        if verdict.wait_seconds is None:
            for over in (failing, Scope.PROJECT, endpoint.platform) if verdict.fate is Fate.ACCEPTED else (failing,):
                self._failures.pop(over, None)
            return None
        wait = verdict.wait_seconds
        if verdict.grows:
            is_first = verdict.scope is Scope.MESSAGE or self.of(endpoint, now=now) is None
            failures = max(self._failures.get(failing, 0) + is_first, 1)
            wait = min(wait * 2.0 ** min(failures - 1, MAX_DOUBLINGS), MAX_GROWN_SECONDS)
            _remember(self._failures, failing, failures)
        pause = (now + timedelta(seconds=wait), verdict.reason)
        match verdict.scope:
            case Scope.PROJECT:
                self._project = _later(self._project, pause)
            case Scope.PLATFORM:
                self._platforms[endpoint.platform] = _later(self._platforms.get(endpoint.platform), pause)
            case Scope.DEVICE:
                _remember(self._devices, endpoint.value, _later(self._devices.get(endpoint.value), pause))
            case Scope.MESSAGE:
                pass
        return self.spread(pause[0], wait)

    def spread(self, until: datetime, wait_seconds: float) -> datetime:
        """The instant and a little more, at random."""
        return until + timedelta(seconds=wait_seconds * JITTER_SHARE * self._random.random())


_Pause = tuple[datetime, str]
_Failing = Scope | Platform | tuple[str, str] | None
"""What failed, and how often in a row: the project, a platform, or one message at one endpoint."""


def _later(one: _Pause | None, other: _Pause) -> _Pause:
    return other if one is None or other[0] > one[0] else one


def _remember(memory: OrderedDict[_Key, _Value], key: _Key, value: _Value) -> None:
    memory.pop(key, None)
    memory[key] = value
    if len(memory) > MAX_REMEMBERED:
        memory.popitem(last=False)
