"""A preview is what recording then posts, mechanisms and all (SEMANTICS §3.8)."""

from collections.abc import Mapping
from datetime import timedelta
from random import Random
from typing import Any, Final

import pytest

from domain.ledger.entry import Entry
from domain.programme.earning import Line
from tests.ledger.conftest import OpenShop
from tests.ledger.shop import Shop

PROGRAMME: Final = """
earning:
  - {id: base, event: purchase, award: {points: {per: "1.00", give: 1}}}
  - {id: five, event: purchase, award: {cashback: {percent: "5"}}}
  - {id: again, event: same_sku, nth: 2, within: P5D, award: {voucher: off}, limit: {count: 2, per: week}}
badges:
  - {id: regular, counts: visits, levels: [2, 5, 9], name: {en: Regular}}
  - {id: spender, counts: spend, levels: [20, 40, 80], name: {en: Spender}}
  - {id: gourmet, counts: distinct_categories, levels: [1, 2, 3], name: {en: Gourmet}}
streaks:
  - {id: daily, event: purchase, period: day, freezes: {max: 1, every: 2}, name: {en: Daily},
     milestones: [{at: 2, award: {points: 15}}, {at: 4, award: {voucher: off}}]}
stamp_cards:
  - {id: bread, lines: 'line.category == "BREAD"', size: 3, per_day: 4, award: {points: 7, bonus: small}, name: {en: B}}
challenges:
  - {id: march, event: purchase, counts: spend, target: 50, from: 2026-03-01, until: 2026-04-01,
     award: {points: 50, cashback: "1.00"}, name: {en: March}}
bonuses: [{id: small, worth: "1.00", expires: P30D}]
vouchers: [{id: off, discount: {percent: "15"}, expires: P21D, name: {en: Off}}]
"""


def what_it_does(entry: Entry) -> Mapping[str, Any]:
    return {
        "postings": entry.postings,
        "explanation": entry.explanation,
        "balances": entry.balances,
        "marks": entry.marks,
        "progress": {section: set(states) for section, states in entry.changes.progress.items()},
        "vouchers": [(voucher.definition, voucher.sku, voucher.code) for voucher in entry.changes.vouchers],
        "bonuses": [bonus.definition for bonus in entry.changes.bonuses],
        "used": entry.changes.usage,
    }


def some_lines(chance: Random) -> tuple[Line, ...]:
    return tuple(
        Line(
            sku=chance.choice("abc"),
            category=chance.choice(("BREAD", "MILK", None)),
            quantity=chance.randint(0, 4),
            amount_minor=chance.randint(1, 900),
        )
        for _ in range(chance.randint(1, 4))
    )


@pytest.mark.parametrize("seed", range(4))
async def test_a_preview_is_what_recording_then_posts_whatever_came_before(shop_with: OpenShop, seed: int) -> None:
    shop: Shop = await shop_with(PROGRAMME)
    member, chance = await shop.member(), Random(seed)
    bought: list[Entry] = []

    for _ in range(20):
        await shop.move_by(minutes=chance.choice((5, 300, 1_440)))
        lines = some_lines(chance)
        occurred_at = shop.clock.now() - timedelta(minutes=chance.choice((0, 90, 3_000)))
        total_minor = sum(line.amount_minor for line in lines)
        command = shop.purchase(member, total_minor, lines=lines, occurred_at=occurred_at)
        previewed = await shop.ledger.preview(command)
        recorded = await shop.posted(command)
        assert isinstance(previewed, Entry)
        assert what_it_does(previewed) == what_it_does(recorded)
        assert sum(row.points for row in recorded.explanation) == recorded.points
        bought.append(recorded)
        if chance.random() < 0.2:
            back = bought.pop(chance.randrange(len(bought)))
            await shop.give_back(member, back)

    assert {"badges", "stamp_cards", "challenges"} <= {section for entry in bought for section in entry.marks}
