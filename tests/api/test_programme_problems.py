"""Every kind of mistake in a programme: told with its path and its remedy, all at once, and never published."""

from pathlib import Path
from typing import Any

import pytest

from tests.api.shop import PROGRAMME, Shop, a_purchase
from tests.programme.mistakes import MISTAKES, damaged, with_mistakes
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


async def asked(shop: Shop, query: str, **variables: Any) -> dict[str, Any]:
    (answered,) = (await shop.staff(query, variables, scopes=("staff:programme",))).values()
    found: dict[str, Any] = answered
    return found


async def test_every_kind_of_mistake_is_told_with_path_and_remedy_and_nothing_is_published(shop: Shop) -> None:
    checked = {kind: await asked(shop, CHECK, source=with_mistakes(SOURCE, kind)) for kind in MISTAKES}
    kinds = ("tiers not rising", "no such voucher", "inexact price", "unknown zone", "segment that sees segments")

    refused = await asked(shop, PUBLISH, source=with_mistakes(SOURCE, *kinds), expected=1)

    for kind, (_, _, path, remedy) in MISTAKES.items():
        messages = {each["path"]: each["message"] for each in checked[kind]["problems"] if each["severity"] == "ERROR"}
        assert remedy in messages.get(path, ""), (kind, messages)
        assert checked[kind]["valid"] is False
    assert refused["code"] == "PROGRAMME_INVALID"
    assert {problem["path"] for problem in refused["problems"]} == {MISTAKES[kind].path for kind in kinds}
    assert await shop.services.store.programmes.count_documents({}) == 1


def test_the_command_tells_all_of_them_at_once(server_url: str, tmp_path: Path) -> None:
    kinds = ("tiers not rising", "no such voucher", "inexact price", "unknown zone", "segment that sees segments")
    wallet = WalletCommand(variables={"WALLET_MONGODB_URL": server_url})
    file = tmp_path / "programme.yaml"
    file.write_text(with_mistakes(SOURCE, *kinds), encoding="utf-8")

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
    source = damaged(SOURCE, (old, new))
    if path == "earning.4.valid":
        source = only_base(source)

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
    euros = damaged(SOURCE, ("currency: USD", "currency: EUR"))
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
