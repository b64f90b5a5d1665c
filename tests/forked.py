"""Processes of their own for tests to kill and to stop, forked from one that has everything imported.

To start Python and to import the project takes one to two seconds of a processor, and a fork some milliseconds.
"""

import asyncio
import multiprocessing
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Final, TypeAlias

PATIENCE_SECONDS: Final = 90
"""Time enough on a machine that does much else."""

FORKING: Final = multiprocessing.get_context("forkserver")
FORKING.set_forkserver_preload(["tests.faults.process", "tests.payments.process"])

Line: TypeAlias = "Connection[Any, Any]"
"""Between a test and its process."""


@dataclass(frozen=True, kw_only=True)
class Forked:
    """One such process, and the line to it."""

    process: BaseProcess
    line: Line

    async def ended(self) -> int:
        """Its exit code, which is negative for the signal that killed it."""
        await asyncio.to_thread(self.process.join, PATIENCE_SECONDS)
        code = self.process.exitcode
        assert code is not None, "it does not end"
        self.line.close()
        return code

    async def stop(self) -> int:
        """The exit code of one that waits for `told_to_stop`."""
        self.line.send(None)
        return await self.ended()


def fork(act: Callable[..., Coroutine[Any, Any, None]], **told: Any) -> Forked:
    """A process that does what `act` says, which is given the line and all that it is told."""
    ours, theirs = FORKING.Pipe()
    process = FORKING.Process(target=_run, args=(act, theirs, told), daemon=True)
    process.start()
    theirs.close()
    return Forked(process=process, line=ours)


async def told_to_stop(line: Line) -> None:
    """Returns when the test says so, or is gone."""
    with suppress(EOFError):
        await asyncio.to_thread(line.recv)


def _run(act: Callable[..., Coroutine[Any, Any, None]], line: Line, told: dict[str, Any]) -> None:
    asyncio.run(act(line, **told))
