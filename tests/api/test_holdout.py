"""Members who are held out, and variants of a message: by a stable hash, and reported apart (SEMANTICS §10.11)."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from tests.api.post import (
    a_cascade,
    consents,
    delivery_in,
    inbox,
    later,
    publish,
    push,
    report,
    runs,
    said,
    tell,
    the_run,
    with_phone,
)
from tests.api.shop import Shop, a_purchase
from tests.notifications.phones import Phones

CASCADES: Final = """
{ report(from: "2026-07-01", to: "2026-09-01") { cascades {
  cascade started sent opened goals heldOut heldOutGoals uplift variants { template sent opened goals }
} } }
"""


async def a_customer(post: Shop) -> str:
    member = await post.enrol()
    await with_phone(post, member)
    await consents(post, member)
    await tell(post, member, "offer")
    await later(post, seconds=1)
    return member


async def customers(post: Shop, kind_of: Callable[[str], Awaitable[str]]) -> dict[str, list[str]]:
    """Members whom the offer was for, by which of the two kinds chance made them; three of each at least."""
    found: dict[str, list[str]] = {}
    for _ in range(100):
        member = await a_customer(post)
        found.setdefault(await kind_of(member), []).append(member)
        if len(found) == 2 and min(map(len, found.values())) >= 3:
            break
    return found


async def test_the_held_out_run_the_same_machine_get_nothing_and_stay_held_out(post: Shop, phones: Phones) -> None:
    steps = (push("one"), {"wait": "P1D", "until": "reaction"}, push("two", **{"if": "no_reaction"}))
    half: dict[str, Any] = {"holdout_percent": 50, "goal": {"events": ["purchase"]}, "category": "MARKETING"}
    await publish(post, a_cascade("offer", *steps, **half), a_cascade("all", holdout_percent=100))

    async def arm(member: str) -> str:
        arm: str = (await the_run(post, member, "offer"))["arm"]
        return arm

    found = await customers(post, arm)
    held_out, treated = found["HELD_OUT"], found["TREATED"]
    members = [*held_out, *treated]
    await tell(post, treated[0], "all")
    await later(post, days=1, minutes=1)
    first = {member: await the_run(post, member, "offer") for member in members}
    for member in (*treated[:2], held_out[0]):
        await post.record(a_purchase(member))
    await later(post, minutes=1)
    counted = (await post.staff(CASCADES, {}, scopes=("staff:reports",)))["report"]["cascades"][0]

    await publish(post, a_cascade("offer", push("new"), **half, priority=3))
    for member in members:
        await tell(post, member, "offer")
    await later(post, minutes=1)

    for member in held_out:
        assert said(first[member]) == ["held out", "waits", "held out", "done"]
        assert (phones.titles(f"fid-{member}"), await inbox(post, member)) == ([], [])
    for member in treated:
        assert said(first[member]) == ["sent by PUSH", "waits", "sent by PUSH", "done"]
    again = {member: (await runs(post, member, "offer"))[0] for member in members}
    assert {run["definitionVersion"] for run in again.values()} == {3}
    assert {member: run["arm"] for member, run in again.items()} == {m: run["arm"] for m, run in first.items()}
    assert (await the_run(post, treated[0], "all"))["arm"] == "HELD_OUT"
    uplift = float(counted.pop("uplift"))
    assert abs(uplift - (2 / len(treated) - 1 / len(held_out))) < 0.0001
    assert counted == {
        "cascade": "offer",
        "started": len(treated),
        "sent": 2 * len(treated),
        "opened": 0,
        "goals": 2,
        "heldOut": len(held_out),
        "heldOutGoals": 1,
        "variants": [],
    }


async def test_a_variant_is_the_members_for_ever_and_is_reported_apart(post: Shop, phones: Phones) -> None:
    def two(first: int, second: int) -> dict[str, Any]:
        variants = [{"template": "plain", "weight": first}, {"template": "bold", "weight": second}]
        return a_cascade("offer", {"send": "PUSH", "variants": variants}, goal={"events": ["purchase"]})

    await publish(post, two(1, 1))

    async def variant(member: str) -> str:
        return phones.titles(f"fid-{member}")[0]

    found = await customers(post, variant)
    plain, bold = found["plain"], found["bold"]
    members = [*plain, *bold]
    for member in members:
        await tell(post, member, "offer")
    await later(post, minutes=1)
    await report(post, bold[0], delivery_in((await runs(post, bold[0], "offer"))[0]))

    (counted,) = (await post.staff(CASCADES, {}, scopes=("staff:reports",)))["report"]["cascades"]
    await publish(post, two(100, 1))
    for member in members:
        await tell(post, member, "offer")
    await later(post, minutes=1)

    assert [phones.titles(f"fid-{member}")[:2] for member in plain] == [["plain", "plain"]] * len(plain)
    assert [phones.titles(f"fid-{member}")[:2] for member in bold] == [["bold", "bold"]] * len(bold)
    assert counted["variants"] == [
        {"template": "plain", "sent": 2 * len(plain), "opened": 0, "goals": 0},
        {"template": "bold", "sent": 2 * len(bold), "opened": 1, "goals": 0},
    ]
    labels = {entry["message"]["fcm_options"]["analytics_label"] for entry in phones.ledger()}
    assert labels == {"offer.0.plain", "offer.0.bold"}
    assert sum(phones.titles(f"fid-{member}")[-1] == "plain" for member in members) > len(members) / 2
