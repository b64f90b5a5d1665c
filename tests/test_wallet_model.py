"""The wallet beside a naive model of it: any commands, in any order, at any time, on the real database.

After every step both must say the same (:mod:`tests.naive_wallet`), and at the end the journal must be sound.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, ClassVar, Final, TypeVar

from hypothesis import HealthCheck, Phase
from hypothesis import settings as bounds
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from pymongo import WriteConcern

from domain.commands.plan import decide_joining_plan, leaving
from domain.commands.top_up import TopUp, decide_top_up
from domain.commands.top_up_refund import TopUpRefund, decide_top_up_refund, load_top_up
from domain.ledger.bonus import Bonus
from domain.ledger.command import Command
from domain.ledger.due import REDEEMED, as_settled
from domain.ledger.entry import Entry, EntryKind
from domain.ledger.outcome import Outcome
from domain.ledger.posting import POINTS
from domain.ledger.wallet import Wallet, standing
from domain.members.member import Member
from domain.payments.top_up import CLEARING
from domain.payments.webhook import OPERATION, provider_actor
from domain.problems import (
    DuplicateReceipt,
    IdempotencyMismatch,
    InsufficientBalance,
    InvalidInput,
    LimitReached,
    NotFound,
    OutOfStock,
    Problem,
    WrongState,
)
from domain.programme.earning import Line
from domain.settings import Settings
from domain.store.connection import Store, open_store
from tests.ledger.shop import CASHBACK, START, Shop, assert_sound, open_shop
from tests.ledger.spending import cancel, claim, command, conversion, donation, give, redeem, stock_issued, use
from tests.ledger.till import PREPAID, capture, payment, refund, top_up, void
from tests.naive_wallet import ASSETS, COSTS, PLAN_PRICE, Bought, Held, Model, Paid, Running, ToppedUp, day_of, midnight

POLICIES: Final = (
    "policy: none",
    "policy: calendar",
    "policy: rolling, after: P20D",
    "policy: rolling, after: P1M, round_to: end_of_month",
    "policy: inactivity, after: P1M",
)
EARNING: Final = """
earning:
  - {id: base, event: purchase, award: {points: {per: "2.00", give: 3}}}
  - {id: bread, event: purchase, lines: 'line.category == "BREAD"', award: {points: {per: "1.00", give: 1}}}
  - {id: back, event: purchase, award: {cashback: {percent: "5"}}}
  - {id: welcome, event: joined, award: {bonus: growing}}
bonuses:
  - {id: growing, worth: "1.00", grows: [{after: P10D, worth: "2.00"}, {after: P30D, worth: "3.00"}], expires: P60D}
conversion: {points: 10, cashback: "0.25"}
charities: [{id: shelter, name: {en: Shelter}}]
vouchers: [{id: coffee, discount: {free_item: coffee}, expires: P15D, name: {en: Coffee}}]
prepaid: {hold_expires: P2D}
plans: [{id: plus, price: "3.00", period: P1M, name: {en: Plus}}]
rewards:
  - {id: coffee, kind: FREE_ITEM, cost: 15, voucher: coffee, limit: {count: 2, per: month}, name: {en: Coffee}}
  - {id: seat, kind: EXPERIENCE, cost: 20, voucher: coffee, stock: 3, if_expired: return, name: {en: Seat}}
"""
STOCK: Final = 3
PER_MONTH: Final = 2
HELD_DAYS: Final = 2
ORDERS: Final = (("prepaid",), ("cashback",), ("prepaid", "cashback"), ("cashback", "prepaid"))
TILL: Final = "TOP_UP_AT_TILL"
CARDS: Final = ("card 1", "card 2")

_T = TypeVar("_T")


class WalletBesideItsModel(RuleBasedStateMachine):
    loop: ClassVar[asyncio.AbstractEventLoop]
    store: ClassVar[Store]
    shop: Shop
    model: Model
    friends_model: Model
    member: Member
    friend: Member
    bonus: Bonus
    shop_now: datetime

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[tuple[Command, Entry | Problem]] = []
        self.receipts: list[tuple[Member, Entry]] = []

    def run(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        return self.loop.run_until_complete(coroutine)

    @initialize(
        points=st.sampled_from(POLICIES),
        cashback=st.sampled_from(POLICIES),
        points_pending=st.sampled_from([0, 10]),
        cashback_pending=st.sampled_from([0, 10]),
    )
    def open(self, points: str, cashback: str, points_pending: int, cashback_pending: int) -> None:
        def section(policy: str, days: int) -> str:
            return f"{{{f'pending: P{days}D, ' if days else ''}expiry: {{{policy}}}}}"

        sections = f"points: {section(points, points_pending)}\ncashback: {section(cashback, cashback_pending)}\n"
        self.run(emptied(self.store))
        self.shop = self.run(open_shop(self.store, sections + EARNING, start_at=START, zone="Europe/Ljubljana"))
        self.member, self.friend = self.run(self.shop.member()), self.run(self.shop.member())
        policies, pending = {POINTS: points, CASHBACK: cashback}, {POINTS: points_pending, CASHBACK: cashback_pending}
        self.model, self.friends_model = Model(policies, pending), Model(policies, pending)
        (self.bonus,) = self.run(self.shop.wallet(self.member)).bonuses.values()
        self.is_claimed = False
        self.give(POINTS, 120)
        self.top_up(CARDS[0], 20_00)

    @rule(
        total=st.integers(1, 9_999),
        bread=st.integers(0, 9_999),
        paid=st.integers(0, 100),
        late_minutes=st.sampled_from([0, 0, 90, 24 * 60, 12 * 24 * 60]),
    )
    def buy(self, total: int, bread: int, paid: int, late_minutes: int) -> None:
        now = self.shop.clock.now()
        occurred_at = now - timedelta(minutes=late_minutes) if late_minutes else None
        bread = min(bread, total)
        self.model.pass_time(now)
        paid = min(total, self.model.available(CASHBACK, now) * paid // 100)
        command = self.shop.purchase(
            self.member,
            total,
            occurred_at=occurred_at,
            paid_minor=paid,
            lines=(Line(sku="1", category="BREAD", amount_minor=bread), Line(sku="2", amount_minor=total - bread)),
        )

        previewed = self.run(self.shop.ledger.preview(command))
        entry = self.run(self.shop.posted(command))

        assert isinstance(previewed, Entry)
        assert (previewed.postings, previewed.explanation) == (entry.postings, entry.explanation)
        assert previewed.balances == entry.balances
        self.sent.append((command, entry))
        self.receipts.append((self.member, entry))
        points = total * 3 // 200 + bread // 100
        cashback = (total - paid) * 5 // 100
        assert sum(row.points for row in entry.explanation) == points
        assert sum(row.cashback_minor for row in entry.explanation) == cashback
        assert (entry.points, entry.moved(CASHBACK)) == (points, cashback - paid)
        self.follow_purchase(entry, total=total, paid=paid, points=points, cashback=cashback)

    def follow_purchase(self, entry: Entry, *, total: int, paid: int, points: int, cashback: int) -> None:
        model, now, earned_at = self.model, entry.posted_at, entry.occurred_at
        model.pass_time(now)
        taken = model.spend(CASHBACK, paid, now) if paid else []
        own = {
            POINTS: model.award(POINTS, points, "PURCHASE", earned_at=earned_at, now=now),
            CASHBACK: model.award(CASHBACK, cashback, "PURCHASE", earned_at=earned_at, now=now),
        }
        if paid or points or cashback:
            model.is_active(now)
        model.bought.append(
            Bought(
                entry=entry.id,
                number=model.expiries,
                occurred_at=earned_at,
                total=total,
                awards={POINTS: points, CASHBACK: cashback},
                own=own,
                paid=paid,
                taken=taken,
            )
        )

    @rule(missing=st.integers(1, 50))
    def pay_with_more_cashback_than_there_is(self, missing: int) -> None:
        now = self.shop.clock.now()
        self.model.pass_time(now)
        paid = self.model.available(CASHBACK, now) + missing
        self.refuse(self.shop.purchase(self.member, paid + 100, paid_minor=paid), InsufficientBalance)

    @rule(total=st.integers(2, 9_999))
    def send_lines_that_do_not_add_up(self, total: int) -> None:
        command = self.shop.purchase(self.member, total, lines=(Line(sku="1", amount_minor=total - 1),))
        self.refuse(command, InvalidInput)

    @precondition(lambda self: self.model.bought)
    @rule(which=st.integers(0, 1_000), share=st.integers(1, 120), rest=st.booleans())
    def give_back(self, which: int, share: int, rest: bool) -> None:
        purchase = self.model.bought[which % len(self.model.bought)]
        left = purchase.total - purchase.returned
        amount = None if rest else max(1, purchase.total * share // 100)
        command = self.shop.refund(self.member, purchase.entry, amount)
        if left == 0:
            self.refuse(command, WrongState)
        elif amount is not None and amount > left:
            self.refuse(command, LimitReached)
        else:
            entry = self.run(self.shop.posted(command))
            self.sent.append((command, entry))
            self.model.pass_time(entry.posted_at)
            self.model.give_back(purchase, amount or left, entry.posted_at)

    @rule(asset=st.sampled_from([POINTS, CASHBACK]), amount=st.integers(1, 200))
    def give(self, asset: str, amount: int) -> None:
        command = self.shop.adjustment(self.member, amount, asset=asset)
        entry = self.run(self.shop.posted(command))
        self.sent.append((command, entry))
        self.model.pass_time(entry.posted_at)
        self.model.award(asset, amount, "ADJUST", earned_at=entry.occurred_at, now=entry.posted_at, at_once=True)
        self.model.is_active(entry.posted_at, missing_only=True)

    @rule(asset=st.sampled_from([POINTS, CASHBACK]), share=st.integers(1, 130))
    def take(self, asset: str, share: int) -> None:
        now = self.shop.clock.now()
        self.model.pass_time(now)
        available = self.model.available(asset, now)
        amount = max(1, available * share // 100)
        command = self.shop.adjustment(self.member, -amount, asset=asset)
        if amount > available:
            self.refuse(command, InsufficientBalance)
        else:
            entry = self.run(self.shop.posted(command))
            self.sent.append((command, entry))
            self.model.spend(asset, amount, entry.posted_at)

    @rule(reward=st.sampled_from(list(COSTS)))
    def redeem(self, reward: str) -> None:
        outcome = self.run(redeem(self.shop, self.member, reward))
        now = self.shop.clock.now() if isinstance(outcome.decided, Problem) else outcome.decided.posted_at
        self.model.pass_time(now)
        month = day_of(now).isoformat()[:7]
        if reward == "coffee" and self.model.issued(reward, month=month) >= PER_MONTH:
            assert isinstance(outcome.decided, LimitReached)
        elif self.model.available(POINTS, now) < COSTS[reward]:
            assert isinstance(outcome.decided, InsufficientBalance)
        elif reward == "seat" and self.model.issued(reward) >= STOCK:
            assert isinstance(outcome.decided, OutOfStock)
        else:
            assert isinstance(outcome.decided, Entry)
            (voucher,) = outcome.decided.changes.vouchers
            taken = self.model.spend(POINTS, COSTS[reward], now)
            self.model.is_active(now)
            gone_at = midnight(day_of(now) + timedelta(days=16))
            assert voucher.expires_at == gone_at
            self.model.vouchers.append(Held(voucher=voucher, month=month, gone_at=gone_at, paid=taken))

    @precondition(lambda self: self.model.vouchers)
    @rule(which=st.integers(0, 1_000), twice=st.booleans())
    def give_up_a_voucher(self, which: int, twice: bool) -> None:
        held = self.model.vouchers[which % len(self.model.vouchers)]
        for _ in range(1 + twice):
            outcome = self.run(cancel(self.shop, self.member, held.voucher))
            if self.ends(held, outcome, "CANCELLED"):
                self.model.put_back(POINTS, held.paid, COSTS[held.voucher.reward or ""], at=held_at(outcome))

    @precondition(lambda self: self.model.vouchers)
    @rule(which=st.integers(0, 1_000), tills=st.integers(1, 3))
    def use_a_voucher(self, which: int, tills: int) -> None:
        held = self.model.vouchers[which % len(self.model.vouchers)]
        commands = [use(self.shop, self.member, held.voucher.id) for _ in range(tills)]
        outcomes = self.run(self.shop.all(commands))
        outcomes.sort(key=lambda outcome: isinstance(outcome.decided, Problem))
        for outcome in outcomes:
            self.ends(held, outcome, "USED")

    def ends(self, held: Held, outcome: Outcome, state: str) -> bool:
        """Whether the voucher ended so by this; if not, it had ended before, and this says how."""
        self.model.pass_time(held_at(outcome) if isinstance(outcome.decided, Entry) else self.shop.clock.now())
        if held.state != "ACTIVE":
            assert isinstance(outcome.decided, WrongState)
            assert outcome.decided.state == held.state
            return False
        assert isinstance(outcome.decided, Entry), outcome.decided
        held.state = state
        return True

    @rule(steps=st.integers(1, 8))
    def convert(self, steps: int) -> None:
        if self.pays(conversion(self.shop, self.member, 10 * steps), POINTS, 10 * steps):
            now = self.shop_now
            self.model.award(CASHBACK, 25 * steps, "CONVERT", earned_at=now, now=now, at_once=True)

    @rule(asset=st.sampled_from([POINTS, CASHBACK]), amount=st.integers(1, 60))
    def donate(self, asset: str, amount: int) -> None:
        self.pays(donation(self.shop, self.member, amount, asset=asset, charity="shelter"), asset, amount)

    def pays(self, command: Command, asset: str, amount: int) -> bool:
        """Whether that was there to be paid; then it is paid in the model too."""
        self.model.pass_time(self.shop.clock.now())
        if self.model.available(asset, self.shop.clock.now()) < amount:
            self.refuse(command, InsufficientBalance)
            return False
        entry = self.run(self.shop.posted(command))
        self.sent.append((command, entry))
        self.shop_now = entry.posted_at
        self.model.pass_time(entry.posted_at)
        self.model.spend(asset, amount, entry.posted_at)
        self.model.is_active(entry.posted_at)
        return True

    @rule(amount=st.integers(1, 60), back=st.booleans())
    def give_points(self, amount: int, back: bool) -> None:
        pairs = [(self.member, self.model), (self.friend, self.friends_model)]
        (sender, senders), (receiver, receivers) = reversed(pairs) if back else pairs
        outcome = self.run(give(self.shop, sender, receiver, amount))
        now = self.shop.clock.now() if isinstance(outcome.decided, Problem) else outcome.decided.posted_at
        senders.pass_time(now)
        receivers.pass_time(now)
        if senders.available(POINTS, now) < amount:
            assert isinstance(outcome.decided, InsufficientBalance)
            return
        assert isinstance(outcome.decided, Entry)
        taken, idle = [key for key, _ in senders.spend(POINTS, amount, now)], senders.idle[POINTS]
        senders.is_active(now)
        dates = [gone_at for gone_at in (idle if key[3] else key[0] for key in taken) if gone_at is not None]
        earliest = min(dates, default=None)
        key = (earliest, None, "GIFT_RECEIVED", False)
        receivers.credit(POINTS, amount, key, now)
        receivers.is_active(now, missing_only=True)

    @rule()
    def claim_the_bonus(self) -> None:
        outcome = self.run(self.shop.ledger.commit(claim(self.shop, self.member, self.bonus.id)))
        now = self.shop.clock.now() if isinstance(outcome.decided, Problem) else outcome.decided.posted_at
        self.model.pass_time(now)
        days = (day_of(now) - day_of(START)).days
        if self.is_claimed or days > 60:
            assert isinstance(outcome.decided, WrongState)
            assert outcome.decided.state == ("CLAIMED" if self.is_claimed else "EXPIRED")
            return
        worth = 1_00 if days < 10 else 2_00 if days < 30 else 3_00
        assert isinstance(outcome.decided, Entry)
        assert outcome.decided.moved(CASHBACK) == worth
        self.model.award(CASHBACK, worth, "BONUS_CLAIM", earned_at=now, now=now, at_once=True)
        self.model.is_active(now)
        self.is_claimed = True

    @rule(origin=st.sampled_from([TILL, *CARDS]), amount=st.integers(1, 9_99))
    def top_up(self, origin: str, amount: int) -> None:
        paid_by = top_up(self.shop, self.member, amount) if origin == TILL else self.by_card(origin, amount)
        entry = self.run(self.shop.posted(paid_by))
        self.sent.append((paid_by, entry))
        self.model.pass_time(entry.posted_at)
        self.model.credit(PREPAID, amount, (None, None, origin, False), entry.posted_at)
        self.model.top_ups.append(ToppedUp(entry.id, origin, amount))

    def by_card(self, card: str, amount: int) -> Command:
        """What the provider's webhook does."""
        wanted = TopUp(
            member=self.member,
            source=CLEARING,
            amount_minor=amount,
            currency="EUR",
            instrument=card,
            is_paid=True,
        )
        decide = partial(decide_top_up, wanted)
        return replace(command(self.shop, self.member, OPERATION, {}, decide=decide), actor=provider_actor("sandbox"))

    @precondition(lambda self: self.model.top_ups)
    @rule(which=st.integers(0, 1_000), share=st.integers(1, 110))
    def refund_a_top_up(self, which: int, share: int) -> None:
        made, now = self.model.top_ups[which % len(self.model.top_ups)], self.shop.clock.now()
        self.model.pass_time(now)
        left = made.amount - made.refunded
        amount = left if share == 100 else max(1, made.amount * share // 100)
        wanted = TopUpRefund(top_up=made.entry, source=CLEARING, amount_minor=amount or None)
        asked = command(
            self.shop,
            self.member,
            "refundTopUp",
            {"topUp": made.entry, "amount": amount},
            decide=partial(decide_top_up_refund, wanted),
            load=partial(load_top_up, wanted),
        )
        own = [parcel for parcel in self.model.parcels if (parcel.asset, parcel.key[2]) == (PREPAID, made.origin)]
        if made.origin == TILL:
            self.refuse(asked, NotFound)
        elif left == 0:
            self.refuse(asked, WrongState)
        elif amount > left:
            self.refuse(asked, LimitReached)
        elif amount > sum(parcel.amount for parcel in own):
            self.refuse(asked, InsufficientBalance)
        else:
            entry = self.run(self.shop.posted(asked))
            self.sent.append((asked, entry))
            self.model.take(own, amount)
            made.refunded += amount

    @rule(
        pockets=st.sampled_from(ORDERS),
        share=st.integers(1, 110),
        at_once=st.booleans(),
        captured=st.sampled_from([None, 40, 100]),
        refunded=st.sampled_from([None, None, 40, 100]),
        days=st.sampled_from([0, 0, 1, 3, 25]),
    )
    def pay(
        self,
        *,
        pockets: tuple[str, ...],
        share: int,
        at_once: bool,
        captured: int | None,
        refunded: int | None,
        days: int,
    ) -> None:
        paid = self.authorize(pockets, share, at_once)
        for then, end in ((captured, self.end_hold), (refunded, self.refund_payment)):
            if paid is not None and then is not None:
                self.wait(days, 1)
                self.model.pass_time(self.shop.clock.now())
                end(paid, then)

    def authorize(self, pockets: tuple[str, ...], share: int, at_once: bool) -> Paid | None:
        self.model.pass_time(self.shop.clock.now())
        assets = [f"{pocket}/EUR" for pocket in pockets]
        there = {asset: self.model.available(asset, self.shop.clock.now()) for asset in assets}
        amount = max(1, sum(there.values()) * share // 100)
        asked = payment(self.shop, self.member, amount, pockets=pockets, at_once=at_once)
        if amount > sum(there.values()):
            self.refuse(asked, InsufficientBalance)
            return None
        entry = self.run(self.shop.posted(asked))
        now, parts = entry.posted_at, []
        self.sent.append((asked, entry))
        self.model.pass_time(now)
        for asset in assets:
            part = min(amount, there[asset])
            amount -= part
            if part:
                parts.append((asset, self.model.spend(asset, part, now)))
        if at_once:
            self.model.is_active(now)
        ends_at = None if at_once else now + timedelta(days=HELD_DAYS)
        self.model.payments.append(Paid(entry, parts, ends_at, is_captured=at_once))
        return self.model.payments[-1]

    @precondition(lambda self: self.model.payments)
    @rule(which=st.integers(0, 1_000), share=st.integers(0, 100))
    def end_a_hold(self, which: int, share: int) -> None:
        self.end_hold(self.chosen_payment(which), share)

    def end_hold(self, paid: Paid, share: int) -> None:
        """Captured wholly or in part, or voided at a share of nothing; a capture never fails for lack of money."""
        captured = max(1, paid.amount * share // 100)
        asked = capture(self.shop, paid.entry, captured) if share else void(self.shop, paid.entry)
        if paid.ends_at is None:
            self.refuse(asked, WrongState)
            return
        entry = self.run(self.shop.posted(asked))
        self.sent.append((asked, entry))
        self.model.end(paid, captured if share else 0, entry.posted_at)
        if share:
            self.model.is_active(entry.posted_at)

    @precondition(lambda self: self.model.payments)
    @rule(which=st.integers(0, 1_000), share=st.integers(1, 110))
    def refund_a_payment(self, which: int, share: int) -> None:
        self.refund_payment(self.chosen_payment(which), share)

    def refund_payment(self, paid: Paid, share: int) -> None:
        left = paid.amount - sum(paid.refunded.values())
        amount = None if share == 100 else max(1, paid.amount * share // 100)
        asked = refund(self.shop, paid.entry, amount)
        if not paid.is_captured or not left:
            self.refuse(asked, WrongState)
        elif amount is not None and amount > left:
            self.refuse(asked, LimitReached)
        else:
            entry = self.run(self.shop.posted(asked))
            self.sent.append((asked, entry))
            self.model.refund(paid, amount or left, entry.posted_at)
            self.model.is_active(entry.posted_at, missing_only=True)

    def chosen_payment(self, which: int) -> Paid:
        self.model.pass_time(self.shop.clock.now())
        return self.model.payments[which % len(self.model.payments)]

    @rule()
    def join_the_plan(self) -> None:
        now = self.shop.clock.now()
        self.model.pass_time(now)
        asked = command(self.shop, self.member, "joinPlan", {}, decide=partial(decide_joining_plan, "plus"))
        running = self.model.plan
        if running is not None and running.renews:
            self.refuse(asked, WrongState)
        elif running is None and self.model.available(PREPAID, now) < PLAN_PRICE:
            self.refuse(asked, InsufficientBalance)
        else:
            entry = self.run(self.shop.posted(asked))
            self.sent.append((asked, entry))
            if running is not None:
                running.renews = True
            else:
                self.model.spend(PREPAID, PLAN_PRICE, entry.posted_at)
                self.model.is_active(entry.posted_at)
                self.model.plan = Running(day_of(entry.posted_at))

    @rule()
    def leave_the_plan(self) -> None:
        self.model.pass_time(self.shop.clock.now())
        self.run(self.shop.ledger.settle([self.member.id]))
        running = self.run(self.shop.wallet(self.member)).plan
        assert (running is None) == (self.model.plan is None)
        if running is not None and self.model.plan is not None:
            assert running.paid_until == self.model.plan.paid_until
            outcome = self.run(self.shop.ledger.commit(leaving(running, member=self.member.id, actor="member:ana")))
            assert isinstance(outcome.decided, Entry)
            assert outcome.replayed is not self.model.plan.renews
            self.model.plan.renews = False

    @rule(days=st.sampled_from([0, 0, 1, 5, 9, 10, 11, 20, 31, 100, 400]), minutes=st.integers(1, 1_440))
    def wait(self, days: int, minutes: int) -> None:
        self.run(self.shop.move_by(days=days, minutes=minutes))

    @rule()
    def settle(self) -> None:
        before = self.standings()
        self.run(self.shop.ledger.settle([self.member.id]))
        assert self.standings() == before

    @precondition(lambda self: self.sent)
    @rule(which=st.integers(0, 1_000))
    def send_again(self, which: int) -> None:
        command, decided = self.sent[which % len(self.sent)]
        outcome = self.run(self.shop.ledger.commit(command))
        assert (outcome.replayed, outcome.decided) == (True, decided)

    @precondition(lambda self: self.sent)
    @rule(which=st.integers(0, 1_000))
    def use_a_key_for_something_else(self, which: int) -> None:
        command, _ = self.sent[which % len(self.sent)]
        other = replace(self.shop.purchase(self.member, 12_345, key=command.key), actor=command.actor)
        self.refuse(other, IdempotencyMismatch)

    @precondition(lambda self: self.receipts)
    @rule(which=st.integers(0, 1_000))
    def send_a_receipt_twice(self, which: int) -> None:
        _, first = self.receipts[which % len(self.receipts)]
        problem = self.refuse(self.shop.purchase(self.member, 100, receipt=first.receipt), DuplicateReceipt)
        assert isinstance(problem, DuplicateReceipt)
        assert problem.first_entry == first.id

    def refuse(self, command: Command, kind: type[Problem]) -> Problem:
        self.run(self.shop.ledger.settle([self.member.id]))
        problem = self.run(self.shop.refused(command))
        assert isinstance(problem, kind), problem
        if problem.kept:
            self.sent.append((command, problem))
        return problem

    def standings(self) -> tuple[Any, Any]:
        return self.run(self.shop.standing(self.member)), self.run(self.shop.standing(self.member, CASHBACK))

    @invariant()
    def both_say_the_same(self) -> None:
        wallet, now = self.run(self.shop.wallet(self.member)), self.shop.clock.now()
        self.model.pass_time(now)
        for asset in ASSETS:
            read = standing(as_settled(wallet, self.shop.programmes.current, now), asset, now)
            assert read.available == self.model.available(asset, now), asset
            assert read.pending == self.model.pending(asset), asset
            assert read.owed == self.model.owed[asset], asset
            assert read.held == self.model.held(asset), asset

    @invariant()
    def the_friend_has_what_he_was_given(self) -> None:
        wallet, now = self.run(self.shop.wallet(self.friend)), self.shop.clock.now()
        self.friends_model.pass_time(now)
        settled = as_settled(wallet, self.shop.programmes.current, now)
        assert standing(settled, POINTS, now).available == self.friends_model.available(POINTS, now)

    @invariant()
    def the_stock_is_what_was_issued_and_not_cancelled(self) -> None:
        issued = self.run(stock_issued(self.shop, "seat"))
        assert issued == self.model.issued("seat") <= STOCK

    @invariant()
    def nothing_is_used_twice_and_no_more_came_back_than_was_taken(self) -> None:
        entries = self.run(self.shop.entries(self.member))
        ended = [end.id for entry in entries for end in entry.changes.ended_vouchers]
        assert len(ended) == len(set(ended))
        postings = [posting for entry in entries for posting in entry.postings]
        for account in {posting.source for posting in postings if posting.source == REDEEMED}:
            back = sum(posting.amount for posting in postings if posting.source == account)
            assert back <= sum(posting.amount for posting in postings if posting.destination == account)
        assert all(posting.asset in ASSETS for posting in postings)
        for begun in [entry for entry in entries if entry.kind in {EntryKind.HOLD, EntryKind.CHARGE, EntryKind.TOP_UP}]:
            flows = [entry for entry in entries if begun.id in {entry.id, entry.reverses}]
            for asset in (CASHBACK, PREPAID):
                moved = [entry.moved(asset) for entry in flows]
                assert moved[0] * sum(moved) >= 0, (begun.kind, asset, moved)

        self.pockets_stay_apart_and_nothing_is_made_up(self.run(self.shop.wallet(self.member)), entries)

    def pockets_stay_apart_and_nothing_is_made_up(self, wallet: Wallet, entries: Sequence[Entry]) -> None:
        for asset in ASSETS:
            lots = [lot.remaining for lot in wallet.lots if lot.asset == asset]
            held = sum(part.amount for hold in wallet.holds.values() for part in hold.parts if part.asset == asset)
            assert all(amount > 0 for amount in lots)
            assert sum(lots) + held - wallet.owed.get(asset, 0) == sum(entry.moved(asset) for entry in entries)
        origins = {lot.key.origin for lot in wallet.lots if lot.asset == PREPAID}
        assert len(origins) <= 1 + len(CARDS)

    def teardown(self) -> None:
        """The journal keeps all that happened, so that it is enough to look at it once, at the end."""
        if hasattr(self, "shop"):
            try:
                self.run(assert_sound(self.store))
            finally:
                self.run(self.shop.close())


def held_at(outcome: Outcome) -> datetime:
    assert isinstance(outcome.decided, Entry), outcome.decided
    return outcome.decided.posted_at


async def emptied(store: Store) -> None:
    quick = WriteConcern(w=1, j=False)
    for name in ("journal", "wallets", "claims", "members", "clock", "programmes", "vouchers", "stock"):
        await store.database.get_collection(name, write_concern=quick).delete_many({})


def test_the_wallet_is_what_a_naive_model_says_whatever_happens_to_it(settings: Settings) -> None:
    loop = asyncio.new_event_loop()
    store = loop.run_until_complete(open_store(replace(settings, database=f"{settings.database}_model")))
    WalletBesideItsModel.loop, WalletBesideItsModel.store = loop, store
    try:
        loop.run_until_complete(store.prepare())
        run_state_machine_as_test(WalletBesideItsModel, settings=EXAMPLES)
    finally:
        loop.run_until_complete(store.client.drop_database(store.database.name))
        loop.run_until_complete(store.close())
        loop.close()


EXAMPLES: Final = bounds(
    max_examples=45,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],  # shrinking on a real database takes many minutes; the steps of a failure are shown
    suppress_health_check=list(HealthCheck),
)
