"""A draft: an entry in the making, on a working copy of a settled wallet.

A decision credits, takes and explains on the draft and seals it at the end; what comes out is a plain
entry that folds to just what the draft saw. Value that comes in pays what is owed first (SEMANTICS §4.2);
value that goes out is taken in spending order (§2.2).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any

from domain.ledger.bonus import Bonus, Growth, bonus_id
from domain.ledger.entry import Balances, Changes, Entry, EntryKind, Note, Purchase, Return, entry_id
from domain.ledger.expiry import (
    ExpiryKind,
    LotPolicy,
    Period,
    add_period,
    expires_at,
    local_date,
    place,
    start_of_day,
)
from domain.ledger.hold import HeldPart, Hold, with_lapsed
from domain.ledger.lot import Allocation, Lot, LotKey, add, is_spendable, spending_order, take
from domain.ledger.posting import (
    AVAILABLE,
    CASHBACK_AWARDS,
    HELD,
    OWED,
    PENDING,
    POINT_AWARDS,
    POINTS,
    Posting,
    amount_text,
    pocket_of,
)
from domain.ledger.voucher import Voucher, code_from, voucher_id
from domain.ledger.wallet import Wallet, balances, next_due_at
from domain.money import to_minor
from domain.problems import InsufficientBalance
from domain.programme.earning import Earnings, ExplanationRow
from domain.programme.mechanism import Happening
from domain.programme.mechanisms import Advanced, advance
from domain.programme.period import is_past
from domain.programme.programme import Programme


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What a decision may know: the settled wallet, the programme in force, the instant, who asks, and `evidence`.

    `seed` is random, made with the command, so that the decision need not be. `evidence` is what the command's own
    `load` read from the journal; None when it has none.
    """

    wallet: Wallet
    programme: Programme
    now: datetime
    actor: str
    key: str
    operation: str
    fingerprint: str
    leaves: str
    seed: bytes = b""
    evidence: Any = None


class Draft:
    """Collects the postings of one entry; the working lots and debts follow each step."""

    def __init__(self, situation: Situation, kind: EntryKind, occurred_at: datetime) -> None:
        self.situation = situation
        self.kind = kind
        self.occurred_at = occurred_at
        self.postings: list[Posting] = []
        self.lots = situation.wallet.lots
        self.owed = dict(situation.wallet.owed)
        self.holds = dict(situation.wallet.holds)
        self.vouchers: list[Voucher] = []
        self.bonuses: list[Bonus] = []
        self.advanced: Advanced | None = None

    def available(self, asset: str) -> int:
        """What can be taken of the asset now, in its unit; nothing while something is owed."""
        return 0 if self.owed.get(asset, 0) else sum(lot.remaining for lot in self._spendable(asset))

    def shortage(self, asset: str, amount: int) -> InsufficientBalance | None:
        """The refusal if `amount` of the asset cannot be taken now."""
        if self.available(asset) >= amount:
            return None
        required, available = amount_text(asset, amount), amount_text(asset, self.available(asset))
        return InsufficientBalance(
            message=f"This takes {required} of {asset}; only {available} is available.",
            asset=asset,
            available=available,
            required=required,
        )

    def award(self, asset: str, amount: int, *, source: str, origin: str) -> None:
        """Credit `amount` (zero does nothing) under the programme's policy for the asset, from `source`."""
        policy = policy_of(self.situation.programme, asset)
        self._award(policy, asset, amount, source=source, origin=origin)

    def award_at_once(self, asset: str, amount: int, *, source: str) -> None:
        """Credit `amount` under the asset's expiry policy but spendable at once: value that was earned before."""
        policy = replace(policy_of(self.situation.programme, asset), pending=None)
        self._award(policy, asset, amount, source=source, origin=self.kind.value)

    def credit(self, asset: str, amount: int, *, source: str, key: LotKey) -> None:
        """Credit `amount` above zero into the lot of that key, after paying what is owed."""
        paid = min(amount, self.owed.get(asset, 0))
        if paid:
            self._post(Posting(source=source, destination=OWED, asset=asset, amount=paid))
            self.owed[asset] -= paid
        if amount > paid:
            destination = AVAILABLE if key.pending_until is None else PENDING
            self._post(Posting(source=source, destination=destination, asset=asset, amount=amount - paid, to_lot=key))
            lot = Lot(asset=asset, key=key, remaining=amount - paid, earned_at=self.occurred_at)
            self.lots = add(self.lots, lot)

    def spend(self, asset: str, amount: int, *, destination: str) -> tuple[Allocation, ...]:
        """Take `amount` in spending order; it must be available. Returns what was taken from which lot."""
        assert 0 < amount <= self.available(asset), (asset, amount)
        taken: list[Allocation] = []
        for lot in self._spendable(asset):
            if amount:
                taken.append(self.take(lot, min(amount, lot.remaining), destination=destination))
                amount -= taken[-1].amount
        return tuple(taken)

    def recover(self, asset: str, amount: int, *, destination: str, own: Iterable[LotKey]) -> None:
        """Take back `amount` that was earned: from its own lots as given, then other lots by expiry, then as owed."""
        for key in own:
            for lot in self.lots:
                if amount and lot.asset == asset and lot.key == key:
                    amount -= self.take(lot, min(amount, lot.remaining), destination=destination).amount
        for lot in self._spendable(asset):
            if amount:
                amount -= self.take(lot, min(amount, lot.remaining), destination=destination).amount
        if amount:
            self._post(Posting(source=OWED, destination=destination, asset=asset, amount=amount))
            self.owed[asset] = self.owed.get(asset, 0) + amount

    def restore(
        self,
        asset: str,
        taken: Iterable[Allocation],
        amount: int,
        *,
        before: int,
        source: str,
        at: datetime | None = None,
    ) -> None:
        """Give `amount` back to the lots it was taken from, last taken first, after `before` given back already.

        Each part has its lot's old expiry; a part whose expiry has passed `at` that instant, now if none is given,
        can be used for the programme's `refund_grace` from its day (SEMANTICS §5.3).
        """
        for allocation in reversed(tuple(taken)):
            passed = min(before, allocation.amount)
            before -= passed
            back = min(amount, allocation.amount - passed)
            if back:
                key = self._restored(asset, allocation.key, at or self.situation.now)
                self.credit(asset, back, source=source, key=key)
                amount -= back
        assert amount == 0, (asset, amount)

    def issue(
        self,
        kind: str,
        *,
        reward: str | None = None,
        paid: tuple[Allocation, ...] = (),
        returns_points: bool = False,
        is_limited: bool = False,
        keeps_from_minor: int | None = None,
        sku: str | None = None,
    ) -> Voucher:
        """Issue a voucher of that kind of the programme, usable through the last day of its period."""
        situation = self.situation
        definition = situation.programme.vouchers[kind]
        identifier = voucher_id(self._entry_id, len(self.vouchers))
        voucher = Voucher(
            id=identifier,
            code=code_from(situation.seed, identifier),
            definition=kind,
            issued_at=situation.now,
            issued_on=self.today.isoformat(),
            expires_at=self._after(definition.expires),
            reward=reward,
            paid=paid,
            returns_points=returns_points,
            is_limited=is_limited,
            keeps_from_minor=keeps_from_minor,
            sku=sku,
        )
        self.vouchers.append(voucher)
        return voucher

    def give(self, earned: Earnings) -> None:
        """Credit the points and the cashback that an event earned, issue its vouchers, grant its bonuses."""
        cashback, origin = f"cashback/{self.situation.programme.currency}", self.kind.value
        self.award(POINTS, earned.points, source=POINT_AWARDS, origin=origin)
        self.award(cashback, earned.cashback_minor, source=CASHBACK_AWARDS, origin=origin)
        for voucher in earned.vouchers:
            self.issue(voucher.kind, keeps_from_minor=voucher.keeps_from_minor or None, sku=voucher.sku)
        for bonus in earned.bonuses:
            self.grant(bonus.kind, keeps_from_minor=bonus.keeps_from_minor or None)

    def advance(self, happening: Happening) -> Advanced:
        """Tell the mechanisms what happened, once, after all else was given, and give what they give.

        What changes, their rows and their marks go into the entry. Points that they give count as earned in the
        member's lifetime, but not toward the tier's metric: no purchase earned them (SEMANTICS §8.1).
        """
        assert self.advanced is None, happening
        self.advanced = advanced = advance(self.situation.wallet.progress, happening)
        self.give(advanced.earned)
        return advanced

    def revived(self, voucher: Voucher) -> Voucher:
        """A used voucher that comes back: as it was, for the programme's `refund_grace` if its time has passed."""
        if voucher.expires_at is None or voucher.expires_at > self.situation.now:
            return voucher
        return replace(voucher, expires_at=self._after(self.situation.programme.refund_grace))

    def grant(self, kind: str, *, keeps_from_minor: int | None = None) -> Bonus:
        """Grant a growing bonus of that kind of the programme; its steps come at the first instant of their days."""
        programme, now = self.situation.programme, self.situation.now
        definition = programme.bonuses[kind]
        steps = [Growth(at=now, worth_minor=to_minor(definition.worth, programme.currency))]
        for growth in definition.grows:
            day = add_period(self.today, growth.after)
            worth_minor = to_minor(growth.worth, programme.currency)
            steps.append(Growth(at=start_of_day(day, programme.zone), worth_minor=worth_minor))
        bonus = Bonus(
            id=bonus_id(self._entry_id, len(self.bonuses)),
            definition=kind,
            currency=programme.currency,
            steps=tuple(steps),
            expires_at=self._after(definition.expires),
            keeps_from_minor=keeps_from_minor,
        )
        self.bonuses.append(bonus)
        return bonus

    def hold(self, asset: str, amount: int) -> HeldPart:
        """Set `amount` aside in spending order; it must be available."""
        return HeldPart(asset=asset, taken=self.spend(asset, amount, destination=HELD))

    def end_hold(self, hold: Hold, captured: int, *, destination: str) -> None:
        """Pay `captured` of the hold to `destination`, first parts first; the rest goes back to its lots.

        A lot whose time has passed meanwhile gets its part back all the same, and expires at once (§2.7).
        """
        assert 0 <= captured <= hold.amount, (hold.id, captured)
        del self.holds[hold.id]
        hold = with_lapsed(hold, self.situation.wallet.idle_until, at=self.occurred_at)
        for part in hold.parts:
            paid = min(captured, part.amount)
            captured -= paid
            if paid:
                self._post(Posting(source=HELD, destination=destination, asset=part.asset, amount=paid))
            for allocation in part.taken:
                kept = min(paid, allocation.amount)
                paid -= kept
                if allocation.amount > kept:
                    self.credit(part.asset, allocation.amount - kept, source=HELD, key=allocation.key)

    def take(self, lot: Lot, amount: int, *, destination: str) -> Allocation:
        """Take `amount` from one lot of the draft."""
        source = AVAILABLE if lot.key.pending_until is None else PENDING
        self._post(Posting(source=source, destination=destination, asset=lot.asset, amount=amount, from_lot=lot.key))
        self.lots = take(self.lots, lot.asset, lot.key, amount)
        return Allocation(key=lot.key, amount=amount)

    def mature(self, lot: Lot) -> None:
        """Make a pending lot spendable, after paying what is owed."""
        amount, asset = lot.remaining, lot.asset
        paid = min(amount, self.owed.get(asset, 0))
        if paid:
            self._post(Posting(source=PENDING, destination=OWED, asset=asset, amount=paid, from_lot=lot.key))
            self.owed[asset] -= paid
            self.lots = take(self.lots, asset, lot.key, paid)
        if amount > paid:
            key = lot.key._replace(pending_until=None)
            self._post(
                Posting(
                    source=PENDING,
                    destination=AVAILABLE,
                    asset=asset,
                    amount=amount - paid,
                    from_lot=lot.key,
                    to_lot=key,
                )
            )
            self.lots = take(self.lots, asset, lot.key, amount - paid)
            self.lots = add(self.lots, Lot(asset=asset, key=key, remaining=amount - paid, earned_at=lot.earned_at))

    def idle_until(self, *, missing_only: bool = False, at: datetime | None = None) -> dict[str, datetime]:
        """The new idle dates after an earning or spending (now, if no instant is given) under the inactivity policy.

        With `missing_only`, for what counts as no activity: only where the wallet has no idle date that lies ahead.
        """
        programme, now = self.situation.programme, at or self.situation.now
        result: dict[str, datetime] = {}
        for asset in (POINTS, f"cashback/{programme.currency}"):
            policy = policy_of(programme, asset)
            current = self.situation.wallet.idle_until.get(asset)
            is_missing = current is None or current <= now
            if policy.expiry.kind is ExpiryKind.INACTIVITY and (is_missing or not missing_only):
                gone_at = expires_at(policy.expiry, local_date(now, programme.zone), zone=programme.zone)
                assert gone_at is not None
                result[asset] = gone_at
        return result

    def entry(
        self,
        *,
        changes: Changes | None = None,
        explanation: tuple[ExplanationRow, ...] = (),
        place: str | None = None,
        receipt: str | None = None,
        reverses: str | None = None,
        purchase: Purchase | None = None,
        returned: Return | None = None,
        note: Note | None = None,
        activity: str | None = None,
    ) -> Entry:
        """The sealed entry, with the balances it leaves."""
        situation, wallet = self.situation, self.situation.wallet
        changes, advanced = self._with_grants(changes or _NO_CHANGES), self.advanced
        if advanced is not None:
            changes = _with_advance(changes, advanced)
            explanation = (*explanation, *advanced.earned.rows)
        changes = self._without_old_usage(changes)
        return Entry(
            member=wallet.member,
            sequence=wallet.sequence + 1,
            kind=self.kind,
            occurred_at=self.occurred_at,
            posted_at=situation.now,
            actor=situation.actor,
            key=situation.key,
            operation=situation.operation,
            fingerprint=situation.fingerprint,
            leaves=situation.leaves,
            programme_version=situation.programme.version,
            previous_hash=wallet.head,
            postings=tuple(self.postings),
            changes=changes,
            balances=self._balances({**wallet.idle_until, **changes.idle_until}),
            explanation=explanation,
            place=place,
            receipt=receipt,
            reverses=reverses,
            purchase=purchase,
            returned=returned,
            note=note,
            note_digest=None if note is None else note.digest,
            activity=activity,
            marks={} if advanced is None else advanced.marks,
        )

    def _with_grants(self, changes: Changes) -> Changes:
        if not (self.vouchers or self.bonuses):
            return changes
        return replace(changes, vouchers=(*changes.vouchers, *self.vouchers), bonuses=tuple(self.bonuses))

    def _without_old_usage(self, changes: Changes) -> Changes:
        """Whoever adds usage forgets what nothing can need any more, so that a wallet never grows with its history."""
        if not changes.usage:
            return changes
        oldest = oldest_usage_day(self.situation.programme, self.today)
        usage = self.situation.wallet.usage
        if not any(is_past(period, oldest) for periods in usage.values() for period in periods):
            return changes
        return replace(changes, usage_from=oldest.isoformat())

    def _balances(self, idle_until: Mapping[str, datetime]) -> Balances:
        """What is available of each asset after the entry, at this instant."""
        wallet, now = self.situation.wallet, self.situation.now
        due_at = next_due_at(wallet)
        if due_at is not None and due_at <= now:
            after = replace(wallet, lots=self.lots, owed=self.owed, idle_until=idle_until, holds=self.holds)
            return balances(after, now)
        available: dict[str, int] = {}
        for lot in self.lots:
            if is_spendable(lot, at=now, idle_until=idle_until):
                available[lot.asset] = available.get(lot.asset, 0) + lot.remaining
        points = available.pop(POINTS, 0)
        return Balances(points=points, money=dict(sorted(available.items())))

    def _restored(self, asset: str, key: LotKey, at: datetime) -> LotKey:
        programme = self.situation.programme
        gone_at = self.situation.wallet.idle_until.get(asset) if key.idle else key.expires_at
        if gone_at is None or gone_at > at:
            return key
        last_day = add_period(local_date(at, programme.zone), programme.refund_grace)
        return key._replace(expires_at=start_of_day(last_day + timedelta(days=1), programme.zone), idle=False)

    def _award(self, policy: LotPolicy, asset: str, amount: int, *, source: str, origin: str) -> None:
        if not amount:
            return
        now, zone = self.situation.now, self.situation.programme.zone
        pending_until, gone_at = place(policy, self.occurred_at, posted_at=now, zone=zone)
        idle = policy.expiry.kind is ExpiryKind.INACTIVITY
        self.credit(asset, amount, source=source, key=LotKey(None if idle else gone_at, pending_until, origin, idle))

    @property
    def today(self) -> date:
        """The programme's day."""
        return local_date(self.situation.now, self.situation.programme.zone)

    @property
    def _entry_id(self) -> str:
        wallet = self.situation.wallet
        return entry_id(wallet.member, wallet.sequence + 1)

    def _after(self, period: Period) -> datetime:
        """The first instant after the last day of a period that begins today."""
        last_day = add_period(self.today, period)
        return start_of_day(last_day + timedelta(days=1), self.situation.programme.zone)

    def _post(self, posting: Posting) -> None:
        self.postings.append(posting)

    def _spendable(self, asset: str) -> list[Lot]:
        idle_until = self.situation.wallet.idle_until
        now = self.situation.now
        lots = [lot for lot in self.lots if lot.asset == asset and is_spendable(lot, at=now, idle_until=idle_until)]
        return spending_order(lots, idle_until=idle_until)


def oldest_usage_day(programme: Programme, today: date) -> date:
    """The first day whose usage can matter: as far back as a late receipt, or the window of the top-up limit."""
    late = today - timedelta(days=programme.late_days)
    window = programme.definition.prepaid.limits.top_up_window
    return late if window is None else min(late, add_period(today, window.window, -1))


def _with_advance(changes: Changes, advanced: Advanced) -> Changes:
    if not advanced.changes and not advanced.earned.rows:
        return changes
    return replace(
        changes,
        progress=advanced.changes,
        lifetime_points=changes.lifetime_points + advanced.earned.points,
        usage=(*changes.usage, *advanced.earned.used),
    )


def policy_of(programme: Programme, asset: str) -> LotPolicy:
    """When value of the asset becomes spendable and expires under the programme (SEMANTICS §2.3)."""
    return {"points": programme.points, "cashback": programme.cashback}.get(pocket_of(asset), _LASTING)


_LASTING = LotPolicy()
_NO_CHANGES = Changes()
