"""A year of receipts against a count by hand, with another programme published in the middle of it (SEMANTICS §8, §11).

The sample goes through a ledger in this process. With `--receipts FILE` the whole year does.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest

from api.command.replay import Receipt as PrintedReceipt
from api.command.replay import read_receipts
from domain.commands.purchase import Receipt, check_receipt, decide_purchase
from domain.ledger.audit import audit
from domain.ledger.command import Command, fingerprint_of
from domain.ledger.commit import Ledger
from domain.ledger.entry import Entry
from domain.members.enrolment import Enrolled, enrol
from domain.members.member import Member, Profile
from domain.money import to_minor
from domain.programme.badges import badge_state
from domain.programme.earning import Line
from domain.programme.published import Programmes, Published, publish
from domain.programme.stamp_cards import card_state
from domain.store.clock import SandboxClock
from domain.store.connection import Store
from tests.counted_by_hand import Household, Terms, total
from tests.wallet_command import PROGRAMME, SAMPLE

MIDDLE: Final = datetime(2017, 6, 20, 4, tzinfo=UTC)
BEFORE: Final = Terms()
AFTER: Final = Terms(
    points_per_dollar=2,
    badges={"regular": [10, 20, 30, 40], "explorer": [2], "gourmet": [3, 4, 5, 12], "faithful": [2, 3, 4]},
    card_size=3,
    stamps_a_day=1,
    target=6,
    nth=3,
    within_days=30,
)
CHANGES: Final = (
    ('award: {points: {per: "1.00", give: 1}}, text', 'award: {points: {per: "1.00", give: 2}}, text'),
    ("levels: [5, 25, 100]", "levels: [10, 20, 30, 40]"),
    ("levels: [3, 6, 12]", "levels: [2]"),
    ("levels: [5, 8]", "levels: [3, 4, 5, 12]"),
    ("levels: [4, 13, 52]", "levels: [2, 3, 4]"),
    ("size: 4, per_day: 2", "size: 3, per_day: 1"),
    ("target: 8", "target: 6"),
    ("nth: 4, within: P60D", "nth: 3, within: P30D"),
)


def changed(source: str) -> str:
    for old, new in CHANGES:
        assert old in source, old
        source = source.replace(old, new, 1)
    return source


class Year:
    """One till that brings in receipts, those of two days at a time, at the instant of the last of them."""

    def __init__(self, store: Store, clock: SandboxClock, programmes: Programmes) -> None:
        self.store = store
        self.clock = clock
        self.programmes = programmes
        self.ledger = Ledger(store, clock, programmes)
        self.members: dict[str, Member] = {}

    async def member(self, household: str) -> Member:
        if household not in self.members:
            enrolled = await enrol(
                self.ledger,
                client_id="till",
                reference=household,
                profile=Profile(),
                key=f"enrol-{household}",
                fingerprint=fingerprint_of("enrolMember", {"reference": household}),
                now=self.clock.now(),
            )
            assert isinstance(enrolled, Enrolled), enrolled
            self.members[household] = enrolled.member
        return self.members[household]

    async def record(self, receipts: Sequence[PrintedReceipt]) -> list[Entry]:
        """The entries of the receipts, which come in the order in which they were printed."""
        if receipts[-1].occurred_at > self.clock.now():
            await self.clock.move_to(receipts[-1].occurred_at)
        for printed in receipts:
            await self.member(printed.household)
        return await asyncio.gather(*(self._record(printed) for printed in receipts))

    async def _record(self, printed: PrintedReceipt) -> Entry:
        member, place = await self.member(printed.household), f"store-{printed.store}"
        lines = [
            Line(
                sku=line["sku"],
                category=line["category"],
                brand=line["brand"],
                quantity=line["quantity"],
                amount_minor=to_minor(line["amount"], "USD"),
            )
            for line in printed.purchase["lines"]
        ]
        receipt = Receipt(
            member=member,
            merchant="till",
            number=printed.number,
            total_minor=to_minor(printed.purchase["total"]["amount"], "USD"),
            currency="USD",
            occurred_at=printed.occurred_at,
            place=place if place in self.programmes.current.places else None,
            lines=tuple(lines),
        )
        command = Command(
            member=member.id,
            actor="partner:till",
            key=printed.number,
            operation="recordPurchase",
            fingerprint=fingerprint_of("recordPurchase", printed.purchase),
            decide=lambda situation: decide_purchase(receipt, situation),
            check=lambda programme, now: check_receipt(receipt, programme, now),
            receipt=printed.number,
        )
        outcome = await self.ledger.commit(command)
        assert isinstance(outcome.decided, Entry), outcome.decided
        return outcome.decided


def in_twos(receipts: Iterable[PrintedReceipt]) -> list[list[PrintedReceipt]]:
    """The receipts of two days together, parted in the middle."""
    groups: dict[tuple[int, bool], list[PrintedReceipt]] = defaultdict(list)
    for printed in receipts:
        groups[printed.occurred_at.toordinal() // 2, printed.occurred_at >= MIDDLE].append(printed)
    return list(groups.values())


def awarded(entry: Entry) -> dict[str, Any]:
    """What an entry awarded, in the words of the count by hand."""
    stamps = entry.marks.get("stamp_cards", {}).get("bread", {"stamps": 0, "completed": 0})
    badges = entry.marks.get("badges", {})
    return {
        "badges": {badge: mark["levels"] for badge, mark in badges.items()},
        "stamps": (stamps["stamps"], stamps["completed"]),
        "won": entry.marks.get("challenges", {}).get("summer-basket", {}).get("completed", False),
        "vouchers": [(each.definition, each.sku) for each in entry.changes.vouchers],
        "points": sum(row.points for row in entry.explanation if row.step == "streaks"),
    }


@pytest.mark.slow
@pytest.mark.parametrize("of", ["sample", "year"])
async def test_what_each_receipt_awards_is_counted_by_hand_and_a_changed_programme_changes_only_later_ones(
    store: Store, pytestconfig: pytest.Config, of: str
) -> None:
    file: Path | None = SAMPLE if of == "sample" else pytestconfig.getoption("--receipts")
    if file is None:
        pytest.skip("give the whole year's file with --receipts")
    receipts, clock, source = read_receipts(file), SandboxClock(store), PROGRAMME.read_text(encoding="utf-8")
    await clock.start_at(receipts[0].occurred_at)
    await publish(store, source, expected_version=0, now=clock.now())
    year = Year(store, clock, await Programmes.open(store))
    households: dict[str, Household] = defaultdict(Household)

    for two_days in in_twos(receipts):
        terms = BEFORE if two_days[0].occurred_at < MIDDLE else AFTER
        if terms is AFTER and year.programmes.current.version == 1:
            published = await publish(store, changed(source), expected_version=1, now=clock.now())
            assert isinstance(published, Published), published
            await year.programmes.refresh()
        for printed, entry in zip(two_days, await year.record(two_days), strict=True):
            by_hand = households[printed.household].buy(printed, terms)
            assert (printed.number, awarded(entry)) == (printed.number, by_hand)
            assert entry.programme_version == (1 if terms is BEFORE else 2)
            base = sum(row.points for row in entry.explanation if (row.rule, row.step) == ("base", "award"))
            assert base == int(total(printed) * terms.points_per_dollar)
            assert sum(row.points for row in entry.explanation) == entry.points

    for household, by_hand_in_all in households.items():
        wallet = await year.ledger.journal.wallet(year.members[household].id)
        card = card_state(wallet.progress, "bread")
        assert (card.stamps, card.completed) == (by_hand_in_all.stamps, by_hand_in_all.cards)
        assert wallet.visits == by_hand_in_all.counts()["regular"]
        assert {badge: badge_state(wallet.progress, badge).level for badge in AFTER.badges} == {
            badge: by_hand_in_all.levels[badge] for badge in AFTER.badges
        }
    await year.ledger.close()
    assert (await audit(store)).ok
