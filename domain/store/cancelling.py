"""Ending tasks that use the database, for certain.

The driver may swallow a cancellation while it puts a connection away; a task that waits for something else after that
would wait for ever, and so would whoever waits for it.
"""

import asyncio
from typing import Any, Final

AGAIN_SECONDS: Final = 0.2


async def cancelled(*tasks: asyncio.Future[Any]) -> None:
    """Cancels the tasks until they are over; what they failed with is nobody's concern any more."""
    pending = {each for each in tasks if not each.done()}
    while pending:
        for each in pending:
            each.cancel()
        _, pending = await asyncio.wait(pending, timeout=AGAIN_SECONDS)
    for each in tasks:
        if not each.cancelled():
            each.exception()
