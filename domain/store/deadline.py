"""A time limit for everything that a piece of work asks of the database: each query carries what is left of it.

The server ends a query whose limit is over by itself (maxTimeMS), so that nobody's work goes on there after the
caller has been told that it took too long.
"""

from contextlib import AbstractContextManager

import pymongo


def within(seconds: float) -> AbstractContextManager[None]:
    """Queries of this context are over after so many seconds; later ones raise what `is_outage` knows."""
    return pymongo.timeout(seconds)


def unlimited() -> AbstractContextManager[None]:
    """Queries of this context carry no limit: a getMore of our own, whose find has brought it, may have none."""
    return pymongo.timeout(None)
