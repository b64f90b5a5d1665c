"""How many endpoints turn out to belong to another sender: there are always a few; many mean our project is wrong."""

from typing import Final

WINDOW_SECONDS: Final = 600.0
LEAST: Final = 10
SHARE: Final = 0.01


class Mismatches:
    """Counted over ten minutes at a time; times are seconds of a clock that does not go back."""

    def __init__(self) -> None:
        self._since = 0.0
        self._answers = 0
        self._mismatches = 0
        self._told = False

    def count(self, at: float, *, mismatch: bool) -> bool:
        """Counts one answer; True the one time that a window's mismatches become too many."""
        if at - self._since >= WINDOW_SECONDS:
            self._since, self._answers, self._mismatches, self._told = at, 0, 0, False
        self._answers += 1
        self._mismatches += mismatch
        if self._told or self._mismatches < max(LEAST, SHARE * self._answers):
            return False
        self._told = True
        return True
