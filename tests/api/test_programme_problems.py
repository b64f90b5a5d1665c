"""Every kind of mistake in a programme: told with its path and its remedy, all at once, and never published."""

from pathlib import Path
from typing import Any, Final

import pytest

from tests.api.shop import PROGRAMME, Shop, a_purchase
from tests.wallet_command import WalletCommand

CHECK = "mutation($source: String!) { checkProgramme(source: $source) { valid problems { path message severity } } }"
PUBLISH = """
mutation($source: String!, $expected: Int!) {
  publishProgramme(source: $source, expectedVersion: $expected) {
    __typename
    ... on ProgrammePublished { programme { version } warnings { path message severity } }
    ... on ProgrammeInvalid { code problems { path message severity } }
  }
}
"""
SOURCE = PROGRAMME.read_text(encoding="utf-8")

ERRORS: Final[dict[str, tuple[str, str, str, str]]] = {
    "unknown key": ("late_days: 400", "late_day: 400", "late_day", "Did you mean `late_days`?"),
    "unknown key inside": ("{id: share, event", "{id: share, evnt", "earning.10.evnt", "Did you mean `event`?"),
    "CEL that is none": ("purchase.hour >= 18 &&", "purchase.hour => 18 &&", "earning.7.when", "Not CEL: line 1"),
    "unknown fact": ("purchase.total_minor >=", "purchase.totl >=", "earning.6.when", "known are purchase.total_minor"),
    "fact of another event": ("purchase.total_minor >=", "line.quantity >=", "earning.6.when", "for this event"),
    "unknown function": (
        'member.tier == "vip"',
        'member.tier.reverse() == "piv"',
        "earning.3.when",
        "`reverse` is not a known function; known are",
    ),
    "not boolean": ("purchase.total_minor >= 10000", "purchase.total_minor", "earning.6.when", "compare it"),
    "loop in a loop": (
        'member.tags.exists(t, t == "bakery")',
        "member.tags.exists(t, member.tags.exists(u, u == t))",
        "segments.2.when",
        "takes too long",
    ),
    "tiers not rising": ("from: 1500,", "from: 500,", "tiers.levels.2.from", "above the level before"),
    "badge levels not rising": ("[5, 25, 100]", "[5, 100, 25]", "badges.0.levels.2", "above the one before"),
    "milestones not rising": ("{at: 13, award", "{at: 4, award", "streaks.0.milestones.1.at", "above the one before"),
    "bonus steps not rising": (
        "{after: P60D, worth",
        "{after: P30D, worth",
        "bonuses.0.grows.1.after",
        "above the one before",
    ),
    "bonus worth not rising": ('worth: "12.00"', 'worth: "10.00"', "bonuses.0.grows.0.worth", "worth more"),
    "no such place": ("[store-330, store-424]", "[store-331]", "earning.7.pilot.places.0", "known there are store-3"),
    "no such region": (
        "pilot: {places: [store-330, store-424]}",
        "pilot: {regions: [east]}",
        "earning.7.pilot.regions.0",
        "known there are north, south",
    ),
    "no such tier": ("tier: gold, if", "tier: golden, if", "rewards.3.tier", "known there are bronze, gold"),
    "no such tier in CEL": ('== "gold"', '== "golden"', "earning.2.when", "There is no golden in tiers"),
    "no such segment in CEL": (
        "purchase.total_minor >= 10000",
        '"bakerz" in member.segments',
        "earning.6.when",
        "There is no bakerz in segments; known there are bakers, lapsed, newcomers",
    ),
    "no such plan in CEL": (
        "purchase.total_minor >= 10000",
        'member.plan == "pluss"',
        "earning.6.when",
        "There is no pluss in plans; known there are plus",
    ),
    "no such place in CEL": (
        "purchase.total_minor >= 10000",
        'purchase.place == "store-1"',
        "earning.6.when",
        "There is no store-1 in places",
    ),
    "no such voucher": ("voucher: next-20}", "voucher: next-2}", "earning.6.award.voucher", "known there are five-off"),
    "no such voucher of a card": (
        "free-pastry}, name",
        "free}, name",
        "stamp_cards.0.award.voucher",
        "There is no free",
    ),
    "no such voucher of a streak": (
        "award: {voucher: free-coffee}}]",
        "award: {voucher: coffee}}]",
        "streaks.0.milestones.1.award.voucher",
        "There is no coffee in vouchers",
    ),
    "no such voucher of a reward": (
        "voucher: tasting, stock",
        "voucher: taste, stock",
        "rewards.3.voucher",
        "no taste",
    ),
    "no such bonus": ("bonus: growing-ten}", "bonus: ten}", "earning.8.award.bonus", "known there are growing-ten"),
    "no such streak": (
        "streak.weekly, levels",
        "streak.monthly, levels",
        "badges.3.counts",
        "known there are daily, wee",
    ),
    "no such event": ("event: feedback", "event: feedbak", "earning.14.event", "known are purchase"),
    "inexact amount": (
        '{amount: "5.00"}}',
        '{amount: "5.001"}}',
        "earning.16.award.cashback.amount",
        "2 dec",
    ),
    "inexact price": ('price: "4.99"', 'price: "4.999"', "plans.0.price", "USD has 2 decimals"),
    "amount that is no text": ('price: "4.99"', "price: 4.99", "plans.0.price", "in quotes"),
    "unknown currency": ("currency: USD", "currency: USX", "currency", "ISO 4217"),
    "unknown zone": ("America/New_York", "America/York", "time_zone", "such as Europe/Ljubljana"),
    "unknown zone of a place": (
        "radius_m: 250, region: south",
        "radius_m: 250, region: south, time_zone: Mars/Base",
        "places.3.time_zone",
        "such as Europe/Ljubljana",
    ),
    "unknown locale": ("ru, kk]", "ru, kk, xq]", "locales.supported.6", "such as sl or pt-BR"),
    "default that is not supported": ("{default: en,", "{default: de,", "locales.default", "add it there"),
    "fallback that is not supported": ("{kk: [ru, en],", "{kk: [uz, en],", "locales.fallback.kk", "add it there"),
    "fallback to itself": ("ru: [en]}", "ru: [kk]}", "locales.fallback.kk", "falls back to itself"),
    "text in a locale that is not supported": ("sl: Klub Vogal", "de: Klub", "name.de", "add it to locales.supported"),
    "no text in the default locale": ("name: {en: VIP}", "name: {sl: VIP}", "tiers.levels.3.name", "add `en: …`"),
    "id that is taken": (
        "{id: delivery, kind",
        "{id: five, kind",
        "rewards.2.id",
        "taken by rewards.1; choose another",
    ),
    "level that is taken": ("{id: vip, from", "{id: gold, from", "tiers.levels.3.id", "taken by tiers.levels.2"),
    "window that is never open": ("until: 2017-09-01", "until: 2017-05-01", "earning.7.valid", "Ends before it starts"),
    "challenge that never runs": ("until: 2017-07-01", "until: 2017-06-01", "challenges.0.until", "Ends before"),
    "limit of what is not given": (
        "award: {voucher: next-20}, limit: {count: 1",
        "award: {voucher: next-20}, limit: {points: 1",
        "earning.6",
        "Limits points but gives none",
    ),
    "segment that sees segments": (
        "'member.days_since_joined < 30'",
        "'\"bakers\" in member.segments'",
        "segments.0.when",
        "write the other's condition",
    ),
}


def damaged(*changes: tuple[str, str]) -> str:
    source = SOURCE
    for old, new in changes:
        assert source.count(old) == 1, old
        source = source.replace(old, new)
    return source


async def asked(shop: Shop, query: str, **variables: Any) -> dict[str, Any]:
    (answered,) = (await shop.staff(query, variables, scopes=("staff:programme",))).values()
    found: dict[str, Any] = answered
    return found


async def test_every_kind_of_mistake_is_told_with_path_and_remedy_and_nothing_is_published(shop: Shop) -> None:
    checked: dict[str, dict[str, Any]] = {}
    codes: dict[str, str] = {}

    for kind, (old, new, _path, _remedy) in ERRORS.items():
        source = damaged((old, new))
        checked[kind] = await asked(shop, CHECK, source=source)
        codes[kind] = (await asked(shop, PUBLISH, source=source, expected=1)).get("code", "published")

    for kind, (_, _, path, remedy) in ERRORS.items():
        messages = {each["path"]: each["message"] for each in checked[kind]["problems"] if each["severity"] == "ERROR"}
        assert path in messages, (kind, messages)
        assert remedy in messages[path], (kind, messages[path])
        assert checked[kind]["valid"] is False
    assert codes == dict.fromkeys(ERRORS, "PROGRAMME_INVALID")
    assert await shop.services.store.programmes.count_documents({}) == 1


def test_the_command_tells_all_of_them_at_once(server_url: str, tmp_path: Path) -> None:
    kinds = ("tiers not rising", "no such voucher", "inexact price", "unknown zone", "segment that sees segments")
    wallet = WalletCommand(variables={"WALLET_MONGODB_URL": server_url})
    file = tmp_path / "programme.yaml"
    file.write_text(damaged(*(ERRORS[kind][:2] for kind in kinds)), encoding="utf-8")

    done = wallet.run("check", str(file))

    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert [line.split(": ")[1] for line in lines] == [
        "time_zone",
        "earning.6.award.voucher",
        "tiers.levels.2.from",
        "plans.0.price",
        "segments.0.when",
    ]
    assert all(line.startswith("error: ") for line in lines)


@pytest.mark.parametrize(
    ("old", "new", "path", "message"),
    [
        ("{id: tier-vip, event: purchase", "{id: tier-vip, event: activity.run", "earning.3", "Multiplies nothing"),
        ('member.tier == "vip"', "1 == 2", "earning.3.when", "Reads no fact, so it is always the same"),
        (
            "{id: base, event: purchase,",
            "{id: base, event: purchase, valid: {from: 2018-01-01},",
            "earning.4.valid",
            "on these days no rule gives an award",
        ),
    ],
)
async def test_a_rule_that_can_never_do_anything_is_a_warning(
    shop: Shop, old: str, new: str, path: str, message: str
) -> None:
    source = damaged((old, new)) if path != "earning.4.valid" else only_base(damaged((old, new)))

    checked = await asked(shop, CHECK, source=source)

    assert checked["valid"] is True
    (problem,) = [each for each in checked["problems"] if each["path"] == path]
    assert problem["severity"] == "WARNING"
    assert message in problem["message"]


def only_base(source: str) -> str:
    """Without the other award rules of purchases."""
    awards = ("  - {id: pastry-cashback", "  - {id: produce-double", "  - {id: big-basket")
    return "\n".join(line for line in source.splitlines() if not line.startswith(awards)) + "\n"


async def test_another_currency_over_the_wallets_that_there_are_is_refused(shop: Shop) -> None:
    euros = damaged(("currency: USD", "currency: EUR"))
    before = await asked(shop, CHECK, source=euros)
    await shop.enrol()

    refused = await asked(shop, PUBLISH, source=euros, expected=1)

    assert before["valid"] is True
    assert refused["code"] == "PROGRAMME_INVALID"
    assert [problem["path"] for problem in refused["problems"]] == ["currency"]
    assert "Members hold value in USD" in refused["problems"][0]["message"]
    assert await shop.services.store.programmes.count_documents({}) == 1


async def test_what_members_may_miss_is_a_warning_that_says_what_becomes_of_it(shop: Shop) -> None:
    member = await shop.enrol()
    await shop.record(a_purchase(member, "600.00"))
    without = "\n".join(
        line
        for line in SOURCE.splitlines()
        if not line.startswith(("    - {id: silver", "  - {id: tier-silver", "  - {id: five,", "  - {id: gourmet"))
    )

    published = await asked(shop, PUBLISH, source=without, expected=1)
    tier = (await shop.phone(member, "{ me { tier { tier { id } } } }"))["me"]["tier"]["tier"]["id"]

    assert published["programme"] == {"version": 2}
    warned = {(warning["path"], warning["message"].partition(" ")[0]) for warning in published["warnings"]}
    assert warned == {("badges", "gourmet"), ("rewards", "five"), ("tiers.levels", "silver")}
    assert {warning["severity"] for warning in published["warnings"]} == {"WARNING"}
    assert tier == "bronze"
