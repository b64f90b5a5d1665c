"""A stored wallet that makes no sense: its own commands fail, its neighbours in the same commit do not."""

import asyncio
from datetime import timedelta

from domain.ledger.entry import Entry
from domain.ledger.outcome import Outcome
from tests.ledger.conftest import OpenShop

SHORT_LIVED = """
points: {expiry: {policy: rolling, after: P1D}}
earning:
  - {id: base, event: purchase, award: {points: {per: "1.00", give: 1}}}
"""


async def test_a_wallet_that_cannot_be_settled_harms_no_neighbour_of_its_batch(shop_with: OpenShop) -> None:
    shop = await shop_with(SHORT_LIVED)
    broken, sound = await shop.member(), await shop.member()
    await shop.buy(broken, 30_00)
    kept = await shop.store.wallets.find_one({"_id": broken.id})
    assert kept is not None
    await shop.store.wallets.update_one({"_id": broken.id}, {"$set": {"lots.0.remaining": -5}})
    await shop.move_by(days=3)

    failed, done = await asyncio.gather(
        shop.ledger.commit(shop.purchase(broken, 10_00)),
        shop.ledger.commit(shop.purchase(sound, 10_00)),
        return_exceptions=True,
    )

    assert isinstance(failed, AssertionError)
    assert isinstance(done, Outcome)
    assert isinstance(done.decided, Entry)
    assert shop.clock.now() - done.decided.posted_at < timedelta(seconds=5)
    await shop.store.wallets.replace_one({"_id": broken.id}, kept)
