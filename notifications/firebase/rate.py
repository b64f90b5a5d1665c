"""How fast a process may send: a token bucket whose rate starts low, rises with use, and falls after a refusal.

FCM asks senders to rise to their quota over a minute rather than at once, and to slow down when told that the
quota is used up. Times are seconds of any clock that does not go back.
"""

from typing import Final

RAMP_SECONDS: Final = 60.0
"""From the first message to the whole quota; after as long a silence it begins again."""
FIRST_SHARE: Final = 0.05
BURST_SECONDS: Final = 0.1
"""How much of what was not used may be caught up with at once."""
LOWEST_PER_SECOND: Final = 1.0


class Rate:
    """`most` is the quota, in messages a second."""

    def __init__(self, most: float) -> None:
        assert most >= LOWEST_PER_SECOND, most
        self.most = most
        self.first = max(most * FIRST_SHARE, LOWEST_PER_SECOND)
        self._rate = self.first
        self._risen_at: float | None = None
        self._next_at = 0.0

    def per_second(self, at: float) -> float:
        """The rate that is allowed at the time `at`, which comes with :meth:`take`."""
        if self._risen_at is None or at - self._risen_at >= RAMP_SECONDS:
            return min(self._rate, self.first)
        return min(self._rate + (self.most - self.first) * (at - self._risen_at) / RAMP_SECONDS, self.most)

    def take(self, at: float, *, longest: float) -> float | None:
        """Seconds to wait before one message may go, whose place is taken now; None if that were over `longest`."""
        self._rise(at)
        next_at = max(self._next_at, at - BURST_SECONDS)
        if next_at - at > longest:
            return None
        self._next_at = next_at + 1 / self._rate
        return max(next_at - at, 0.0)

    def wait_seconds(self, at: float) -> float:
        """How long the next one would wait."""
        return max(self._next_at - at, 0.0)

    def slow_down(self, at: float) -> None:
        """Half the rate, from which it rises again: the quota was used up."""
        self._rise(at)
        self._rate = max(self._rate / 2, LOWEST_PER_SECOND)

    def _rise(self, at: float) -> None:
        self._rate = self.per_second(at)
        self._risen_at = at
