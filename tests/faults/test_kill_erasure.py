"""A server killed with SIGKILL at any point of an erasure did nothing, or the person is gone and the rest follows."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Final

from domain.ledger.audit import audit
from domain.members.erasure import finish_erasures
from domain.members.grant import let_in
from domain.settings import Settings
from domain.store import collections
from domain.store.slots import SLOTS
from tests.ledger.conftest import OpenShop
from tests.ledger.shop import POINT_PER_EURO

ROOT: Final = Path(__file__).parents[2]
MEMBERS: Final = 60
OF_THE_PERSON: Final = {"profile", "references", "linked", "enrolled_by"}


async def test_an_erasure_killed_at_any_point_did_nothing_or_is_finished_by_whoever_comes_next(
    shop_with: OpenShop, settings: Settings
) -> None:
    shop = await shop_with(POINT_PER_EURO)
    store, now = shop.store, shop.clock.now()
    everybody = await shop.members(MEMBERS)
    members = [member.id for member in everybody]
    await store.members.update_many({}, {"$set": {"profile": {"display_name": "Ana Novak"}}})
    await shop.all(shop.purchase(member, 10_00) for member in everybody)
    for member in members:
        await let_in(store, member, client_id="app", scopes=["wallet:read"], now=now)
    told = {"url": settings.mongodb_url, "database": settings.database, "members": members}

    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.faults.erasing", json.dumps(told), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode == 0
    commands, *deaths = (json.loads(line) for line in said.splitlines())
    died = [one["died"] for one in deaths if "died" in one]

    assert died == commands["commands"]
    erased = []
    for member in members[1 : len(died) + 1]:
        left = await store.members.find_one({"_id": member})
        assert left is not None
        assert OF_THE_PERSON & set(left) in (OF_THE_PERSON, set())
        erased.append("profile" not in left)
    assert erased == sorted(erased)
    assert (erased[0], erased[-1]) == (False, True)

    await finish_erasures(shop.ledger, range(SLOTS))
    await finish_erasures(shop.ledger, range(SLOTS))

    gone = [member for member, done in zip(members[1:], erased, strict=False) if done]
    for member in gone:
        left = await store.members.find_one({"_id": member})
        assert set(left or {}) == {"_id", "slot", "joined_at", "is_joined", "erased_at"}
        assert await store.grants.count_documents({"member": member}) == 0
        assert await store.journal.count_documents({"member": member, "operation": "erasure"}) == 1
        assert await store.denials.count_documents({"_id": f"member|{member}"}) == 1
    names = await store.database[collections.MEMBERS].count_documents({"profile.display_name": "Ana Novak"})
    # Neither the first, whose erasure was counted, nor the last, whose one went through.
    assert names == MEMBERS - len(gone) - 2
    report = await audit(store)
    assert report.ok, report.differences
