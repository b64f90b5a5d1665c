"""A fortnight of buying, giving back and expiring, and what a report must say of it, counted by hand."""

from collections import Counter
from datetime import date, timedelta
from random import Random
from typing import Any

from domain.ledger.posting import POINTS, is_members
from domain.members.member import Member
from domain.reports.report import Report, report
from notifications.advance import advance
from tests.ledger.shop import Shop

PROGRAMME = """
points: {expiry: {policy: rolling, after: P1M}}
earning:
  - {id: base, event: purchase, award: {points: {per: "1.00", give: 1}}}
  - {id: back, event: purchase, award: {cashback: {percent: "5"}}}
  - {id: trial, event: purchase, pilot: {percent: "50"}, multiply: {points: "2"}}
tiers:
  metric: points_earned
  window: {policy: rolling, length: P12M}
  levels:
    - {id: plain, from: 0, name: {en: Plain}}
    - {id: fine, from: 60, name: {en: Fine}}
"""
PERIODS = [
    (date(2026, 3, 4), date(2026, 3, 20)),
    (date(2026, 3, 1), date(2026, 4, 1)),
    (date(2026, 2, 20), date(2026, 4, 3)),
    (date(2026, 3, 10), date(2026, 4, 1)),
    (date(2026, 1, 1), date(2027, 1, 1)),
]
PERIOD = (date(2026, 3, 4), date(2026, 3, 20))


async def a_fortnight(shop: Shop, seed: int = 1) -> list[Member]:
    """Members who buy, give back and lose points, on days in any order."""
    random = Random(seed)
    members = [await shop.member() for _ in range(12)]
    for _ in range(8):
        await advance(shop.store, shop.clock, shop.ledger, shop.clock.now() + timedelta(days=random.randint(1, 6)))
        for member in random.sample(members, 6):
            late = timedelta(hours=random.choice([0, 0, 30, 200]))
            bought = await shop.buy(member, random.randint(1_00, 40_00), occurred_at=shop.clock.now() - late)
            if random.random() < 0.3:
                await shop.give_back(member, bought, 50)
    return members


async def by_hand(shop: Shop, since: date, until: date) -> dict[str, Any]:
    """The same numbers from the journal, one entry after the other, without anything that counts for reports."""
    zone = shop.programmes.current.zone
    found: Counter[str] = Counter()
    bought: Counter[str] = Counter()
    tiers: dict[str, str] = {}
    async for entry in shop.store.journal.find({"seq": {"$exists": True}}).sort([("member", 1), ("seq", 1)]):
        day = entry["occurred_at"].astimezone(zone).date()
        changes = entry.get("changes", {})
        if (tier := changes.get("tier")) is not None and date.fromisoformat(tier["since_on"]) < until:
            tiers[entry["member"]] = tier["level"]
        if day >= until:
            continue
        found["members"] += entry["kind"] == "JOIN"
        for posting in entry["postings"]:
            gained = is_members(posting["destination"]) - is_members(posting["source"])
            found[f"held {posting['asset']}"] += gained * posting["amount"]
            expired = posting["destination"] == "programme/expired" and posting["asset"] == POINTS
            found["expired"] += posting["amount"] * (expired and day >= since)
        if day >= since:
            found["earned"] += changes.get("lifetime_points", 0)
            if entry["kind"] == "PURCHASE":
                bought[entry["member"]] += 1
                found["ordered"] += entry["purchase"]["total_minor"]
            if entry["kind"] == "RETURN":
                found["returned"] += entry["returned"]["amount_minor"]
    levels = Counter(tiers.values())
    return {
        "members": found["members"],
        "active": len(bought),
        "repeating": sum(count > 1 for count in bought.values()),
        "purchases": bought.total(),
        "ordered": found["ordered"],
        "returned": found["returned"],
        "earned": found["earned"],
        "expired": found["expired"],
        "points": found["held points"],
        "cashback": found["held cashback/EUR"],
        "tiers": {"plain": found["members"] - levels["fine"], "fine": levels["fine"]},
    }


async def buyers(shop: Shop, since: date, until: date, *, place: str) -> Counter[str]:
    """Member → receipts of his of that place in the period, from the journal."""
    zone = shop.programmes.current.zone
    receipts = shop.store.journal.find({"seq": {"$exists": True}, "kind": "PURCHASE", "place": place})
    return Counter(
        [entry["member"] async for entry in receipts if since <= entry["occurred_at"].astimezone(zone).date() < until]
    )


def numbers(found: Report) -> dict[str, Any]:
    buying = found.buying
    return {
        "members": found.members,
        "active": buying.active,
        "repeating": buying.repeating,
        "purchases": buying.purchases,
        "ordered": buying.ordered_minor.get("EUR", 0),
        "returned": found.returned_minor["EUR"],
        "earned": buying.earned,
        "expired": found.expired,
        "points": found.points_outstanding,
        "cashback": found.cashback_outstanding_minor["EUR"],
        "tiers": dict(found.tiers),
    }


async def asked(shop: Shop, since: date = PERIOD[0], until: date = PERIOD[1]) -> Report:
    return await report(shop.store, shop.programmes, since=since, until=until)
