"""Any sequence of payments beside a naive model: pockets stay apart, nothing goes below zero, nothing is made up.

The decisions are pure, so no database is needed: the machine settles, decides and applies as the commit does. The
model is a sum per pocket and last day, and lists; it knows nothing of lots, postings or entries.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

from hypothesis import settings as bounds
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from domain.commands.adjustment import Adjustment, decide_adjustment
from domain.commands.payment import (
    Capture,
    Payment,
    PaymentHistory,
    Refund,
    decide_capture,
    decide_payment,
    decide_refund,
    decide_void,
)
from domain.commands.top_up import TopUp, decide_top_up
from domain.ledger.draft import Situation
from domain.ledger.due import due_entries
from domain.ledger.entry import Entry, EntryKind, Note, entry_document, entry_from
from domain.ledger.wallet import Wallet, apply, standing, wallet_document, wallet_from
from domain.members.member import Member
from domain.problems import InsufficientBalance, LimitReached, Problem, WrongState
from domain.programme.definition import read_definition
from domain.programme.programme import compile_programme

SOURCE: Final = """
programme: test
name: {en: Test}
currency: EUR
time_zone: UTC
locales: {default: en, supported: [en]}
points: {refund_grace: P3D}
cashback: {expiry: {policy: rolling, after: P5D}}
prepaid: {hold_expires: P2D}
"""
PROGRAMME: Final = compile_programme(read_definition(SOURCE), 1)
START: Final = datetime(2026, 3, 2, 9, tzinfo=UTC)
POCKETS: Final = ("prepaid", "cashback")
ORDERS: Final = (("prepaid",), ("cashback",), ("prepaid", "cashback"), ("cashback", "prepaid"))

Taken = list[tuple[datetime | None, int]]
"""Last instants and amounts, in the order of taking."""


@dataclass
class Paid:
    """A payment as the model remembers it: what each pocket gave, in tender order."""

    entry: str
    parts: list[tuple[str, Taken]]
    ends_at: datetime | None
    is_captured: bool = False
    refunded: dict[str, int] = field(default_factory=lambda: dict.fromkeys(POCKETS, 0))

    @property
    def is_open(self) -> bool:
        return self.ends_at is not None


class Model:
    def __init__(self) -> None:
        self.money: dict[tuple[str, datetime | None], int] = {}
        self.payments: list[Paid] = []

    def pass_time(self, now: datetime) -> None:
        for paid in self.payments:
            if paid.ends_at is not None and paid.ends_at <= now:
                self.end(paid, 0)
        self.money = {key: amount for key, amount in self.money.items() if amount and (key[1] is None or key[1] > now)}

    def add(self, pocket: str, gone_at: datetime | None, amount: int) -> None:
        self.money[pocket, gone_at] = self.money.get((pocket, gone_at), 0) + amount

    def available(self, pocket: str) -> int:
        return sum(amount for (of, _), amount in self.money.items() if of == pocket)

    def expiring(self, pocket: str) -> tuple[tuple[int, datetime], ...]:
        dated = {gone_at: amount for (of, gone_at), amount in self.money.items() if of == pocket and gone_at and amount}
        return tuple((dated[gone_at], gone_at) for gone_at in sorted(dated))

    def held(self, pocket: str) -> int:
        return sum(
            amount
            for paid in self.payments
            if paid.is_open
            for of, taken in paid.parts
            if of == pocket
            for _, amount in taken
        )

    def take(self, pockets: tuple[str, ...], amount: int) -> list[tuple[str, Taken]]:
        parts: list[tuple[str, Taken]] = []
        for pocket in pockets:
            taken: Taken = []
            for key in sorted(
                (key for key in self.money if key[0] == pocket),
                key=lambda key: key[1] or datetime.max.replace(tzinfo=UTC),
            ):
                part = min(amount, self.money[key])
                if part:
                    taken.append((key[1], part))
                    self.money[key] -= part
                    amount -= part
            if taken:
                parts.append((pocket, taken))
        assert amount == 0
        return parts

    def end(self, paid: Paid, captured: int) -> None:
        """The first of what is held is paid, the rest goes back to where it was."""
        kept: list[tuple[str, Taken]] = []
        for pocket, taken in paid.parts:
            first: Taken = []
            for gone_at, amount in taken:
                part = min(captured, amount)
                captured -= part
                if part:
                    first.append((gone_at, part))
                self.add(pocket, gone_at, amount - part)
            if first:
                kept.append((pocket, first))
        paid.parts, paid.ends_at, paid.is_captured = kept, None, bool(kept)

    def give_back(self, paid: Paid, amount: int, now: datetime) -> None:
        grace = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=4)
        for pocket, taken in reversed(paid.parts):
            passed = paid.refunded[pocket]
            for gone_at, of_lot in reversed(taken):
                skipped = min(passed, of_lot)
                passed -= skipped
                part = min(amount, of_lot - skipped)
                amount -= part
                paid.refunded[pocket] += part
                self.add(pocket, grace if gone_at is not None and gone_at <= now else gone_at, part)
        assert amount == 0


class PaymentsBesideTheirModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.wallet = Wallet(member="m")
        self.entries: list[Entry] = []
        self.model = Model()

    @rule(amount=st.integers(1, 5_000))
    def top_up(self, amount: int) -> None:
        member = Member(id="m", joined_at=START)
        self.posted(
            partial(decide_top_up, TopUp(member=member, source="till/till", amount_minor=amount, currency="EUR"))
        )
        self.model.add("prepaid", None, amount)

    @rule(amount=st.integers(1, 2_000))
    def give_cashback(self, amount: int) -> None:
        reason = Note(text="x", salt="x")
        self.posted(partial(decide_adjustment, Adjustment(asset="cashback/EUR", amount=amount, reason=reason)))
        midnight = self.now.replace(hour=0, minute=0, second=0, microsecond=0)
        self.model.add("cashback", midnight + timedelta(days=6), amount)

    @rule(pockets=st.sampled_from(ORDERS), share=st.integers(1, 110), at_once=st.booleans())
    def authorize(self, pockets: tuple[str, ...], share: int, at_once: bool) -> None:
        available = sum(self.model.available(pocket) for pocket in pockets)
        amount = max(1, available * share // 100)
        wanted = Payment(merchant="till", amount_minor=amount, currency="EUR", pockets=pockets, at_once=at_once)
        if amount > available:
            assert isinstance(self.decided(partial(decide_payment, wanted)), InsufficientBalance)
            return
        entry = self.posted(partial(decide_payment, wanted))
        parts = self.model.take(pockets, amount)
        ends_at = None if at_once else self.now + timedelta(days=2)
        self.model.payments.append(Paid(entry.id, parts, ends_at, is_captured=at_once))

    @precondition(lambda self: self.model.payments)
    @rule(which=st.integers(0, 1_000), share=st.integers(1, 100))
    def capture(self, which: int, share: int) -> None:
        paid = self.chosen(which)
        held = sum(amount for _, taken in paid.parts for _, amount in taken)
        amount = max(1, held * share // 100) if share < 100 else None
        wanted = partial(decide_capture, Capture(merchant="till", hold=paid.entry, amount_minor=amount))
        if paid.is_open:
            entry = self.posted(wanted, of=paid.entry)
            assert entry.kind is EntryKind.CAPTURE
            self.model.end(paid, held if amount is None else amount)
            self.model.pass_time(self.now)
        else:
            assert isinstance(self.decided(wanted, of=paid.entry), WrongState)

    @precondition(lambda self: self.model.payments)
    @rule(which=st.integers(0, 1_000))
    def void(self, which: int) -> None:
        paid = self.chosen(which)
        wanted = partial(decide_void, paid.entry, "till")
        if paid.is_open:
            self.posted(wanted, of=paid.entry)
            self.model.end(paid, 0)
            self.model.pass_time(self.now)
        else:
            assert isinstance(self.decided(wanted, of=paid.entry), WrongState)

    @precondition(lambda self: self.model.payments)
    @rule(which=st.integers(0, 1_000), share=st.integers(1, 110))
    def refund(self, which: int, share: int) -> None:
        paid = self.chosen(which)
        gave = sum(amount for _, taken in paid.parts for _, amount in taken)
        left = gave - sum(paid.refunded.values())
        amount = None if share == 100 else max(1, gave * share // 100)
        wanted = partial(decide_refund, Refund(merchant="till", payment=paid.entry, amount_minor=amount))
        if not paid.is_captured or not left:
            assert isinstance(self.decided(wanted, of=paid.entry), WrongState)
        elif amount is not None and amount > left:
            assert isinstance(self.decided(wanted, of=paid.entry), LimitReached)
        else:
            self.posted(wanted, of=paid.entry)
            self.model.give_back(paid, left if amount is None else amount, self.now)

    @rule(hours=st.sampled_from([1, 24, 24, 24, 48, 49, 130]))
    def wait(self, hours: int) -> None:
        self.now += timedelta(hours=hours)
        self.model.pass_time(self.now)

    @rule()
    def settle(self) -> None:
        self.post_dues()

    @invariant()
    def both_say_the_same(self) -> None:
        for pocket in POCKETS:
            read = standing(self.wallet, f"{pocket}/EUR", self.now)
            assert read.available == self.model.available(pocket)
            assert read.held == self.model.held(pocket)
            assert read.expiring == self.model.expiring(pocket)
            assert (read.pending, read.owed) == (0, 0)

    @invariant()
    def pockets_stay_apart_and_nothing_is_made_up(self) -> None:
        for pocket in POCKETS:
            asset = f"{pocket}/EUR"
            of_pocket = [lot.remaining for lot in self.wallet.lots if lot.asset == asset]
            held = sum(part.amount for hold in self.wallet.holds.values() for part in hold.parts if part.asset == asset)
            assert all(amount > 0 for amount in of_pocket)
            assert sum(of_pocket) + held == sum(entry.moved(asset) for entry in self.entries)

    @invariant()
    def no_more_came_back_of_a_pocket_than_it_gave(self) -> None:
        for paid in self.model.payments:
            for pocket in POCKETS:
                asset = f"{pocket}/EUR"
                flows = [one.moved(asset) for one in self.entries if paid.entry in {one.id, one.reverses}]
                assert sum(flows) <= 0

    @invariant()
    def what_is_stored_is_read_again(self) -> None:
        assert wallet_from(wallet_document(self.wallet)) == self.wallet
        if self.entries:
            assert entry_from(entry_document(self.entries[-1])) == self.entries[-1]

    def chosen(self, which: int) -> Paid:
        return self.model.payments[which % len(self.model.payments)]

    def posted(self, decide: Callable[[Situation], Entry | Problem], *, of: str | None = None) -> Entry:
        entry = self.decided(decide, of=of)
        assert isinstance(entry, Entry), entry
        self.post(entry)
        assert entry.balances.money == {
            f"{pocket}/EUR": amount
            for pocket in sorted(POCKETS)
            if (amount := standing(self.wallet, f"{pocket}/EUR", self.now).available)
        }
        return entry

    def decided(self, decide: Callable[[Situation], Entry | Problem], *, of: str | None = None) -> Entry | Problem:
        self.post_dues()
        situation: dict[str, Any] = {
            "operation": "test",
            "fingerprint": "",
            "leaves": "",
            "key": f"k{len(self.entries)}",
        }
        return decide(
            Situation(
                wallet=self.wallet,
                programme=PROGRAMME,
                now=self.now,
                actor="partner:till",
                evidence=None if of is None else self.history(of),
                **situation,
            )
        )

    def history(self, payment: str) -> PaymentHistory:
        later = [entry for entry in self.entries if entry.reverses == payment]
        return PaymentHistory(
            begun=next(entry for entry in self.entries if entry.id == payment),
            ended=next((one for one in later if one.kind in {EntryKind.CAPTURE, EntryKind.VOID}), None),
            refunds=tuple(one for one in later if one.kind is EntryKind.CHARGE_REFUND),
        )

    def post_dues(self) -> None:
        for entry in due_entries(self.wallet, PROGRAMME, now=self.now):
            self.post(entry)

    def post(self, entry: Entry) -> None:
        self.wallet = apply(self.wallet, entry)
        self.entries.append(entry)


def test_any_sequence_of_payments_is_what_a_naive_model_says() -> None:
    run_state_machine_as_test(PaymentsBesideTheirModel, settings=EXAMPLES)


EXAMPLES: Final = bounds(max_examples=200, stateful_step_count=50, deadline=None, derandomize=True, database=None)
