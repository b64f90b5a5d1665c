"""The stand-in as a process of its own, which survives the death of any sender and ends with whoever started it.

PhonesFailed   the process did not come to listen
"""

import asyncio
import multiprocessing
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.synchronize import Event
from typing import Final

import uvloop

from domain.failure import Failure
from notifications.phone.address import HOST, phones_url
from notifications.phone.stand_in import run_stand_in

READY_SECONDS: Final = 30.0
_SPAWN: Final = multiprocessing.get_context("spawn")


class PhonesFailed(Failure):
    """The stand-in does not run; its standard error says why."""

    def __init__(self) -> None:
        super().__init__("The phones' process did not start.")


@contextmanager
def running_phones(port: int = 0) -> Iterator[str]:
    """The address of a stand-in on loopback, which runs until the end of the context; with port 0 on a free one.

    Raises OSError where the port cannot be had, and PhonesFailed.
    """
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((HOST, port))
        url = phones_url(sock.getsockname()[1])
        ready = _SPAWN.Event()
        process = _SPAWN.Process(target=_serve, args=(sock, ready), name="wallet-phones", daemon=True)
        process.start()
    try:
        if not ready.wait(READY_SECONDS):
            raise PhonesFailed
        yield url
    finally:
        process.kill()
        process.join()


def _serve(sock: socket.socket, ready: Event) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(asyncio.CancelledError):
        uvloop.run(_until_alone(sock, ready))


async def _until_alone(sock: socket.socket, ready: Event) -> None:
    parent = multiprocessing.parent_process()
    task = asyncio.current_task()
    assert parent is not None
    assert task is not None
    asyncio.get_running_loop().add_reader(parent.sentinel, task.cancel)
    await run_stand_in(sock, ready=ready.set)
