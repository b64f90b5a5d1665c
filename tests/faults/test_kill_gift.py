"""A server killed with SIGKILL at any point of a gift: both wallets or neither, and the same key gives it once."""

import asyncio
import json
import sys
from base64 import b64decode
from collections import Counter
from pathlib import Path
from typing import Final

from bson.binary import UUID_SUBTYPE, Binary

from domain.ledger.audit import audit
from domain.ledger.entry import Entry
from domain.settings import Settings
from tests.faults.giving import KEY, POINTS
from tests.ledger.conftest import OpenShop
from tests.ledger.spending import REWARDS, give

ROOT: Final = Path(__file__).parents[2]
PAIRS: Final = 48


async def test_a_gift_killed_at_any_point_is_in_both_wallets_or_in_neither(
    shop_with: OpenShop, settings: Settings
) -> None:
    shop = await shop_with(REWARDS)
    members = await asyncio.gather(*(shop.member() for _ in range(2 * PAIRS)))
    pairs = list(zip(members[::2], members[1::2], strict=True))
    await shop.all(shop.adjustment(sender, 100) for sender, _ in pairs)
    told = {
        "url": settings.mongodb_url,
        "database": settings.database,
        "pairs": [[sender.id, receiver.id] for sender, receiver in pairs],
    }

    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.faults.giving", json.dumps(told), cwd=ROOT, stdout=asyncio.subprocess.PIPE
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
    given: list[bool] = []
    for sender, receiver in pairs[1 : len(deaths) + 1]:
        balances = await shop.available(sender), await shop.available(receiver)
        assert balances in {(100, 0), (100 - POINTS, POINTS)}
        given.append(balances[1] == POINTS)
    assert [death["died"] for death, done in zip(deaths, given, strict=True) if done] == ["commitTransaction"]
    assert (await audit(shop.store)).ok

    for (sender, receiver), done in zip(pairs[1:], given, strict=False):
        outcome = await give(shop, sender, receiver, POINTS, key=KEY)
        assert isinstance(outcome.decided, Entry)
        assert outcome.replayed == done
        assert (await shop.available(sender), await shop.available(receiver)) == (100 - POINTS, POINTS)
    report = await audit(shop.store)
    assert report.ok, report.differences
