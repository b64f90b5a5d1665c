"""Paid money coming into the wallet: at a till, or confirmed by the payment provider (SEMANTICS §6).

Paid money never expires and never mixes with promotional value: what a top-up earns is a lot of its own.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from domain.commands.happening import event_happening
from domain.ledger.draft import Draft, Situation
from domain.ledger.entry import Changes, Entry, EntryKind
from domain.ledger.expiry import Period, add_period
from domain.ledger.wallet import Wallet, standing
from domain.members.member import Member, member_facts
from domain.money import to_decimal, to_minor
from domain.problems import LimitReached, Problem, invalid
from domain.programme.earning import UsageChange, earn_event
from domain.programme.programme import Programme

AT_TILL = "TOP_UP_AT_TILL"
"""The origin of lots that a till was paid for: what a card paid for stays apart, since it alone goes back to one."""

INSTRUMENT_DIGITS = 16
"""Of the digest that stands for an instrument in a lot's origin: no two of one member's are alike."""

EVENT = "top_up"
"""As earning rules name it."""

_RULE = "@top_up"
"""Where the wallet's usage counts top-ups; no earning rule can have this id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopUp:
    """`amount_minor` from `source`: ``till/<client>`` or ``psp/clearing``. `receipt` is the till's number, if any.

    `instrument` is what the provider calls the card that paid; money of another one stays apart from it (§6.6).
    `is_paid` when the money has been taken already: then no limit can refuse it.
    """

    member: Member
    source: str
    amount_minor: int
    currency: str
    receipt: str | None = None
    instrument: str | None = None
    is_paid: bool = False


def check_top_up(top_up: TopUp, programme: Programme) -> Problem | None:
    """What is wrong with it whatever the wallet holds."""
    if top_up.currency != programme.currency:
        return invalid("amount.currency", f"The programme's currency is {programme.currency}.")
    if top_up.amount_minor <= 0:
        return invalid("amount.amount", "A top-up must be more than zero.")
    return None


def limit_problem(
    programme: Programme, wallet: Wallet, amount_minor: int, *, now: datetime, held_minor: int, reserved_minor: int
) -> LimitReached | None:
    """The first limit that the top-up would pass, with its headroom (SEMANTICS §6.2).

    `held_minor` is what the wallet holds of prepaid money, held included; `reserved_minor` is what open top-ups
    through the provider may still bring.
    """
    limits, currency = programme.definition.prepaid.limits, programme.currency
    if limits.top_up_min is not None and amount_minor < to_minor(limits.top_up_min, currency):
        return _reached("top_up_min", f"A top-up must be at least {limits.top_up_min}.", 0, currency)
    bounds: list[tuple[str, int, str]] = []
    if limits.top_up_max is not None:
        bounds.append(("top_up_max", to_minor(limits.top_up_max, currency), "in one top-up"))
    if limits.balance_max is not None:
        most = to_minor(limits.balance_max, currency) - held_minor - reserved_minor
        bounds.append(("balance_max", most, "until the wallet is full"))
    if limits.top_up_window is not None:
        since = window_start(programme, now)
        used = sum(used.amount for at, used in wallet.usage.get(_RULE, {}).items() if at > since)
        most = to_minor(limits.top_up_window.amount, currency) - used - reserved_minor
        bounds.append(("top_up_window", most, f"within {_words(limits.top_up_window.window)}"))
    for limit, most, words in bounds:
        if amount_minor > most:
            headroom = max(0, most)
            reached = _reached(limit, f"{to_decimal(headroom, currency)} can be topped up {words}.", headroom, currency)
            if limit != "top_up_window":
                return reached
            return replace(reached, resets_at=_room_at(programme, wallet, amount_minor - most, now=now))
    return None


def window_start(programme: Programme, now: datetime) -> str:
    """What was topped up until then, by the name of its usage, counts no more in the rolling window that ends now.

    The window's days and months are those of the programme's zone; what came a whole window ago is out of it.
    """
    window = programme.definition.prepaid.limits.top_up_window
    if window is None:
        return _instant(now)
    local = now.astimezone(programme.zone)
    first = add_period(local.date(), window.window, -1)
    return _instant(datetime.combine(first, local.time(), tzinfo=programme.zone).astimezone(UTC))


def decide_top_up(top_up: TopUp, situation: Situation) -> Entry | Problem:
    """The TOP_UP entry with what it earns. `evidence` is what open top-ups have reserved, in minor units."""
    programme, wallet, now = situation.programme, situation.wallet, situation.now
    draft = Draft(situation, EntryKind.TOP_UP, now)
    prepaid = f"prepaid/{top_up.currency}"
    stands = standing(wallet, prepaid, now)
    problem = limit_problem(
        programme,
        wallet,
        top_up.amount_minor,
        now=now,
        held_minor=stands.available + stands.held,
        reserved_minor=situation.evidence or 0,
    )
    if problem is not None and not top_up.is_paid:
        return problem
    draft.award(prepaid, top_up.amount_minor, source=top_up.source, origin=_paid_origin(top_up))
    facts, amount_minor = member_facts(top_up.member, wallet, programme, at=now), top_up.amount_minor
    earned = earn_event(programme, EVENT, occurred_at=now, member=facts, usage=wallet.usage, amount_minor=amount_minor)
    draft.give(earned)
    advanced = draft.advance(
        event_happening(situation, top_up.member, facts, event=EVENT, occurred_at=now, amount_minor=amount_minor)
    )
    is_earning = any((earned.points, earned.cashback_minor, advanced.earned.points, advanced.earned.cashback_minor))
    used = UsageChange(rule=_RULE, period=_instant(now), count=1, amount=top_up.amount_minor)
    return draft.entry(
        changes=Changes(
            lifetime_points=earned.points,
            idle_until=draft.idle_until() if is_earning else {},
            usage=(*earned.used, used),
        ),
        explanation=earned.rows,
        receipt=top_up.receipt,
    )


def _paid_origin(top_up: TopUp) -> str:
    """The origin of the money: a till's, or of the one instrument that it can go back to."""
    if top_up.source.startswith("till/"):
        return AT_TILL
    if top_up.instrument is None:
        return EntryKind.TOP_UP.value
    return f"{EntryKind.TOP_UP.value}/{sha256(top_up.instrument.encode()).hexdigest()[:INSTRUMENT_DIGITS]}"


def _instant(at: datetime) -> str:
    """The name of usage at that instant, to the second; names are in the order of their instants."""
    return at.strftime("%Y-%m-%dT%H:%M:%S")


def _room_at(programme: Programme, wallet: Wallet, wanted_minor: int, *, now: datetime) -> datetime | None:
    """When so much more of what was topped up will have left the window; None when there is not so much in it."""
    since, used = window_start(programme, now), wallet.usage.get(_RULE, {})
    for at in sorted(at for at in used if at > since):
        wanted_minor -= used[at].amount
        if wanted_minor <= 0:
            return _leaves_at(programme, at)
    return None


def _leaves_at(programme: Programme, at: str) -> datetime:
    """The first instant at which usage of that name is out of the window; where months clamp, some days later."""
    window = programme.definition.prepaid.limits.top_up_window
    assert window is not None, at
    local = datetime.fromisoformat(at).replace(tzinfo=UTC).astimezone(programme.zone)
    day = add_period(local.date(), window.window)
    while True:
        leaves_at = datetime.combine(day, local.time(), tzinfo=programme.zone).astimezone(UTC)
        if window_start(programme, leaves_at) >= at:
            return leaves_at
        day += timedelta(days=1)


def _words(window: Period) -> str:
    parts = ((window.years, "year"), (window.months, "month"), (window.days, "day"))
    return " and ".join(f"{number} {unit}{'s' if number > 1 else ''}" for number, unit in parts if number)


def _reached(limit: str, message: str, headroom_minor: int, currency: str) -> LimitReached:
    return LimitReached(message=message, limit=limit, headroom=to_decimal(headroom_minor, currency))
