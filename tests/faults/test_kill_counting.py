"""A worker that dies while it counts for reports: its successor counts on, and every entry counts once."""

import signal

import pytest

from domain.ledger.audit import audit
from domain.settings import Settings
from tests.faults.test_kill_worker import eventually, started
from tests.ledger.conftest import OpenShop
from tests.reports.fortnight import PERIODS, PROGRAMME, a_fortnight, asked, by_hand, numbers


@pytest.mark.parametrize("collection", ["day_sums", "member_days"])
async def test_a_report_equals_a_recomputation_after_a_worker_was_killed_while_it_counted(
    shop_with: OpenShop, settings: Settings, collection: str
) -> None:
    shop = await shop_with(PROGRAMME)
    await a_fortnight(shop)
    first = started(settings)

    async def all_counted() -> bool:
        return not (await audit(shop.store)).uncounted

    await eventually(all_counted)
    assert await first.stop() == 0
    await a_fortnight(shop, seed=2)

    second = started(settings, {"command": "update", "collection": collection, "when": "after"})
    died = await second.ended()
    third = started(settings)
    await eventually(all_counted)

    assert died == -signal.SIGKILL
    assert await third.stop() == 0
    for period in PERIODS:
        assert numbers(await asked(shop, *period)) == await by_hand(shop, *period), period
