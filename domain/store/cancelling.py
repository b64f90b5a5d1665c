"""Ending tasks that use the database, reliably.

The driver may swallow a cancellation while it puts a connection away; a task that waits for something else after that
would wait for ever, and so would whoever waits for it.
"""

import asyncio
from typing import Any, Final

AGAIN_SECONDS: Final = 0.2


async def cancelled(*tasks: asyncio.Future[Any]) -> None:
    """Cancels the tasks until they are over; what they failed with is nobody's concern any more.

    Whoever is cancelled while he waits here is so once they are over.
    """
    interrupted: asyncio.CancelledError | None = None
    while pending := [each for each in tasks if not each.done()]:
        for each in pending:
            each.cancel()
        try:
            await asyncio.wait(pending, timeout=AGAIN_SECONDS)
        except asyncio.CancelledError as error:
            interrupted = error
    for each in tasks:
        if not each.cancelled():
            each.exception()
    if interrupted is not None:
        raise interrupted
