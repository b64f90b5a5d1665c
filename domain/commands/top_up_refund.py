"""A top-up goes back to the card that paid it: unspent paid money only, never above what it brought (SEMANTICS §6.6).

What counts as paid is what is left of the money of the very card that paid the top-up, which is a lot of its own; what
another card or a till was paid, staff gave or a promotion promised never turns into money on it. What the top-up had
earned stays with the member.
"""

from dataclasses import dataclass

from domain.ledger.draft import Draft, Situation
from domain.ledger.entry import Entry, EntryKind
from domain.ledger.journal import Journal
from domain.ledger.posting import currency_of, pocket_of
from domain.ledger.wallet import Wallet
from domain.money import to_decimal
from domain.problems import InsufficientBalance, LimitReached, NotFound, Problem, WrongState, invalid


@dataclass(frozen=True, slots=True, kw_only=True)
class TopUpRefund:
    """`top_up` is the TOP_UP entry's id, `source` the account that it came from; `amount_minor` None for all left."""

    top_up: str
    source: str
    amount_minor: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TopUpHistory:
    """What the journal says of the top-up: its entry and its refunds."""

    top_up: Entry | None
    refunds: tuple[Entry, ...] = ()


async def load_top_up(wanted: TopUpRefund, journal: Journal, wallet: Wallet) -> TopUpHistory:
    """Read the top-up and what was refunded of it."""
    entry = await journal.entry(wanted.top_up)
    if entry is None or entry.member != wallet.member or entry.kind is not EntryKind.TOP_UP:
        return TopUpHistory(top_up=None)
    return TopUpHistory(top_up=entry, refunds=tuple(await journal.reversals(entry)))


def check_top_up_refund(wanted: TopUpRefund) -> Problem | None:
    """What is wrong with it whatever the wallet holds."""
    if wanted.amount_minor is not None and wanted.amount_minor <= 0:
        return invalid("amount", "It must be more than zero. Leave it out to refund all that is left.")
    return None


def decide_top_up_refund(wanted: TopUpRefund, situation: Situation) -> Entry | Problem:
    """The TOP_UP_REFUND entry. `evidence` is the top-up's history."""
    history: TopUpHistory = situation.evidence
    top_up = history.top_up
    asset = None if top_up is None else prepaid_of(top_up, wanted.source)
    if top_up is None or asset is None:
        return NotFound(message=f"There is no top-up {wanted.top_up} that a card paid for.", what="topUp")
    currency = currency_of(asset)
    left = top_up.moved(asset) + sum(refund.moved(asset) for refund in history.refunds)
    amount = left if wanted.amount_minor is None else wanted.amount_minor
    if left == 0:
        return WrongState(message="All of this top-up has been refunded already.", state="REFUNDED")
    if amount > left:
        shown = to_decimal(left, currency)
        return LimitReached(
            message=f"Only {shown} {currency} of this top-up is left to refund.", limit="topUp", headroom=shown
        )
    draft = Draft(situation, EntryKind.TOP_UP_REFUND, situation.now)
    own = {each.to_lot.origin for each in top_up.postings if each.asset == asset and each.to_lot is not None}
    lots = [lot for lot in draft.lots if lot.asset == asset and lot.key.origin in own]
    unspent = min(draft.available(asset), sum(lot.remaining for lot in lots))
    if amount > unspent:
        shown, required = to_decimal(unspent, currency), to_decimal(amount, currency)
        return InsufficientBalance(
            message=f"Only {shown} {currency} of what that card paid is unspent; refund that or less.",
            asset=asset,
            available=shown,
            required=required,
        )
    for lot in lots:
        if part := min(amount, lot.remaining):
            draft.take(lot, part, destination=wanted.source)
            amount -= part
    return draft.entry(reverses=top_up.id, receipt=top_up.receipt)


def prepaid_of(top_up: Entry, source: str) -> str | None:
    """The asset that the top-up brought from that account, if it did."""
    for posting in top_up.postings:
        if posting.source == source and pocket_of(posting.asset) == "prepaid":
            return posting.asset
    return None
