"""Cascades through the API, on the sandbox's clock, to phones behind FCM's stand-in (SEMANTICS §10)."""

from tests.api.post import consents, inbox, runs, with_phone
from tests.api.shop import Shop, a_purchase, data
from tests.notifications.phones import Phones


async def test_joining_starts_a_run_whose_push_is_accepted_and_stands_in_the_inbox(post: Shop, phones: Phones) -> None:
    member = await post.enrol(displayName="Ana", timeZone="Europe/Ljubljana")
    phone = await with_phone(post, member)

    await post.advance("2026-07-06T08:31:00Z")

    (run,) = await runs(post, member, "welcome")
    assert (run["state"], run["arm"], run["dueAt"][:16]) == ("WAITING", "TREATED", "2026-07-09T08:30")
    assert [(event["what"], event["step"]) for event in run["history"]] == [
        ("started", None),
        ("sent by PUSH", 0),
        ("waits", 1),
    ]
    assert phones.titles(phone) == ["Welcome, Ana!"]
    assert await inbox(post, member) == ["Welcome, Ana!"]


async def test_a_goal_ends_the_run_and_takes_the_push_off_the_screen(post: Shop, phones: Phones) -> None:
    member = await post.enrol(displayName="Ana")
    phone = await with_phone(post, member)
    await post.advance("2026-07-06T14:00:00Z")
    assert phones.titles(phone) == ["Welcome, Ana!"]

    await post.record(a_purchase(member))
    await post.advance("2026-07-20T14:00:00Z")

    (run,) = await runs(post, member, "welcome")
    assert (run["state"], run["history"][-1]["what"], run["history"][-1]["reason"]) == (
        "GOAL_REACHED",
        "goal reached",
        "purchase",
    )
    assert "Welcome, Ana!" not in phones.titles(phone)
    assert "Your first visit" not in await inbox(post, member)


REPORT = """
mutation($delivery: ID!, $event: DeliveryEvent!, $at: DateTime!) {
  reportDelivery(delivery: $delivery, event: $event, at: $at) { delivery late }
}
"""


async def test_a_reaction_skips_what_was_for_the_silent(post: Shop, phones: Phones) -> None:
    member = await post.enrol(displayName="Ana", timeZone="Europe/Ljubljana")
    await with_phone(post, member)
    await post.advance("2026-07-06T14:00:00Z")
    (run,) = await runs(post, member, "welcome")
    delivery = run["history"][1]["delivery"]
    told = {"delivery": delivery, "event": "OPENED", "at": "2026-07-06T14:00:00Z"}

    first = (await post.phone(member, REPORT, told))["reportDelivery"]
    await post.advance("2026-07-06T14:01:00Z")
    second = (await post.phone(member, REPORT, told))["reportDelivery"]
    await post.advance("2026-07-20T14:00:00Z")

    (run,) = await runs(post, member, "welcome")
    assert (first["late"], second["late"]) == (False, True)
    assert run["state"] == "DONE"
    assert [event["what"] for event in run["history"]] == [
        *("started", "sent by PUSH", "waits", "reaction"),
        *("not sent", "not sent", "done"),
    ]
    assert await inbox(post, member) == ["Welcome, Ana!"]


async def test_another_members_delivery_cannot_be_reported(post: Shop) -> None:
    member, other = await post.enrol(displayName="Ana", timeZone="Europe/Ljubljana"), await post.enrol()
    await with_phone(post, member)
    await post.advance("2026-07-06T14:00:00Z")
    (run,) = await runs(post, member, "welcome")
    told = {"delivery": run["history"][1]["delivery"], "event": "OPENED", "at": "2026-07-06T14:00:00Z"}

    refused = await post.ask(REPORT, told, token=await post.member_token(other))
    await post.advance("2026-07-06T14:01:00Z")

    assert refused["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"
    (run,) = await runs(post, member, "welcome")
    assert "reaction" not in [event["what"] for event in run["history"]]


async def test_a_marketing_push_waits_for_the_morning_and_needs_consent(post: Shop, phones: Phones) -> None:
    members = [await post.enrol(displayName=name) for name in ("Ana", "Boris", "Cene", "Dana", "Eva", "Franc")]
    for member in members:
        await with_phone(post, member)
        await post.record(a_purchase(member))
    for member in members[1:]:
        await consents(post, member)

    await post.advance("2026-07-27T11:59:00Z")
    quiet = [await runs(post, member, "win-back") for member in members]
    await post.advance("2026-07-27T12:10:00Z")

    assert [run["history"][-1]["reason"] for (run,) in quiet if run["arm"] == "TREATED"][1:] == ["quiet hours"] * (
        sum(run["arm"] == "TREATED" for (run,) in quiet) - 1
    )
    for number, member in enumerate(members):
        (run,) = await runs(post, member, "win-back")
        got = [title for title in await inbox(post, member) if title.startswith("We miss you")]
        if number == 0:
            assert "no consent: MARKETING" in [event["reason"] for event in run["history"]]
        assert bool(got) == (number > 0 and run["arm"] == "TREATED")


STATE = "mutation($cascade: ID!, $state: CascadeState!) { setCascadeState(cascade: $cascade, state: $state) }"


async def test_a_pause_holds_the_clocks_and_waits_go_on_with_the_time_that_was_left(post: Shop) -> None:
    member = await post.enrol(displayName="Ana", timeZone="Europe/Ljubljana")
    await with_phone(post, member)
    await post.advance("2026-07-07T08:30:00Z")

    await post.staff(STATE, {"cascade": "welcome", "state": "PAUSED"}, scopes=("staff:programme",))
    await post.advance("2026-07-17T08:30:00Z")
    held = await inbox(post, member)
    await post.staff(STATE, {"cascade": "welcome", "state": "LIVE"}, scopes=("staff:programme",))
    await post.advance("2026-07-19T08:29:00Z")
    before = await inbox(post, member)
    await post.advance("2026-07-19T14:00:00Z")

    assert held == before == ["Welcome, Ana!"]
    assert await inbox(post, member) == ["Your first visit", "Welcome, Ana!"]


async def test_stopping_all_ends_every_run(post: Shop) -> None:
    member = await post.enrol(displayName="Ana")
    await post.advance("2026-07-06T14:00:00Z")

    await post.staff(STATE, {"cascade": "*", "state": "STOPPED"}, scopes=("staff:programme",))
    await post.advance("2026-08-06T14:00:00Z")

    (run,) = await runs(post, member, "welcome")
    assert (run["state"], run["dueAt"], run["history"][-1]["reason"]) == ("CANCELLED", None, "stopped")


async def test_only_staff_sees_runs_and_switches_cascades(post: Shop) -> None:
    member = await post.enrol()
    await post.advance("2026-07-06T14:00:00Z")
    (run,) = await runs(post, member, "welcome")
    node = "query($id: ID!) { node(id: $id) { __typename id } }"

    seen = await post.staff(node, {"id": run["id"]}, scopes=("staff:members",))
    own = await post.phone(member, node, {"id": run["id"]})
    refused = await post.ask(STATE, {"cascade": "welcome", "state": "STOPPED"}, token=await post.member_token(member))
    unknown = await post.ask(
        STATE, {"cascade": "none", "state": "STOPPED"}, token=await post.staff_token("staff:programme")
    )

    assert seen == {"node": {"__typename": "CascadeRun", "id": run["id"]}}
    assert own == {"node": None}
    assert refused["errors"][0]["extensions"]["code"] == "FORBIDDEN"
    assert unknown["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"
    assert data(await post.ask("{ programme { version } }"))["programme"]["version"] == 1


CASCADES = """
{ report(from: "2026-07-01", to: "2026-09-01") { cascades {
  cascade started sent opened goals heldOut heldOutGoals uplift variants { template }
} } }
"""


async def test_a_report_tells_what_a_cascade_came_to_and_the_held_out_apart(post: Shop) -> None:
    members = [await post.enrol(displayName=f"M{number}") for number in range(12)]
    for member in members:
        await with_phone(post, member)
        await post.record(a_purchase(member))
        await consents(post, member)
    await post.advance("2026-07-27T14:00:00Z")
    found = {member: (await runs(post, member, "win-back"))[0] for member in members}
    treated = [member for member in members if found[member]["arm"] == "TREATED"]
    opened = next(event["delivery"] for event in found[treated[0]]["history"] if event["delivery"])
    told = {"delivery": opened, "event": "OPENED", "at": "2026-07-27T14:00:00Z"}
    await post.phone(treated[0], REPORT, told)
    for member in treated[:3]:
        await post.record(a_purchase(member))
    await post.advance("2026-07-27T15:00:00Z")

    report = (await post.staff(CASCADES, {}, scopes=("staff:reports",)))["report"]["cascades"]

    (win_back,) = [each for each in report if each["cascade"] == "win-back"]
    held_out = len(members) - len(treated)
    uplift = f"{round(3 / len(treated), 4):.4f}" if held_out else None
    assert win_back == {
        "cascade": "win-back",
        "started": len(treated),
        "sent": len(treated),
        "opened": 1,
        "goals": 3,
        "heldOut": held_out,
        "heldOutGoals": 0,
        "uplift": uplift,
        "variants": [],
    }
    assert [each["cascade"] for each in report][:2] == ["welcome", "points-expiring"]
