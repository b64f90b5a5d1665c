"""How a process that runs until it is told to stop learns that it was."""

import asyncio
import multiprocessing
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Final

STOPPING: Final = (signal.SIGINT, signal.SIGTERM)


def stopping(at_once: Callable[[], None] | None = None) -> asyncio.Event:
    """Set by a signal, or when the supervisor is gone; a second signal calls `at_once`, for those who cannot wait."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def asked() -> None:
        if stop.is_set() and at_once is not None:
            at_once()
        stop.set()

    for each in STOPPING:
        loop.add_signal_handler(each, asked)
    parent = multiprocessing.parent_process()
    if parent is not None:
        loop.add_reader(parent.sentinel, stop.set)
    return stop


async def until_stopped(stop: asyncio.Event, jobs: list[asyncio.Task[None]]) -> None:
    """Returns when asked to stop, or when a job ended before that; its error comes out when it is awaited."""
    asked = asyncio.create_task(stop.wait())
    await asyncio.wait([asked, *jobs], return_when=asyncio.FIRST_COMPLETED)
    asked.cancel()
    with suppress(asyncio.CancelledError):
        await asked
