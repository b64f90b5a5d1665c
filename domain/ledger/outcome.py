"""What a command came to, and the same again for a key that was used before (SEMANTICS §1).

Where there is no outcome, because the database did not answer in time or too many commands wait, there is
:class:`Unavailable`: the same key may be sent again.
"""

from dataclasses import dataclass

from domain.ledger.command import Fingerprint, mismatch, used_elsewhere
from domain.ledger.entry import Begun, Decision, Entry
from domain.ledger.journal import Journal
from domain.ledger.wallet import Wallet
from domain.problems import Problem


class Unavailable(Exception):  # noqa: N818  -- it says what is the case
    """The outcome is not known. Nothing is kept but what the journal holds: ask again with the same key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a command came to, and the member's wallet after it. `replayed` when the key had been used before."""

    decided: Entry | Problem
    wallet: Wallet
    replayed: bool


async def replay(journal: Journal, found: Decision, fingerprint: Fingerprint) -> Outcome:
    """What is answered to a key whose decision was found, with the wallet of the member it was found for."""
    return replayed(found, fingerprint, await journal.wallet(found.member))


def replayed(found: Decision, fingerprint: Fingerprint, wallet: Wallet) -> Outcome:
    """The stored outcome again for the same input; for another one, where it differs (SEMANTICS §1.2)."""
    if isinstance(found, Begun):
        return Outcome(decided=used_elsewhere(), wallet=wallet, replayed=False)
    if found.fingerprint != fingerprint.digest:
        stored = Fingerprint(digest=found.fingerprint, leaves=found.leaves)
        return Outcome(decided=mismatch(stored, fingerprint), wallet=wallet, replayed=False)
    decided = found if isinstance(found, Entry) else found.problem
    return Outcome(decided=decided, wallet=wallet, replayed=True)
