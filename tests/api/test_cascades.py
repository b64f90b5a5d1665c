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
