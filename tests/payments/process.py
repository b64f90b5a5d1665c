"""What a process of its own does about top-ups on the database of a test until it kills itself, at one exact place.

`killed` is as in tests.faults.process; with `nth` it is the n-th such command. `act` is `start`, `deliver`, `work`
or `refund`.
"""

from typing import Any

from pymongo import monitoring

from domain.settings import Settings
from domain.store.connection import open_store
from tests.api.shop import Shop, opened_shop
from tests.faults.process import Death
from tests.forked import Line
from tests.payments.bank import Bank
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


async def act(_line: Line, *, settings: Settings, killed: dict[str, Any], what: str, **told: Any) -> None:
    """Does it, and dies of it."""
    monitoring.register(NthDeath(**killed))
    store = await open_store(settings)
    async with opened_shop(store, settings) as shop:
        await _act(shop, settings, what, told)
    await store.close()


async def _act(shop: Shop, settings: Settings, what: str, told: dict[str, Any]) -> None:
    match what:
        case "start":
            await start(shop, told["member"], told["wanted"])
        case "deliver":
            assert settings.stripe_url is not None
            async with Bank(shop=shop, url=settings.stripe_url, keeps=True) as bank:
                await bank.deliver(told["event"])
        case "work":
            await work(shop, told["member"])
        case "refund":
            await refund(shop, told["entry"], "5.00", key=told["key"])
