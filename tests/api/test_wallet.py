"""The wallet on a phone's screen: balances as they are at the instant, pages, texts, and what it costs to read."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest
from pymongo import monitoring
from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent

from api.edge.app import build_app
from api.pages import cursor
from api.schema import build_schema
from api.titles import TITLES
from domain.ledger.entry import EntryKind
from domain.programme.words import WORDS
from domain.store.connection import open_store
from tests.api.shop import Shop, a_purchase, codes, new_key

HOME = """
{
  me {
    id
    profile { displayName locale timeZone }
    tier { tier { id name benefits } metric next { id } toNext validUntil }
    badges { badge { name } level count nextLevelAt awardedAt }
    stampCards { name stamps size completed expiresAt }
    challenges { name progress target completedAt endsAt }
    wallet {
      version
      points { available pending held owed lifetimeEarned expiring { amount at } }
      prepaid { available { amount currency } held { amount } autoTopUp { enabled } }
      cashback {
        available { amount currency } pending { amount } owed { amount } expiring { amount { amount } at }
      }
      bonuses { definition worthNow { amount } grows { at worth { amount } } expiresAt }
      holds { id }
      activity(first: 10) {
        pageInfo { hasNextPage hasPreviousPage endCursor }
        edges { cursor node { id } }
        nodes {
          id sequence kind title points receipt hash reverses
          place { id name }
          money { pocket amount { amount } }
          postings { source destination asset amount }
          explanation { rule text points cashback { amount } }
          awards { tier badges { badge } stamps { card } challenges vouchers { code } }
          balanceAfter { points prepaid { amount } cashback { amount } }
        }
      }
    }
  }
}
"""
PAGE = """
query($first: Int!, $after: String, $kinds: [EntryKind!]) {
  me { wallet { activity(first: $first, after: $after, kinds: $kinds) {
    nodes { sequence kind }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
  } } }
}
"""
NEWEST = "{ me { wallet { activity(first: 1) { nodes { title explanation { rule text } } } } } }"


class Commands(CommandListener):
    """The commands that were sent, each with its collection; without what settles a caller's cost each second."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, Any]] = []

    def started(self, event: CommandStartedEvent) -> None:
        if (collection := event.command.get(event.command_name)) != "buckets":
            self.sent.append((event.command_name, collection))

    def succeeded(self, event: CommandSucceededEvent) -> None:
        pass

    def failed(self, event: CommandFailedEvent) -> None:
        pass


@dataclass(frozen=True, kw_only=True)
class Overheard(Shop):
    """A shop over a connection whose commands are noted."""

    commands: Commands


@pytest.fixture
async def overheard(shop: Shop) -> AsyncIterator[Overheard]:
    commands = Commands()
    monitoring.register(commands)
    store = await open_store(shop.services.settings)
    services = replace(shop.services, store=store)
    app = build_app(services, build_schema(sandbox=True))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://localhost:8000") as http:
        yield Overheard(
            app=app,
            services=services,
            http=http,
            clock=shop.clock,
            till_id=shop.till_id,
            other_till_id=shop.other_till_id,
            commands=commands,
        )
    await store.close()


async def test_a_home_screen_costs_two_round_trips(shop: Shop, overheard: Overheard) -> None:
    member = await shop.enrol(displayName="Ana")
    for _ in range(12):
        await shop.record(a_purchase(member, place="store-330"))

    overheard.commands.sent.clear()
    home = await overheard.phone(member, HOME)

    assert overheard.commands.sent == [("aggregate", "members"), ("find", "journal")]
    assert len(home["me"]["wallet"]["activity"]["nodes"]) == 10


async def test_a_wallet_that_is_behind_its_journal_is_read_as_the_journal_has_it(
    shop: Shop, overheard: Overheard
) -> None:
    member = await shop.enrol()
    await shop.record(a_purchase(member, "30.00"))
    behind = await shop.services.store.wallets.find_one({"_id": member})
    await shop.record(a_purchase(member, "20.00"))
    await shop.services.store.wallets.replace_one({"_id": member}, behind or {})

    overheard.commands.sent.clear()
    home = await overheard.phone(member, HOME)

    assert home["me"]["wallet"]["version"] == 3
    assert home["me"]["wallet"]["points"]["available"] == 150
    assert len(overheard.commands.sent) == 2


async def test_a_new_wallet_has_a_row_of_zero_for_the_programmes_money(shop: Shop) -> None:
    member = await shop.enrol()

    wallet = (await shop.phone(member, HOME))["me"]["wallet"]

    assert wallet["version"] == 1
    assert wallet["points"] == {
        "available": 100,
        "pending": 0,
        "held": 0,
        "owed": 0,
        "lifetimeEarned": 100,
        "expiring": [{"amount": 100, "at": "2027-08-01T04:00:00Z"}],
    }
    zero = {"amount": "0.00", "currency": "USD"}
    assert wallet["prepaid"] == [{"available": zero, "held": {"amount": "0.00"}, "autoTopUp": None}]
    assert wallet["cashback"] == [
        {"available": zero, "pending": {"amount": "0.00"}, "owed": {"amount": "0.00"}, "expiring": []}
    ]
    assert wallet["bonuses"] == [
        {
            "definition": "growing-ten",
            "worthNow": {"amount": "10.00"},
            "grows": [
                {"at": "2026-08-05T04:00:00Z", "worth": {"amount": "12.00"}},
                {"at": "2026-09-04T04:00:00Z", "worth": {"amount": "15.00"}},
            ],
            "expiresAt": "2026-10-05T04:00:00Z",
        }
    ]
    assert wallet["holds"] == []


async def test_what_expired_is_gone_before_anybody_posted_it(shop: Shop) -> None:
    member = await shop.enrol()
    await shop.clock.move_to(shop.clock.now().replace(year=2027, month=8, day=1, hour=3, minute=59))
    query = "{ me { wallet { version points { available expiring { amount } } } } }"
    before = await shop.phone(member, query)

    await shop.clock.move_to(shop.clock.now().replace(hour=4, minute=0))
    after = await shop.phone(member, query)

    assert before["me"]["wallet"] == {"version": 1, "points": {"available": 100, "expiring": [{"amount": 100}]}}
    assert after["me"]["wallet"] == {"version": 1, "points": {"available": 0, "expiring": []}}


async def test_cashback_is_pending_first_and_then_available(shop: Shop) -> None:
    member = await shop.enrol()
    lines = [{"sku": "1", "category": "PASTRY", "amount": "20.00"}]
    await shop.record(a_purchase(member, "20.00", lines=lines))
    query = (
        "{ me { wallet { cashback { available { amount } pending { amount } expiring { amount { amount } at } } } } }"
    )
    fresh = await shop.phone(member, query)

    await shop.clock.move_to(shop.clock.now().replace(day=20, hour=4))
    matured = await shop.phone(member, query)

    assert fresh["me"]["wallet"]["cashback"] == [
        {"available": {"amount": "0.00"}, "pending": {"amount": "1.00"}, "expiring": []}
    ]
    (cashback,) = matured["me"]["wallet"]["cashback"]
    assert (cashback["available"], cashback["pending"]) == ({"amount": "1.00"}, {"amount": "0.00"})


async def test_the_pages_of_the_activity_follow_each_other_and_end(shop: Shop) -> None:
    member = await shop.enrol()
    for _ in range(4):
        await shop.record(a_purchase(member))
    pages: list[dict[str, Any]] = []
    after: str | None = None
    while not pages or pages[-1]["pageInfo"]["hasNextPage"]:
        asked = await shop.phone(member, PAGE, {"first": 2, "after": after})
        pages.append(asked["me"]["wallet"]["activity"])
        after = pages[-1]["pageInfo"]["endCursor"]

    assert [[node["sequence"] for node in page["nodes"]] for page in pages] == [[5, 4], [3, 2], [1]]
    assert [page["pageInfo"]["hasPreviousPage"] for page in pages] == [False, True, True]


async def test_a_page_does_not_move_when_something_new_comes_in(shop: Shop) -> None:
    member = await shop.enrol()
    await shop.record(a_purchase(member))
    first = (await shop.phone(member, PAGE, {"first": 1}))["me"]["wallet"]["activity"]
    await shop.record(a_purchase(member))

    second = await shop.phone(member, PAGE, {"first": 1, "after": first["pageInfo"]["endCursor"]})

    assert [node["sequence"] for node in second["me"]["wallet"]["activity"]["nodes"]] == [1]


async def test_the_activity_can_be_of_some_kinds_only(shop: Shop) -> None:
    member = await shop.enrol()
    await shop.record(a_purchase(member))

    joined = await shop.phone(member, PAGE, {"first": 5, "kinds": ["JOIN", "EXPIRE"]})

    assert joined["me"]["wallet"]["activity"]["nodes"] == [{"sequence": 1, "kind": "JOIN"}]
    assert joined["me"]["wallet"]["activity"]["pageInfo"]["hasNextPage"] is False


@pytest.mark.parametrize(
    "variables",
    [
        {"first": 0},
        {"first": 101},
        {"first": 5, "after": "nothing"},
        {"first": 5, "after": cursor("activity", (2**63,))},
    ],
)
async def test_a_page_that_cannot_be_is_refused(shop: Shop, variables: dict[str, Any]) -> None:
    member = await shop.enrol()

    refused = await shop.ask(PAGE, variables, token=await shop.member_token(member))

    assert codes(refused) == ["BAD_USER_INPUT"]


@pytest.mark.parametrize(
    ("locale", "title", "text"),
    [
        ("en", "Purchase at Corner Main Street", "1 point for every dollar"),
        ("sl", "Nakup: Corner Main Street", "1 point for every dollar"),
        ("ro", "Cumpărătură: Corner Main Street", "1 point for every dollar"),
        ("et", "Ost: Corner Main Street", "1 point for every dollar"),
        ("ru-KZ", "Покупка: Corner Main Street", "1 point for every dollar"),
        ("kk", "Сатып алу: Corner Main Street", "1 point for every dollar"),
        ("de", "Purchase at Corner Main Street", "1 point for every dollar"),
    ],
)
async def test_an_entry_speaks_the_members_language(shop: Shop, locale: str, title: str, text: str) -> None:
    member = await shop.enrol(locale=locale)
    await shop.record(a_purchase(member, place="store-330"))

    read = await shop.phone(member, NEWEST)

    (entry,) = read["me"]["wallet"]["activity"]["nodes"]
    assert entry == {"title": title, "explanation": [{"rule": "base", "text": text}]}


async def test_who_named_no_language_is_read_to_in_that_of_the_phone(shop: Shop) -> None:
    member = await shop.enrol()
    await shop.record(a_purchase(member))

    read = await shop.phone(member, NEWEST, language="sl, en;q=0.5")

    assert read["me"]["wallet"]["activity"]["nodes"][0]["title"] == "Nakup"


async def test_an_entry_says_all_of_itself(shop: Shop) -> None:
    member = await shop.enrol()
    lines = [{"sku": "1", "category": "PASTRY", "amount": "20.00"}]
    await shop.record(a_purchase(member, "20.00", lines=lines, place="store-330", receipt="R-all"))

    home = await shop.phone(member, HOME)

    entry = home["me"]["wallet"]["activity"]["nodes"][0]
    assert re.fullmatch(r"[0-9a-f]{64}", entry.pop("hash"))
    assert entry == {
        "id": f"{member}.2",
        "sequence": 2,
        "kind": "PURCHASE",
        "title": "Purchase at Corner Main Street",
        "points": 20,
        "receipt": "R-all",
        "reverses": None,
        "place": {"id": "store-330", "name": "Corner Main Street"},
        "money": [{"pocket": "CASHBACK", "amount": {"amount": "1.00"}}],
        "postings": [
            {"source": "programme/points", "destination": "member/available", "asset": "points", "amount": 20},
            {"source": "programme/cashback", "destination": "member/pending", "asset": "cashback/USD", "amount": 100},
        ],
        "explanation": [
            {"rule": "base", "text": "1 point for every dollar", "points": 20, "cashback": None},
            {"rule": "pastry-cashback", "text": "5 % cashback on pastry", "points": 0, "cashback": {"amount": "1.00"}},
        ],
        "awards": {"tier": None, "badges": [], "stamps": [{"card": "bread"}], "challenges": [], "vouchers": []},
        "balanceAfter": {"points": 120, "prepaid": [{"amount": "0.00"}], "cashback": [{"amount": "0.00"}]},
    }


async def test_one_entry_is_found_in_its_own_wallet_only(shop: Shop) -> None:
    member, other = await shop.enrol(), await shop.enrol()
    query = "query($id: ID!) { me { wallet { entry(id: $id) { sequence } } } }"

    own = await shop.phone(member, query, {"id": f"{member}.1"})
    unknown = await shop.phone(member, query, {"id": f"{member}.9"})
    foreign = await shop.phone(member, query, {"id": f"{other}.1"})
    garbage = await shop.phone(member, query, {"id": "garbage"})

    assert own["me"]["wallet"]["entry"] == {"sequence": 1}
    assert [each["me"]["wallet"]["entry"] for each in (unknown, foreign, garbage)] == [None, None, None]


async def test_a_purchase_that_lifts_the_member_awards_the_tier_and_shows_the_way_on(shop: Shop) -> None:
    member = await shop.enrol()

    lifted = await shop.record(a_purchase(member, "600.00"))
    home = (await shop.phone(member, HOME))["me"]

    assert lifted["entry"]["points"] == 600
    assert home["wallet"]["activity"]["nodes"][0]["awards"]["tier"] == "silver"
    assert home["tier"] == {
        "tier": {"id": "silver", "name": "Silver", "benefits": ["Points × 1.25"]},
        "metric": 600,
        "next": {"id": "gold"},
        "toNext": 900,
        "validUntil": "2027-08-01T04:00:00Z",
    }


async def test_a_tier_whose_review_is_due_is_shown_as_reviewed(shop: Shop) -> None:
    member = await shop.enrol()
    await shop.record(a_purchase(member, "600.00"))

    await shop.clock.move_to(shop.clock.now().replace(year=2027, month=8, day=1, hour=4))
    home = (await shop.phone(member, HOME))["me"]

    assert home["tier"]["tier"]["id"] == "bronze"
    assert home["wallet"]["version"] == 2


async def test_pockets_that_were_filled_are_shown_apart(shop: Shop) -> None:
    member = await shop.enrol()
    for pocket, amount in (("PREPAID", "7.50"), ("CASHBACK", "2.00")):
        await shop.adjust(
            {
                "member": member,
                "money": {"amount": amount, "currency": "USD"},
                "pocket": pocket,
                "reason": "A till was down.",
                "idempotencyKey": new_key(),
            }
        )

    wallet = (await shop.phone(member, HOME))["me"]["wallet"]

    assert [row["available"]["amount"] for row in wallet["prepaid"]] == ["7.50"]
    assert [row["available"]["amount"] for row in wallet["cashback"]] == ["2.00"]
    assert wallet["activity"]["nodes"][1]["balanceAfter"]["prepaid"] == [{"amount": "7.50"}]


def test_every_kind_of_entry_has_a_title_in_every_language() -> None:
    wanted = {*(kind.value for kind in EntryKind), "PURCHASE {place}", "RETURN {place}", "return", "adjustment"}

    assert {language: wanted - words.keys() for language, words in TITLES.items()} == {
        language: set() for language in WORDS
    }
