"""A process of its own that tops up on the database of a test and is killed, by itself, at one exact place.

    python -m tests.payments.process '{"url": …, "database": …, "stripe_url": …, "killed": …, "act": …, …}'

`killed` is as in tests.faults.process; with `nth` it is the n-th such command. `act` is `start`, `deliver`, `work`
or `refund`.
"""

import asyncio
import json
import sys
from dataclasses import replace
from typing import Any

from pymongo import monitoring

from domain.settings import read_settings
from domain.store.connection import open_store
from tests.api.shop import Shop, opened_shop
from tests.faults.process import Death
from tests.payments.bank import WEBHOOK_SECRET, Bank
from tests.payments.member import refund, start, work


class NthDeath(Death):
    """Lets the first ones pass."""

    def __init__(self, *, nth: int = 1, **place: Any) -> None:
        super().__init__(**place)
        self.left = nth

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        if event.command_name == self.command and event.command[self.command] == self.collection:
            self.left -= 1
            if self.left == 0:
                super().started(event)


async def act(shop: Shop, told: dict[str, Any]) -> None:
    match told["act"]:
        case "start":
            await start(shop, told["member"], told["wanted"])
        case "deliver":
            async with Bank(shop=shop, url=told["stripe_url"], keeps=True) as bank:
                await bank.deliver(told["event"])
        case "work":
            await work(shop, told["member"])
        case "refund":
            await refund(shop, told["entry"], "5.00", key=told["key"])


async def main(told: dict[str, Any]) -> None:
    monitoring.register(NthDeath(**told["killed"]))
    settings = replace(
        read_settings({}, mode="sandbox", mongodb_url=told["url"], database=told["database"]),
        stripe_key="sk_test_wallet",
        stripe_webhook_secret=WEBHOOK_SECRET,
        stripe_url=told["stripe_url"],
    )
    store = await open_store(settings)
    async with opened_shop(store, settings) as shop:
        await act(shop, told)
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
