"""The worker: a process that does what falls due, from start to a graceful end."""

import asyncio
from typing import Final

import structlog
import uvloop

from api.command.stopping import stopping, until_stopped
from api.context import Services
from api.edge.logs import configure_logs
from api.services import opened_services
from domain.settings import Settings
from notifications.worker import Worker

_LOG: Final = structlog.get_logger(__name__)


def work(settings: Settings) -> None:
    """Run a worker until told to stop. Raises what `opened_services` raises."""
    configure_logs()
    uvloop.run(_work(settings))


def worker_of(services: Services) -> Worker:
    """A worker on what the process has open."""
    return Worker(services.store, services.clock, services.ledger, provider=services.provider, office=services.office)


async def _work(settings: Settings) -> None:
    async with opened_services(settings, serves=False) as services:
        worker = worker_of(services)
        stop = stopping()
        jobs = [asyncio.create_task(worker.run(), name="worker")]
        _LOG.info("working", mode=settings.mode.value)
        await until_stopped(stop, jobs)
        worker.stop()
        await asyncio.gather(*jobs)
    _LOG.info("stopped")
