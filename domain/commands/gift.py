"""Points from one member to another: an entry in each wallet, both or neither (SEMANTICS §5.6)."""

from dataclasses import dataclass
from datetime import datetime

from domain.ledger.command import Command, fingerprint_of
from domain.ledger.draft import Draft, Situation
from domain.ledger.due import SYSTEM
from domain.ledger.entry import Changes, Entry, EntryKind, Note
from domain.ledger.expiry import start_of_day
from domain.ledger.lot import LotKey
from domain.ledger.posting import POINTS
from domain.ledger.wallet import Wallet
from domain.problems import LimitReached, NotEligible, Problem, invalid
from domain.programme.earning import UsageChange
from domain.programme.period import Per, next_start, period_key

GIFTS = "programme/gifts"

_RULE = "gift"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gift:
    """`points` above zero, from the command's member to another; `message` is free text for him."""

    sender: str
    receiver: str
    points: int
    message: Note | None


def check_gift(gift: Gift) -> Problem | None:
    """What is wrong with it whatever the wallets hold."""
    if gift.points <= 0:
        return invalid("points", "A gift must be more than zero points.")
    if gift.receiver == gift.sender:
        return NotEligible(message="A gift is for somebody else.", reason="ONESELF")
    return None


def decide_sending(gift: Gift, situation: Situation) -> Entry | Problem:
    """The GIFT_SENT entry, within the programme's limits of a day and a month."""
    draft = Draft(situation, EntryKind.GIFT_SENT, situation.now)
    if problem := _limit_reached(gift, draft) or draft.shortage(POINTS, gift.points):
        return problem
    draft.spend(POINTS, gift.points, destination=GIFTS)
    periods: tuple[Per, ...] = ("day", "month")
    usage = tuple(
        UsageChange(rule=_RULE, period=period_key(per, draft.today), count=1, amount=gift.points) for per in periods
    )
    return draft.entry(changes=Changes(idle_until=draft.idle_until(), usage=usage), note=gift.message)


def receiving(gift: Gift, sent: Entry, before: Wallet) -> Command:
    """The command on the receiver's wallet that follows from the sender's entry; its key makes it happen once.

    `before` is the sender's wallet just before that entry.
    """
    lot = _lot(sent, before)
    return Command(
        member=gift.receiver,
        actor=SYSTEM,
        key=f"gift {sent.id}",
        operation="receiveGift",
        fingerprint=fingerprint_of("receiveGift", {"sent": sent.id}),
        decide=lambda situation: decide_receiving(gift, lot, situation),
    )


def decide_receiving(gift: Gift, lot: LotKey, situation: Situation) -> Entry:
    """The GIFT_RECEIVED entry; the new lot keeps the earliest expiry that was taken."""
    draft = Draft(situation, EntryKind.GIFT_RECEIVED, situation.now)
    draft.credit(POINTS, gift.points, source=GIFTS, key=lot)
    changes = Changes(idle_until=draft.idle_until(missing_only=True))
    return draft.entry(changes=changes, note=gift.message)


def _lot(sent: Entry, before: Wallet) -> LotKey:
    """The lot of what was sent; of points under the inactivity policy the date is the one that the sender's had."""
    taken = [posting.from_lot for posting in sent.postings if posting.from_lot is not None]
    found = [before.idle_until.get(POINTS) if key.idle else key.expires_at for key in taken]
    dates = [date for date in found if date is not None]
    earliest: datetime | None = min(dates, default=None)
    idle = earliest is None and any(key.idle for key in taken)
    return LotKey(earliest, None, EntryKind.GIFT_RECEIVED.value, idle)


def _limit_reached(gift: Gift, draft: Draft) -> Problem | None:
    situation = draft.situation
    limits = situation.programme.definition.points.gift_limits
    if limits is None:
        return None
    bounds: tuple[tuple[Per, int | None], ...] = (("day", limits.per_day), ("month", limits.per_month))
    for per, most in bounds:
        used = situation.wallet.usage.get(_RULE, {}).get(period_key(per, draft.today))
        headroom = 0 if most is None else max(0, most - (used.amount if used else 0))
        resets_on = next_start(per, draft.today)
        if most is not None and gift.points > headroom and resets_on is not None:
            return LimitReached(
                message=f"At most {most} points may be given per {per}; {headroom} are left.",
                limit=f"gift_per_{per}",
                headroom=str(headroom),
                resets_at=start_of_day(resets_on, situation.programme.zone),
            )
    return None
