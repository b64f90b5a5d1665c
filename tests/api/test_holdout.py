"""Members who are held out, and variants of a message: by a stable hash, and reported apart (SEMANTICS §10.11)."""

from typing import Any, Final

from tests.api.post import (
    a_cascade,
    consents,
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


async def customers(post: Shop, count: int) -> list[str]:
    members = [await post.enrol() for _ in range(count)]
    for member in members:
        await with_phone(post, member)
        await consents(post, member)
    return members


async def test_the_held_out_run_the_same_machine_get_nothing_and_stay_held_out(post: Shop, phones: Phones) -> None:
    steps = (push("one"), {"wait": "P1D", "until": "reaction"}, push("two", **{"if": "no_reaction"}))
    half: dict[str, Any] = {"holdout_percent": 50, "goal": {"events": ["purchase"]}, "category": "MARKETING"}
    await publish(post, a_cascade("offer", *steps, **half), a_cascade("all", holdout_percent=100))
    members = await customers(post, 12)
    for member in members:
        await tell(post, member, "offer")
    await tell(post, members[0], "all")
    await later(post, days=1, minutes=1)
    first = {member: await the_run(post, member, "offer") for member in members}
    held_out = [member for member in members if first[member]["arm"] == "HELD_OUT"]
    treated = [member for member in members if member not in held_out]
    buyers = [*treated[:2], *held_out[:1]]
    for member in buyers:
        await post.record(a_purchase(member))
    await later(post, minutes=1)
    counted = (await post.staff(CASCADES, {}, scopes=("staff:reports",)))["report"]["cascades"][0]

    await publish(post, a_cascade("offer", push("new"), **half, priority=3))
    for member in members:
        await tell(post, member, "offer")
    await later(post, minutes=1)

    assert 2 < len(held_out) < 10
    for member in held_out:
        assert said(first[member]) == ["held out", "waits", "held out", "done"]
        assert (phones.titles(f"fid-{member}"), await inbox(post, member)) == ([], [])
    for member in treated:
        assert said(first[member]) == ["sent by PUSH", "waits", "sent by PUSH", "done"]
    again = {member: (await runs(post, member, "offer"))[0] for member in members}
    assert {run["definitionVersion"] for run in again.values()} == {3}
    assert {member: run["arm"] for member, run in again.items()} == {m: run["arm"] for m, run in first.items()}
    assert (await the_run(post, members[0], "all"))["arm"] == "HELD_OUT"
    assert (counted["started"], counted["heldOut"], counted["sent"]) == (len(treated), len(held_out), 2 * len(treated))


async def test_goals_of_the_held_out_are_compared_with_those_of_the_treated(post: Shop) -> None:
    half: dict[str, Any] = {"holdout_percent": 50, "goal": {"events": ["purchase"]}}
    await publish(post, a_cascade("offer", push("one"), {"wait": "P5D"}, **half))
    members = await customers(post, 10)
    for member in members:
        await tell(post, member, "offer")
    await later(post, minutes=1)
    arms = {member: (await the_run(post, member, "offer"))["arm"] for member in members}
    held_out = [member for member in members if arms[member] == "HELD_OUT"]
    treated = [member for member in members if member not in held_out]
    for member in [*treated[:2], *held_out[:1]]:
        await post.record(a_purchase(member))
    await later(post, minutes=1)

    (counted,) = (await post.staff(CASCADES, {}, scopes=("staff:reports",)))["report"]["cascades"]

    assert (await the_run(post, held_out[0], "offer"))["state"] == "GOAL_REACHED"
    assert {name: counted[name] for name in ("started", "goals", "heldOut", "heldOutGoals", "variants")} == {
        "started": len(treated),
        "goals": 2,
        "heldOut": len(held_out),
        "heldOutGoals": 1,
        "variants": [],
    }
    assert abs(float(counted["uplift"]) - (2 / len(treated) - 1 / len(held_out))) < 0.0001


async def test_a_variant_is_the_members_for_ever_and_is_reported_apart(post: Shop, phones: Phones) -> None:
    def two(first: int, second: int) -> dict[str, Any]:
        variants = [{"template": "plain", "weight": first}, {"template": "bold", "weight": second}]
        return a_cascade("offer", {"send": "PUSH", "variants": variants}, goal={"events": ["purchase"]})

    await publish(post, two(1, 1))
    members = await customers(post, 10)
    for _ in range(2):
        for member in members:
            await tell(post, member, "offer")
        await later(post, minutes=1)
    titles = {member: phones.titles(f"fid-{member}") for member in members}
    bold = [member for member in members if titles[member] == ["bold", "bold"]]
    plain = [member for member in members if titles[member] == ["plain", "plain"]]
    (opened, *_) = [
        event["delivery"] for event in (await runs(post, bold[0], "offer"))[0]["history"] if event["delivery"]
    ]
    await report(post, bold[0], opened)

    (counted,) = (await post.staff(CASCADES, {}, scopes=("staff:reports",)))["report"]["cascades"]
    await publish(post, two(100, 1))
    for member in members:
        await tell(post, member, "offer")
    await later(post, minutes=1)

    assert sorted([*bold, *plain]) == sorted(members)
    assert 1 < len(bold) < 9
    assert counted["variants"] == [
        {"template": "plain", "sent": 2 * len(plain), "opened": 0, "goals": 0},
        {"template": "bold", "sent": 2 * len(bold), "opened": 1, "goals": 0},
    ]
    labels = {entry["message"]["fcm_options"]["analytics_label"] for entry in phones.ledger()}
    assert labels == {"offer.0.plain", "offer.0.bold"}
    assert sum(phones.titles(f"fid-{member}")[-1] == "plain" for member in members) >= 8
