"""The server: one process, or several that share a port, from start to a graceful end.

`serve` blocks until SIGINT or SIGTERM, lets what is under way finish for a few seconds, and returns. With more
than one process the first only supervises: it holds the port and the embedded server, and replaces a process
that died. Where processes keep dying it stops all of them, so that whatever started it can see that.
A process stops by itself when its supervisor is gone.

    PortTaken       another program listens there
    ServerFailed    processes died too often
"""

import asyncio
import gc
import multiprocessing
import os
import signal
import socket
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Final

import structlog
import uvicorn
import uvloop
from starlette.applications import Starlette

from api.command.plan import MAX_PROCESSES, Plan
from api.command.stopping import STOPPING, stopping, until_stopped
from api.command.work import worker_of
from api.edge.app import build_app
from api.edge.limits import MAX_BODY_BYTES
from api.edge.logs import configure_logs
from api.edge.slow_clients import ImpatientHttp, ImpatientWebSockets
from api.schema import build_schema
from api.services import begin_time, ensure_programme, opened_services
from domain.failure import Failure
from domain.programme.published import Programmes
from domain.settings import Settings
from domain.store.clock import open_clock
from domain.store.connection import opened_store
from domain.store.embedded import open_embedded

GRACE_SECONDS: Final = 5
KILL_SECONDS: Final = 15.0
DEATHS: Final = 5
DEATHS_WITHIN_SECONDS: Final = 60.0
BACKLOG: Final = 2048
_POLL_SECONDS: Final = 0.2
_SPAWN: Final = multiprocessing.get_context("spawn")

_LOG: Final = structlog.get_logger(__name__)


class PortTaken(Failure):
    """The address cannot be listened on."""

    def __init__(self, host: str, port: int, reason: str) -> None:
        super().__init__(
            f"Port {port} on {host} is not available: {reason}. Stop what uses it, or choose another with --port."
        )


class ServerFailed(Failure):
    """Server processes died too often to go on; their log says why."""

    def __init__(self) -> None:
        super().__init__(f"{DEATHS} server processes died within {DEATHS_WITHIN_SECONDS:.0f} seconds; stopped.")


def serve(plan: Plan, *, processes: int = 1) -> None:
    """Serve until told to stop. Raises PortTaken, ServerFailed, and what `opened_services` raises."""
    assert 1 <= processes <= MAX_PROCESSES, processes
    configure_logs()
    with bound(plan) as sock:
        if processes == 1:
            uvloop.run(serve_one(plan, sock))
            return
        plan = replace(plan, port=sock.getsockname()[1], shared=True)
    _supervise(plan, processes)


@contextmanager
def bound(plan: Plan) -> Iterator[socket.socket]:
    """A socket on the plan's address that does not listen yet. Raises PortTaken."""
    family = socket.AF_INET6 if ":" in plan.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if plan.shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            sock.bind((plan.host, plan.port))
        except OSError as error:
            raise PortTaken(plan.host, plan.port, error.strerror or str(error)) from error
        yield sock


async def serve_one(plan: Plan, sock: socket.socket) -> None:
    """This process's part: services, application and worker on one event loop, until a signal."""
    async with opened_services(plan.settings, serves=True, start_at=plan.start_at) as services:
        app = build_app(services, build_schema(sandbox=plan.settings.sandbox))
        _spare_the_collector()
        server = _Server(http_config(app, plan.settings))
        stop = stopping(at_once=server.give_up)
        jobs = [asyncio.create_task(server.serve(sockets=[sock]), name="http")]
        worker = worker_of(services) if plan.worker else None
        if worker is not None:
            jobs.append(asyncio.create_task(worker.run(), name="worker"))
        host, port = sock.getsockname()[:2]
        _LOG.info("serving", host=host, port=port, mode=plan.settings.mode.value, worker=plan.worker)
        await until_stopped(stop, jobs)
        server.should_exit = True
        await app.state.live.close()
        if worker is not None:
            worker.stop()
        await asyncio.gather(*jobs)
    _LOG.info("stopped")


def _spare_the_collector() -> None:
    """What is built once is not looked at again, and what requests leave is looked for less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


class _Server(uvicorn.Server):
    """Leaves the signals to us: more than the HTTP server has to stop."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def give_up(self) -> None:
        """Waits no longer for what is under way."""
        self.force_exit = True


def http_config(app: Starlette, settings: Settings, *, port: int = 0) -> uvicorn.Config:
    """How the application is served; the port is for a caller that has bound no socket."""
    return uvicorn.Config(
        app,
        port=port,
        http=ImpatientHttp,
        ws=ImpatientWebSockets,
        ws_max_size=MAX_BODY_BYTES,
        # A compressor for each of thousands of idle connections would take more memory than all else of it.
        ws_per_message_deflate=False,
        forwarded_allow_ips=list(settings.trusted_proxies),
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )


def _supervise(plan: Plan, processes: int) -> None:
    """Runs the plan in so many processes, until a signal. Raises ServerFailed."""
    told: list[int] = []
    before = {each: signal.signal(each, lambda number, _frame: told.append(number)) for each in STOPPING}
    with ExitStack() as stack:
        stack.callback(lambda: [signal.signal(each, handler) for each, handler in before.items()])
        if plan.settings.mongodb_url is None:
            stack.enter_context(open_embedded(plan.settings.data))
        asyncio.run(_prepare(plan))
        stack.enter_context(bound(plan))
        children = [start(plan) for _ in range(processes)]
        stack.callback(stop_all, children)
        deaths: deque[float] = deque(maxlen=DEATHS)
        while not told:
            wait([child.sentinel for child in children], _POLL_SECONDS)
            for index, child in enumerate(children):
                if told or child.is_alive():
                    continue
                deaths.append(time.monotonic())
                if len(deaths) == DEATHS and deaths[-1] - deaths[0] < DEATHS_WITHIN_SECONDS:
                    raise ServerFailed
                _LOG.error("process died", pid=child.pid, exit_code=child.exitcode)
                children[index] = start(plan)


async def _prepare(plan: Plan) -> None:
    """What must be wrong once and not in every process: the store, the clock's beginning, the programme."""
    async with opened_store(plan.settings) as store:
        clock = await open_clock(store, plan.settings)
        await begin_time(clock, plan.start_at)
        await ensure_programme(store, plan.settings, clock)
        await Programmes.open(store)


def start(plan: Plan, *, log: Path | None = None) -> BaseProcess:
    """A process that serves the plan until SIGTERM, or until this one is gone; `log` takes its standard error."""
    process = _SPAWN.Process(target=_serve_as_child, args=(plan, log), name="wallet-serve")
    process.start()
    return process


def stop_all(children: list[BaseProcess]) -> None:
    """Asks all to stop, and kills what has not after KILL_SECONDS."""
    for child in children:
        child.terminate()
    deadline = time.monotonic() + KILL_SECONDS
    for child in children:
        child.join(max(0.0, deadline - time.monotonic()))
        if child.is_alive():
            child.kill()
            child.join()


def _serve_as_child(plan: Plan, log: Path | None) -> None:
    if log is not None:
        with log.open("ab") as file:
            os.dup2(file.fileno(), 2)
    configure_logs()
    with bound(plan) as sock:
        uvloop.run(serve_one(plan, sock))
