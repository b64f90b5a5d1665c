"""How many payments a second the ledger takes, as pairs of authorize and capture, beside recorded purchases.

Both run on one server in one run, each in a database of its own. A pair is two commands of one caller, the
capture sent after the answer to the authorization, so a pair a second is two commands a second. Rounds are
interleaved; what is shown is the median. Run it with ``python -m benchmarks.payments``.
"""

import argparse
import asyncio
import logging
import statistics
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from random import Random
from typing import Final

import structlog
import uvloop
from rich.console import Console

from benchmarks.ledger import OPENED_BEFORE, Local, Sample, Samples, measure, opened_ledger, report, server
from benchmarks.measured import machine
from benchmarks.workload import CURRENCY, MEMBERS, Till, new_members
from domain.commands.adjustment import Adjustment, decide_adjustment
from domain.commands.payment import Capture, Payment, check_payment, decide_capture, decide_payment, load_hold
from domain.ledger.command import Command, fingerprint_of
from domain.ledger.commit import Ledger
from domain.ledger.entry import Entry, Note
from domain.members.member import Member

LEVELS: Final = (1, 8, 32, 128)
PURCHASES, PAIRS = "recordPurchase", "authorize+capture"
FUNDS_MINOR: Final = 10**10
MERCHANT: Final = "till"
ACTOR: Final = f"partner:{MERCHANT}"
COLUMNS: Final = ("callers", "what", "a second", "commands/s", "p50 ms", "p99 ms", "CPU µs")


class PaymentTill(Till):
    """Authorizes a payment of a few euros where the other till records a purchase."""

    def purchase(self) -> Command:
        """A command as the API makes it of an `authorizePayment`."""
        self.number += 1
        member = self.random.choice(self.members)
        wanted = Payment(merchant=MERCHANT, amount_minor=self.random.randint(100, 2_500), currency=CURRENCY)
        given = {"member": {"id": member.id}, "amount": {"amount": str(wanted.amount_minor), "currency": CURRENCY}}
        return Command(
            member=member.id,
            actor=ACTOR,
            key=f"authorize-{self.number:09}",
            operation="authorizePayment",
            fingerprint=fingerprint_of("authorizePayment", given),
            decide=partial(decide_payment, wanted),
            check=lambda programme, _now: check_payment(wanted, programme),
        )


def capture_of(hold: Entry) -> Command:
    """A command as the API makes it of a `capturePayment`."""
    return Command(
        member=hold.member,
        actor=ACTOR,
        key=f"capture-{hold.id}",
        operation="capturePayment",
        fingerprint=fingerprint_of("capturePayment", {"hold": hold.id}),
        decide=partial(decide_capture, Capture(merchant=MERCHANT, hold=hold.id, amount_minor=None)),
        load=partial(load_hold, hold.id),
    )


def funding(member: Member) -> Command:
    """Prepaid money for every payment that may come."""
    adjustment = Adjustment(
        asset=f"prepaid/{CURRENCY}", amount=FUNDS_MINOR, reason=Note(text="Funds for payments", salt="x")
    )
    return Command(
        member=member.id,
        actor="system",
        key="funds",
        operation="adjustBalance",
        fingerprint=fingerprint_of("adjustBalance", {"amount": FUNDS_MINOR}),
        decide=partial(decide_adjustment, adjustment),
    )


@asynccontextmanager
async def purchases(url: str, members: Sequence[Member]) -> AsyncIterator[Local]:
    async with opened_ledger(url, "purchases", members) as (_, ledger, _):

        async def record(command: Command) -> bool:
            return not isinstance((await ledger.commit(command)).decided, Entry)

        yield Local(PURCHASES, record, Till(tuple(members), Random(1)))


@asynccontextmanager
async def pairs(url: str, members: Sequence[Member]) -> AsyncIterator[Local]:
    async with opened_ledger(url, "payments", members) as (_, ledger, _):
        await asyncio.gather(*(ledger.commit(funding(member)) for member in members))
        yield Local(PAIRS, partial(_pay, ledger), PaymentTill(tuple(members), Random(1)))


async def _pay(ledger: Ledger, authorize: Command) -> bool:
    hold = (await ledger.commit(authorize)).decided
    if not isinstance(hold, Entry):
        return True
    captured = (await ledger.commit(capture_of(hold))).decided
    assert isinstance(captured, Entry), captured
    return False


def rows_of(samples: Samples) -> list[list[str]]:
    """A row for each level and what was done: the medians of its rounds. `CPU µs` is this process's, for each."""

    def median(rounds: Sequence[Sample], name: str) -> float:
        return float(statistics.median(getattr(each, name) for each in rounds))

    return [
        [
            str(callers),
            name,
            f"{median(rounds, 'rate'):,.0f}",
            f"{median(rounds, 'rate') * (2 if name == PAIRS else 1):,.0f}",
            f"{median(rounds, 'p50_ms'):.1f}",
            f"{median(rounds, 'p99_ms'):.1f}",
            f"{median(rounds, 'cpu_us'):,.0f}",
        ]
        for callers, by_name in samples.items()
        for name, rounds in by_name.items()
    ]


async def run(arguments: argparse.Namespace, url: str, console: Console) -> None:
    members = new_members(arguments.members, datetime.now(UTC) - OPENED_BEFORE)
    about = machine() | {
        "members": str(arguments.members),
        "rounds": f"{arguments.rounds} of {arguments.seconds:g} s, interleaved",
    }
    async with AsyncExitStack() as stack:
        contestants = [await stack.enter_async_context(each(url, members)) for each in (purchases, pairs)]
        samples = await measure(
            contestants, arguments.callers, rounds=arguments.rounds, seconds=arguments.seconds, console=console
        )
    report(
        "payments",
        "Payments and purchases a second, medians over the rounds",
        columns=COLUMNS,
        rows=rows_of(samples),
        samples=samples,
        about=about,
        console=console,
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.payments", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--callers", type=int, nargs="+", default=LEVELS, help="callers in a closed loop")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--members", type=int, default=MEMBERS)
    parser.add_argument("--mongodb-url", help="a server to use in place of an embedded one; it is filled and emptied")
    arguments = parser.parse_args()
    console = Console()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with server(arguments.mongodb_url) as url, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(arguments, url, console))


if __name__ == "__main__":
    main()
