"""A server killed with SIGKILL at any point of what two documents must agree on: all of it or nothing, and once."""

import asyncio
import json
import sys
from base64 import b64decode
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from bson.binary import UUID_SUBTYPE, Binary

from domain.ledger.audit import audit
from domain.ledger.entry import Entry
from domain.settings import Settings
from tests.faults.jointly import CASH_MINOR, POINTS, act
from tests.ledger.conftest import OpenShop
from tests.ledger.shop import Shop
from tests.ledger.spending import REWARDS, stock_issued
from tests.ledger.till import PREPAID

ROOT: Final = Path(__file__).parents[2]
CASES: Final = 48


async def deaths_of(shop: Shop, settings: Settings, name: str, cases: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
    """Where another process died, one after another, each at a case of its own from the second on."""
    told = {"url": settings.mongodb_url, "database": settings.database, "act": name, "cases": cases}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.faults.jointly", json.dumps(told), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await asyncio.wait_for(process.communicate(), 90)
    assert process.returncode == 0
    first, *rest = (json.loads(line) for line in said.splitlines())
    deaths = [one for one in rest if "died" in one]
    abandoned = [b64decode(one["session"]) for one in deaths if one["session"] is not None]
    await shop.store.client.admin.command(
        "killSessions", [{"id": Binary(session, UUID_SUBTYPE)} for session in abandoned]
    )
    assert len(deaths) == 2 * len(first["commands"])
    assert Counter(one["died"] for one in deaths if one["when"] == "before") == Counter(first["commands"])
    assert "commitTransaction" in first["commands"]
    return deaths


async def go_on(shop: Shop, name: str, cases: Sequence[Sequence[str]], deaths: Sequence[Any], done: list[bool]) -> None:
    """Nothing but a commit did it, and the same keys do the rest."""
    assert [death["died"] for death, is_done in zip(deaths, done, strict=True) if is_done] == ["commitTransaction"]
    assert (await audit(shop.store)).ok
    for case, is_done in zip(cases, done, strict=True):
        outcome = await act(shop, name, case)
        assert isinstance(outcome.decided, Entry)
        assert outcome.replayed == is_done
    report = await audit(shop.store)
    assert report.ok, report.differences


async def test_a_gift_killed_at_any_point_is_in_both_wallets_or_in_neither(
    shop_with: OpenShop, settings: Settings
) -> None:
    shop = await shop_with(REWARDS)
    members = await shop.members(2 * CASES)
    pairs = list(zip(members[::2], members[1::2], strict=True))
    cases = [[sender.id, receiver.id] for sender, receiver in pairs]
    await shop.all(shop.adjustment(sender, 100) for sender, _ in pairs)

    deaths = await deaths_of(shop, settings, "gift", cases)

    hit = pairs[1 : len(deaths) + 1]
    balances = [(await shop.available(sender), await shop.available(receiver)) for sender, receiver in hit]
    assert set(balances) == {(100, 0), (100 - POINTS, POINTS)}
    await go_on(shop, "gift", cases[1 : len(deaths) + 1], deaths, [received == POINTS for _, received in balances])
    for sender, receiver in hit:
        assert (await shop.available(sender), await shop.available(receiver)) == (100 - POINTS, POINTS)


async def test_a_limited_reward_killed_at_any_point_is_issued_with_its_piece_or_not_at_all(
    shop_with: OpenShop, settings: Settings
) -> None:
    seats = "".join(
        f"  - {{id: seat-{number}, kind: EXPERIENCE, cost: 100, voucher: seat, stock: 1, name: {{en: Seat}}}}\n"
        for number in range(CASES)
    )
    shop = await shop_with(REWARDS + seats)
    members = await shop.members(CASES)
    cases = [[member.id, f"seat-{number}"] for number, member in enumerate(members)]
    await shop.all(shop.adjustment(member, 100) for member in members)

    deaths = await deaths_of(shop, settings, "redeem", cases)

    hit = list(zip(members, cases, strict=True))[1 : len(deaths) + 1]
    found = [(await shop.available(member), await stock_issued(shop, reward)) for member, (_, reward) in hit]
    assert set(found) == {(100, 0), (0, 1)}
    await go_on(shop, "redeem", [case for _, case in hit], deaths, [issued == 1 for _, issued in found])
    for member, (_, reward) in hit:
        assert (await shop.available(member), await stock_issued(shop, reward)) == (0, 1)
        assert len((await shop.wallet(member)).vouchers) == 1


async def test_cash_at_a_till_killed_at_any_point_is_in_the_wallet_once(
    shop_with: OpenShop, settings: Settings
) -> None:
    shop = await shop_with(REWARDS)
    members = await shop.members(CASES)
    cases = [[member.id] for member in members]

    deaths = await deaths_of(shop, settings, "top_up", cases)

    hit = members[1 : len(deaths) + 1]
    found = [await shop.available(member, PREPAID) for member in hit]
    assert set(found) == {0, CASH_MINOR}
    await go_on(shop, "top_up", cases[1 : len(deaths) + 1], deaths, [minor == CASH_MINOR for minor in found])
    assert {await shop.available(member, PREPAID) for member in hit} == {CASH_MINOR}
