"""A shop under test: a real ledger on the real store, a sandbox's clock, a published programme, and a till.

What the shop sends is what the API sends: commands with the fingerprint of the contract's input, through
`Ledger.commit`. `assert_sound` proves what must hold of every journal, whatever happened.
"""

import asyncio
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

from domain.commands.adjustment import Adjustment, check_adjustment, decide_adjustment
from domain.commands.purchase import Receipt, check_receipt, decide_purchase
from domain.commands.return_ import PurchaseReturn, check_return, decide_return, load_history
from domain.ledger.command import Command, fingerprint_of
from domain.ledger.commit import Ledger
from domain.ledger.entry import Entry, EntryKind, Note, entry_from, is_intact
from domain.ledger.lot import NEVER, expiry_of
from domain.ledger.outcome import Outcome
from domain.ledger.posting import HELD, POINTS, is_members
from domain.ledger.wallet import Standing, Wallet, apply, assets_of, standing, wallet_from
from domain.members.enrolment import Enrolled, enrol
from domain.members.member import Member, Profile
from domain.money import to_decimal
from domain.problems import Problem
from domain.programme.earning import Line
from domain.programme.published import Programmes, Published, publish
from domain.store.clock import SandboxClock
from domain.store.codec import format_instant
from domain.store.connection import Store

CASHBACK: Final = "cashback/EUR"
START: Final = datetime(2026, 3, 2, 9, tzinfo=UTC)
AT_ONCE: Final = 20
POINT_PER_EURO: Final = """
earning:
  - {id: base, event: purchase, award: {points: {per: "1.00", give: 1}}}
"""

_HEAD = """
programme: test
name: {{en: Test}}
currency: EUR
time_zone: {zone}
locales: {{default: en, supported: [en]}}
"""


@dataclass(slots=True, kw_only=True)
class Shop:
    """One partner's till, one member of staff, and any number of members, at one ledger."""

    store: Store
    clock: SandboxClock
    programmes: Programmes
    ledger: Ledger
    client: str = "till"
    others: list[Ledger] = field(default_factory=list)
    numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    async def publish(self, sections: str, *, zone: str = "Europe/Ljubljana") -> None:
        """Put the next version of the programme into force."""
        expected = self.programmes.current.version
        published = await publish(self.store, source(sections, zone), expected_version=expected, now=self.clock.now())
        assert isinstance(published, Published), published
        await self.programmes.refresh()

    async def enrol(self, *, key: str | None = None, reference: str | None = None) -> Enrolled | Problem:
        reference = reference or f"member-{next(self.numbers)}"
        return await enrol(
            self.ledger,
            client_id=self.client,
            reference=reference,
            profile=Profile(),
            key=key or f"enrol-{next(self.numbers)}",
            fingerprint=fingerprint_of("enrolMember", {"reference": reference}),
            now=self.clock.now(),
        )

    async def member(self) -> Member:
        enrolled = await self.enrol()
        assert isinstance(enrolled, Enrolled), enrolled
        return enrolled.member

    async def members(self, count: int) -> list[Member]:
        """So many, a few at a time: who waits for a connection is not kept waiting for ever."""
        made: list[Member] = []
        while len(made) < count:
            made += await asyncio.gather(*(self.member() for _ in range(min(AT_ONCE, count - len(made)))))
        return made

    def purchase(
        self,
        member: Member,
        total_minor: int,
        *,
        key: str | None = None,
        receipt: str | None = None,
        occurred_at: datetime | None = None,
        lines: tuple[Line, ...] = (),
        paid_minor: int = 0,
        place: str | None = None,
        currency: str = "EUR",
    ) -> Command:
        """The command of `recordPurchase`."""
        given: dict[str, Any] = {
            "member": {"id": member.id},
            "receipt": receipt or f"receipt-{next(self.numbers)}",
            "total": _money(total_minor, currency),
            "occurredAt": None if occurred_at is None else format_instant(occurred_at),
            "place": place,
            "lines": [{"sku": line.sku, "amount": to_decimal(line.amount_minor, currency)} for line in lines],
            "paidWithCashback": _money(paid_minor, currency) if paid_minor else None,
        }
        sent = Receipt(
            member=member,
            merchant=self.client,
            number=given["receipt"],
            total_minor=total_minor,
            currency=currency,
            occurred_at=occurred_at,
            place=place,
            lines=lines,
            paid_cashback_minor=paid_minor,
        )
        return Command(
            member=member.id,
            actor=f"partner:{self.client}",
            key=key or f"key-{next(self.numbers)}",
            operation="recordPurchase",
            fingerprint=fingerprint_of("recordPurchase", given),
            decide=partial(decide_purchase, sent),
            check=partial(check_receipt, sent),
            receipt=sent.number,
        )

    def refund(
        self,
        member: Member,
        purchase: str,
        amount_minor: int | None = None,
        *,
        key: str | None = None,
        occurred_at: datetime | None = None,
    ) -> Command:
        """The command of `returnPurchase`."""
        given = {
            "purchase": purchase,
            "amount": None if amount_minor is None else to_decimal(amount_minor, "EUR"),
            "occurredAt": None if occurred_at is None else format_instant(occurred_at),
        }
        wanted = PurchaseReturn(purchase=purchase, amount_minor=amount_minor, occurred_at=occurred_at)
        return Command(
            member=member.id,
            actor=f"partner:{self.client}",
            key=key or f"key-{next(self.numbers)}",
            operation="returnPurchase",
            fingerprint=fingerprint_of("returnPurchase", given),
            decide=partial(decide_return, wanted),
            check=lambda _, now: check_return(wanted, now),
            load=partial(load_history, wanted),
        )

    def adjustment(self, member: Member, amount: int, *, asset: str = POINTS, key: str | None = None) -> Command:
        """The command of `adjustBalance`."""
        value = {"points": amount} if asset == POINTS else {"money": _money(amount, asset.partition("/")[2])}
        given = {"member": {"id": member.id}, **value, "reason": "Goodwill"}
        wanted = Adjustment(asset=asset, amount=amount, reason=Note(text="Goodwill", salt="salt"))
        return Command(
            member=member.id,
            actor="staff:anna",
            key=key or f"key-{next(self.numbers)}",
            operation="adjustBalance",
            fingerprint=fingerprint_of("adjustBalance", given),
            decide=partial(decide_adjustment, wanted),
            check=lambda programme, _: check_adjustment(wanted, programme),
        )

    async def buy(self, member: Member, total_minor: int, **more: Any) -> Entry:
        return await self.posted(self.purchase(member, total_minor, **more))

    async def give_back(self, member: Member, purchase: Entry, amount_minor: int | None = None) -> Entry:
        return await self.posted(self.refund(member, purchase.id, amount_minor))

    async def adjust(self, member: Member, amount: int, *, asset: str = POINTS) -> Entry:
        return await self.posted(self.adjustment(member, amount, asset=asset))

    async def posted(self, command: Command) -> Entry:
        """The entry that the command came to; it must come to one, and anew."""
        outcome = await self.ledger.commit(command)
        assert isinstance(outcome.decided, Entry), outcome.decided
        assert not outcome.replayed, outcome
        return outcome.decided

    async def refused(self, command: Command) -> Problem:
        """The problem that the command came to; the member's journal must have gained no entry."""
        before = await self.ledger.journal.wallet(command.member)
        outcome = await self.ledger.commit(command)
        assert isinstance(outcome.decided, Problem), outcome.decided
        assert not outcome.replayed, outcome
        assert await self.ledger.journal.wallet(command.member) == before
        return outcome.decided

    async def all(self, commands: Iterable[Command]) -> list[Outcome]:
        """All the commands at once, each with its outcome."""
        return await at_once(self.ledger, commands)

    def another_ledger(self) -> Ledger:
        """A ledger as another process would have; closed with the shop."""
        self.others.append(Ledger(self.store, self.clock, self.programmes))
        return self.others[-1]

    async def settle_at_once(self, ledgers: Iterable[Ledger], members: Iterable[Member]) -> None:
        identifiers = [member.id for member in members]
        await asyncio.gather(*(ledger.settle(identifiers) for ledger in ledgers))

    async def at_all(self, ledgers: Sequence[Ledger], commands: Sequence[Command]) -> list[Outcome]:
        """All the commands at each of the ledgers at once."""
        groups = await asyncio.gather(*(at_once(ledger, commands) for ledger in ledgers))
        return [outcome for group in groups for outcome in group]

    async def spread_over(self, ledgers: Sequence[Ledger], commands: Sequence[Command]) -> list[Outcome]:
        """The commands at once, dealt out to the ledgers in turn."""
        count = len(ledgers)
        groups = await asyncio.gather(
            *(at_once(ledger, commands[index::count]) for index, ledger in enumerate(ledgers))
        )
        return [outcome for group in groups for outcome in group]

    def long_ago(self) -> datetime:
        """An hour ago by real time, by which claims are abandoned."""
        return datetime.now(UTC) - timedelta(hours=1)

    async def close(self) -> None:
        for ledger in (self.ledger, *self.others):
            await ledger.close()

    async def wallet(self, member: Member) -> Wallet:
        return await self.ledger.journal.wallet(member.id)

    async def standing(self, member: Member, asset: str = POINTS) -> Standing:
        """What is read now, settled or not."""
        return standing(await self.wallet(member), asset, self.clock.now())

    async def available(self, member: Member, asset: str = POINTS) -> int:
        return (await self.standing(member, asset)).available

    async def entries(self, member: Member) -> list[Entry]:
        return (await self.ledger.journal.after({member.id: 0})).get(member.id, [])

    async def move_to(self, instant: datetime) -> None:
        await self.clock.move_to(instant)

    async def move_by(self, **span: int) -> None:
        await self.clock.move_to(self.clock.now() + timedelta(**span))


async def open_shop(store: Store, sections: str, *, start_at: datetime, zone: str) -> Shop:
    """A shop on an empty store; close its ledger at the end."""
    clock = SandboxClock(store)
    await clock.start_at(start_at)
    published = await publish(store, source(sections, zone), expected_version=0, now=clock.now())
    assert isinstance(published, Published), published
    programmes = await Programmes.open(store)
    return Shop(store=store, clock=clock, programmes=programmes, ledger=Ledger(store, clock, programmes))


def source(sections: str, zone: str = "Europe/Ljubljana") -> str:
    """The YAML of a small programme in euros with those sections."""
    return _HEAD.format(zone=zone) + sections


async def at_once(ledger: Ledger, commands: Iterable[Command]) -> list[Outcome]:
    """All the commands at once at that ledger."""
    return list(await asyncio.gather(*(ledger.commit(command) for command in commands)))


async def assert_sound(store: Store) -> None:
    """Every wallet is the fold of its journal, every chain is whole, and value neither came from nor went nowhere."""
    journals: dict[str, list[Entry]] = {}
    async for document in store.journal.find({"seq": {"$exists": True}}).sort([("member", 1), ("seq", 1)]):
        journals.setdefault(document["member"], []).append(entry_from(document))
    stored = {document["_id"]: wallet_from(document) async for document in store.wallets.find()}
    assert stored.keys() <= journals.keys()
    for member, entries in journals.items():
        wallet = Wallet(member=member)
        for number, entry in enumerate(entries, 1):
            assert entry.sequence == number
            assert is_intact(entry), entry
            wallet = apply(wallet, entry)
            assert_possible(wallet, entry)
            if member in stored and stored[member].sequence == number:
                assert stored[member] == wallet
        assert_conserved(wallet, entries)


def assert_possible(wallet: Wallet, entry: Entry) -> None:
    """No wallet holds less than nothing, or spendable value beside a debt, or spends what has expired."""
    for lot in wallet.lots:
        assert lot.remaining > 0, lot
    for asset, owed in wallet.owed.items():
        assert owed > 0, wallet
        assert standing(wallet, asset, entry.posted_at).available == 0, wallet
    for asset in assets_of(wallet):
        assert standing(wallet, asset, entry.posted_at).available >= 0, wallet
    if entry.kind in {EntryKind.CAPTURE, EntryKind.VOID}:
        return  # what is let go may have expired meanwhile; that goes with the next entry
    for lot in wallet.lots:
        assert expiry_of(lot, wallet.idle_until) > entry.occurred_at or expiry_of(lot, wallet.idle_until) == NEVER


def assert_conserved(wallet: Wallet, entries: Iterable[Entry]) -> None:
    """Over all accounts each asset adds up to zero; the member's side is what the wallet holds less what it owes."""
    accounts: dict[tuple[str, str], int] = {}
    for entry in entries:
        for posting in entry.postings:
            for account, amount in ((posting.source, -posting.amount), (posting.destination, posting.amount)):
                accounts[account, posting.asset] = accounts.get((account, posting.asset), 0) + amount
    assets = {asset for _, asset in accounts}
    for asset in assets:
        sides = {account: amount for (account, of), amount in accounts.items() if of == asset}
        assert sum(sides.values()) == 0
        members = sum(amount for account, amount in sides.items() if is_members(account))
        owned = sum(lot.remaining for lot in wallet.lots if lot.asset == asset)
        held = sum(part.amount for hold in wallet.holds.values() for part in hold.parts if part.asset == asset)
        assert held == sides.get(HELD, 0)
        assert members == owned + held - wallet.owed.get(asset, 0)


def _money(minor: int, currency: str) -> dict[str, str]:
    return {"amount": to_decimal(minor, currency), "currency": currency}
