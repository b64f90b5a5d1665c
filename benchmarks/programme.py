"""What a programme costs a purchase: the whole example and 500 rules, beside the base rule alone.

    base        one point for every dollar, and nothing else
    full        the example programme: rules, limits, tiers, badges, streaks, cards, challenges, same-item offers
    500 rules   the base rule and 499 conditions, limits and multipliers that must be looked at for every receipt

Each has a database of its own on one server and the same purchases of the same members. The rounds are interleaved and
take turns in going first; what counts are the ratios, taken within a round. The time is that of one purchase after the
other, through `Ledger.commit`, every write acknowledged by a majority and journaled. Garbage is collected as seldom as
the server does it.
"""

import argparse
import asyncio
import gc
import statistics
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from random import Random
from typing import Final

import structlog
import uvloop
from rich.console import Console

from benchmarks.ledger import PROGRAMME, opened_ledger, server
from benchmarks.measured import machine, percentile, show_and_keep
from benchmarks.workload import Till, new_members
from domain.ledger.commit import Ledger

BASE, FULL, MANY = "base", "full", "500 rules"
MEMBERS: Final = 200
CALLERS: Final = (1, 32)
COLUMNS: Final = ("callers", "programme", "purchases/s", "p50 ms", "p99 ms", "CPU µs", "p50 × base", "CPU × base")

_HEAD: Final = """
programme: corner
name: {en: Corner Club}
currency: USD
time_zone: America/New_York
locales: {default: en, supported: [en]}
cashback: {pending: P14D}
"""
_BASE: Final = '  - {id: base, event: purchase, award: {points: {per: "1.00", give: 1}}}\n'
_PLACES: Final = """
places:
  - {id: store-330, name: A, location: {latitude: 40.7411, longitude: -73.9897}}
  - {id: store-424, name: B, location: {latitude: 40.8006, longitude: -73.9700}}
  - {id: store-429, name: C, location: {latitude: 40.7033, longitude: -74.0170}}
  - {id: store-318, name: D, location: {latitude: 40.6602, longitude: -73.9690}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One round of one programme: purchases a second, latencies in ms, CPU time of the process per purchase in µs."""

    purchases: int
    rate: float
    p50_ms: float
    p99_ms: float
    cpu_us: float


def sources() -> dict[str, str]:
    """Contestant → its programme."""
    rules = "".join(_rule(number) for number in range(1, 500))
    return {
        BASE: f"{_HEAD}earning:\n{_BASE}{_PLACES}",
        FULL: PROGRAMME.read_text(encoding="utf-8"),
        MANY: f"{_HEAD}earning:\n{_BASE}{rules}{_PLACES}",
    }


def _rule(number: int) -> str:
    """A rule that reads what changes with each receipt, so that its answer is seldom remembered."""
    spent, per = 100 + 13 * number, ("day", "week", "month")[number % 3]
    kinds = (
        f"when: 'purchase.total_minor >= {spent} && member.points < {number}', multiply: {{points: \"1.1\"}}",
        f"when: 'purchase.total_minor % {number} == 0', award: {{points: 1}}, limit: {{count: 1, per: {per}}}",
        f'lines: \'line.sku == "{number}"\', award: {{cashback: {{percent: "5"}}}}',
        f"when: 'member.purchases > {number} && \"PASTRY\" in purchase.categories', award: {{points: 1}}",
    )
    return f"  - {{id: rule-{number}, event: purchase, {kinds[number % 4]}}}\n"


async def drive(ledger: Ledger, till: Till, *, callers: int, seconds: float) -> Sample:
    """So many callers, each with one purchase after the other."""
    latencies: list[float] = []
    cpu, begun = time.process_time(), time.perf_counter()

    async def caller() -> None:
        while time.perf_counter() < begun + seconds:
            command, at = till.purchase(), time.perf_counter()
            await ledger.commit(command)
            latencies.append((time.perf_counter() - at) * 1000)

    await asyncio.gather(*(caller() for _ in range(callers)))
    elapsed, ordered = time.perf_counter() - begun, sorted(latencies)
    return Sample(
        purchases=len(ordered),
        rate=len(ordered) / elapsed,
        p50_ms=percentile(ordered, 0.5),
        p99_ms=percentile(ordered, 0.99),
        cpu_us=(time.process_time() - cpu) / len(ordered) * 1e6,
    )


async def measure(url: str, *, rounds: int, seconds: float) -> dict[int, dict[str, list[Sample]]]:
    """Callers → programme → its rounds."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    members = new_members(MEMBERS, datetime.now(UTC))
    found: dict[int, dict[str, list[Sample]]] = {level: {name: [] for name in sources()} for level in CALLERS}
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    async with AsyncExitStack() as stack:
        ledgers: dict[str, tuple[Ledger, Till]] = {}
        for number, (name, source) in enumerate(sources().items()):
            opened = opened_ledger(url, f"programme_{number}", members, source=source)
            _, ledger, _ = await stack.enter_async_context(opened)
            ledgers[name] = (ledger, Till(members, Random(1)))
            await drive(*ledgers[name], callers=8, seconds=1.0)
        for turn in range(rounds):
            names = list(ledgers) if turn % 2 == 0 else list(reversed(ledgers))
            for callers in CALLERS:
                for name in names:
                    found[callers][name].append(await drive(*ledgers[name], callers=callers, seconds=seconds))
    return found


def report(found: Mapping[int, Mapping[str, list[Sample]]], about: Mapping[str, str]) -> None:
    """Prints medians and ratios, and keeps them."""
    rows = []
    for callers, samples in found.items():
        for name, own in samples.items():
            pairs = list(zip(own, samples[BASE], strict=True))
            rows.append(
                (
                    str(callers),
                    name,
                    f"{statistics.median(each.rate for each in own):,.0f}",
                    f"{statistics.median(each.p50_ms for each in own):.2f}",
                    f"{statistics.median(each.p99_ms for each in own):.1f}",
                    f"{statistics.median(each.cpu_us for each in own):,.0f}",
                    f"{statistics.median(each.p50_ms / base.p50_ms for each, base in pairs):.2f}",
                    f"{statistics.median(each.cpu_us / base.cpu_us for each, base in pairs):.2f}",
                )
            )
    rounds = {
        str(callers): {name: [asdict(each) for each in own] for name, own in samples.items()}
        for callers, samples in found.items()
    }
    show_and_keep(
        "programme",
        "Recording a purchase, by programme",
        columns=COLUMNS,
        rows=rows,
        rounds=rounds,
        about=about,
        console=Console(),
        last_of_section=MANY,
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.programme", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="of each round and programme")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mongodb-url", help="instead of an embedded server")
    arguments = parser.parse_args()
    with server(arguments.mongodb_url) as url:
        found = uvloop.run(measure(url, rounds=arguments.rounds, seconds=arguments.seconds))
    report(found, machine() | {"members": str(MEMBERS), "rounds": f"{arguments.rounds} of {arguments.seconds:g} s"})


if __name__ == "__main__":
    main()
