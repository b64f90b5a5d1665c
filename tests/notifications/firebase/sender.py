"""A carrier that sends to the stand-in, with chance and the machine's time as the test says."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from notifications.channel import Endpoint, EndpointKind, Message, MessageCategory, Outcome, Platform
from notifications.firebase.bearer import Bearer, FixedBearer
from notifications.firebase.carrier import FirebaseCarrier, Surroundings
from notifications.firebase.rate import Rate

NOW = datetime(2026, 7, 6, 8, 30, tzinfo=UTC)
MACHINE_NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)


class Unspread(Random):
    """Chance that adds nothing, so that instants are exact."""

    def random(self) -> float:
        return 0.0


@dataclass(kw_only=True)
class Sender:
    carrier: FirebaseCarrier
    slept: list[float] = field(default_factory=list)

    async def send(self, endpoint: Endpoint | None = None, *, now: datetime = NOW, **fields: Any) -> Outcome:
        return await self.carrier.send(message(**fields), endpoint or phone(), now=now)


@asynccontextmanager
async def opened_sender(
    url: str,
    *,
    bearer: Bearer | None = None,
    rate: Rate | None = None,
    read_seconds: float = 10.0,
    chance: Random | None = None,
) -> AsyncIterator[Sender]:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    carrier = FirebaseCarrier(
        url=url,
        project="my-shop-1a2b3",
        bearer=bearer or FixedBearer("any-bearer"),
        rate=rate or Rate(10_000.0),
        read_seconds=read_seconds,
        surroundings=Surroundings(machine_now=lambda: MACHINE_NOW, sleep=sleep, random=chance or Unspread()),
    )
    try:
        yield Sender(carrier=carrier, slept=slept)
    finally:
        await carrier.close()


def message(**fields: Any) -> Message:
    given: dict[str, Any] = {
        "delivery_id": "run-1.step-1",
        "category": MessageCategory.SERVICE,
        "title": "Hello",
        "body": "Your points wait.",
        "label": "welcome.1",
        "expires_at": NOW + timedelta(hours=2),
    }
    return Message(**{**given, **fields})


def phone(value: str = "phone-1", platform: Platform | None = Platform.ANDROID) -> Endpoint:
    return Endpoint(id=f"device-{value}", kind=EndpointKind.FID, value=value, platform=platform)
