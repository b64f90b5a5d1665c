"""What operators read: one line with its fields for each event, on standard error.

JSON where a machine collects it, colours where a person looks on. Nothing personal is logged: an event names
members by id at most.
"""

import logging
import sys

import structlog


def configure_logs() -> None:
    """Sets the form of all logs of this process; to be called once, before the first event."""
    if sys.stderr.isatty():
        # Its own tracebacks print the values of all variables, which are members' and may take minutes.
        console = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        render: list[structlog.typing.Processor] = [console]
    else:
        render = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(
        level=logging.WARNING, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
