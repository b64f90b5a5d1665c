"""How many pushes a second one process gets accepted, beside `send_each_async` of firebase-admin.

Both send the same messages to the same stand-in of FCM, a process of its own, over real HTTP. The library's address
is no setting of it, so it is changed in its class, here only. Rounds are interleaved; what is shown is the median.
Run it with ``python -m benchmarks.push``.
"""

import argparse
import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from itertools import count
from typing import Final

import firebase_admin
import httpx
import uvloop
from firebase_admin import messaging
from firebase_admin.credentials import Base
from google.oauth2.credentials import Credentials
from rich.console import Console

from benchmarks.measured import machine, show_and_keep
from notifications.channel import Endpoint, EndpointKind, Fate, Message, MessageCategory, Platform
from notifications.firebase.bearer import FixedBearer
from notifications.firebase.carrier import FirebaseCarrier
from notifications.firebase.rate import Rate
from notifications.phone.process import running_phones

PROJECT: Final = "sandbox-wallet"
BATCH: Final = 500
"""The most that `send_each_async` takes."""
CALLERS: Final = 128
DEVICES: Final = 1_000
NO_LIMIT: Final = 1e9
OURS, LIBRARY = "FirebaseCarrier", "send_each_async"
COLUMNS: Final = ("sender", "accepted/s", "of the library's", "CPU µs", "not accepted")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One measurement; `cpu_us` is the sender's own process for one message."""

    accepted: int
    failed: int
    seconds: float
    cpu_us: float

    @property
    def rate(self) -> float:
        return self.accepted / self.seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """`send` sends until the instant of `time.monotonic`; how many were accepted, and how many were not."""

    name: str
    send: Callable[[float], Awaitable[tuple[int, int]]]


def messages(now: datetime) -> Iterator[tuple[Message, Endpoint]]:
    """Different ones for ever, to the same phones in turn."""
    for number in count():
        yield (
            Message(
                delivery_id=f"{number:024}.0",
                category=MessageCategory.TRANSACTIONAL,
                title=f"+{number % 90} points",
                body=f"Thank you! You have {number % 9_000} points now.",
                link="corner://activity",
                label="earned.0",
                expires_at=now + timedelta(days=1),
            ),
            Endpoint(
                id=str(number % DEVICES),
                kind=EndpointKind.FID,
                value=f"installation-{number % DEVICES:04}",
                platform=Platform.ANDROID,
            ),
        )


@asynccontextmanager
async def ours(url: str) -> AsyncIterator[Contestant]:
    """Callers in a closed loop, as the worker's sends are."""
    now = datetime.now(UTC)
    carrier = FirebaseCarrier(url=url, project=PROJECT, bearer=FixedBearer("bearer"), rate=Rate(NO_LIMIT))
    source = messages(now)

    async def caller(until: float) -> tuple[int, int]:
        accepted = failed = 0
        while time.monotonic() < until:
            message, endpoint = next(source)
            outcome = await carrier.send(message, endpoint, now=now)
            accepted += outcome.fate is Fate.ACCEPTED
            failed += outcome.fate is not Fate.ACCEPTED
        return accepted, failed

    async def send(until: float) -> tuple[int, int]:
        counts = await asyncio.gather(*(caller(until) for _ in range(CALLERS)))
        return sum(each[0] for each in counts), sum(each[1] for each in counts)

    try:
        yield Contestant(name=OURS, send=send)
    finally:
        await carrier.close()


class _Token(Base):  # type: ignore[misc]
    def get_credential(self) -> Credentials:
        return Credentials(token="bearer")  # type: ignore[no-untyped-call]


@asynccontextmanager
async def library(url: str) -> AsyncIterator[Contestant]:
    """Batches of 500, one after the other: within a batch it sends all at once."""
    messaging._MessagingService.FCM_URL = f"{url}/v1/projects/{{0}}/messages:send"  # noqa: SLF001 -- no setting of it
    app = firebase_admin.initialize_app(_Token(), {"projectId": PROJECT}, name="benchmark")
    source = messages(datetime.now(UTC))

    async def send(until: float) -> tuple[int, int]:
        accepted = failed = 0
        while time.monotonic() < until:
            batch = [theirs(*next(source)) for _ in range(BATCH)]
            answered = await messaging.send_each_async(batch, app=app)
            accepted += answered.success_count
            failed += answered.failure_count
        return accepted, failed

    yield Contestant(name=LIBRARY, send=send)


def theirs(message: Message, endpoint: Endpoint) -> messaging.Message:
    """The same message as ours, in the library's words."""
    return messaging.Message(
        fid=endpoint.value,
        notification=messaging.Notification(title=message.title, body=message.body),
        data={"delivery_id": message.delivery_id, "link": message.link},
        android=messaging.AndroidConfig(
            ttl=timedelta(days=1),
            priority="high",
            notification=messaging.AndroidNotification(tag=message.delivery_id),
        ),
        fcm_options=messaging.FCMOptions(analytics_label=message.label),
    )


async def measured(contestant: Contestant, seconds: float) -> Sample:
    began, cpu = time.monotonic(), time.process_time()
    accepted, failed = await contestant.send(began + seconds)
    took = time.monotonic() - began
    cpu_us = (time.process_time() - cpu) * 1e6 / max(accepted + failed, 1)
    return Sample(accepted=accepted, failed=failed, seconds=took, cpu_us=cpu_us)


def rows_of(samples: dict[str, list[Sample]]) -> list[list[str]]:
    """A row for each sender: medians over the rounds, and the ratio within a round."""

    def row(name: str, rounds: Sequence[Sample]) -> list[str]:
        pairs = zip(rounds, samples[LIBRARY], strict=True)
        return [
            name,
            f"{statistics.median(each.rate for each in rounds):,.0f}",
            f"{statistics.median(one.rate / other.rate for one, other in pairs):.1f} ×",
            f"{statistics.median(each.cpu_us for each in rounds):,.0f}",
            f"{sum(each.failed for each in rounds):,}",
        ]

    return [row(name, rounds) for name, rounds in samples.items()]


async def run(arguments: argparse.Namespace, url: str, console: Console) -> None:
    samples: dict[str, list[Sample]] = {OURS: [], LIBRARY: []}
    async with AsyncExitStack() as stack, httpx.AsyncClient(base_url=url) as phones:
        contestants = [await stack.enter_async_context(each(url)) for each in (ours, library)]
        for contestant in contestants:
            await measured(contestant, 0.5)
        for turn in range(arguments.rounds):
            for contestant in contestants if turn % 2 == 0 else contestants[::-1]:
                await phones.delete("/phone")
                sample = await measured(contestant, arguments.seconds)
                samples[contestant.name].append(sample)
                console.print(f"{contestant.name:>16}  {sample.rate:>8,.0f} accepted/s")
    about = machine() | {
        "firebase-admin": version("firebase-admin"),
        "aiohttp": version("aiohttp"),
        "callers": f"{CALLERS} in a closed loop; the library in batches of {BATCH}",
        "rounds": f"{arguments.rounds} of {arguments.seconds:g} s, interleaved",
    }
    show_and_keep(
        "push",
        "Pushes a second that the stand-in accepted, medians over the rounds",
        columns=COLUMNS,
        rows=rows_of(samples),
        rounds={name: [asdict(each) for each in rounds] for name, rounds in samples.items()},
        about=about,
        console=console,
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.push", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with running_phones() as url, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(arguments, url, Console()))


if __name__ == "__main__":
    main()
