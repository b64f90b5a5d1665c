"""A run keeps the version of the programme that it started with (SEMANTICS §10.2)."""

from tests.api.post import a_cascade, inbox, later, publish, push, runs, said, tell, the_run, with_phone
from tests.api.shop import Shop, a_purchase, codes
from tests.notifications.phones import Phones

STATE = "mutation($c: ID!, $s: CascadeState!) { setCascadeState(cascade: $c, state: $s) }"


async def test_what_is_published_during_a_wait_is_for_the_runs_that_start_after_it(post: Shop, phones: Phones) -> None:
    def titled(name: str, title: str) -> dict[str, object]:
        return {name: {"en": {"title": title, "body": title}}}

    wait, quiet = {"wait": "P1D"}, {"quiet_hours": {"from": "03:00", "until": "10:00"}}
    await publish(
        post,
        a_cascade("kept", wait, push("text"), push("dropped"), goal={"events": ["purchase"]}),
        a_cascade("gone", wait, push("gone")),
        templates=titled("text", "Before"),
    )
    member, buyer = await post.enrol(), await post.enrol()
    for each in (member, buyer):
        await with_phone(post, each)
        for activity in ("kept", "gone"):
            await tell(post, each, activity)
    await later(post, hours=1)

    await publish(
        post, a_cascade("kept", push("text"), category="MARKETING"), templates=titled("text", "After"), messaging=quiet
    )
    await tell(post, member, "kept")
    await post.record(a_purchase(buyer))
    await later(post, days=1, hours=6)

    assert sorted(phones.titles(f"fid-{member}")) == ["Before", "dropped", "gone"]
    assert sorted(await inbox(post, member)) == ["Before", "dropped", "gone"]
    new, old = await runs(post, member, "kept")
    assert (new["definitionVersion"], said(new)) == (3, ["not sent: no consent: MARKETING", "done"])
    assert old["definitionVersion"] == 2
    assert said(old) == ["waits", "deferred: quiet hours", "sent by PUSH", "sent by PUSH", "done"]
    assert (await the_run(post, buyer, "kept"))["state"] == "GOAL_REACHED"


async def test_runs_of_a_cascade_that_the_programme_has_no_more_can_still_be_stopped(post: Shop) -> None:
    await publish(post, a_cascade("gone", {"wait": "P1D"}, push("gone")))
    member = await post.enrol()
    await tell(post, member, "gone")
    await later(post, minutes=1)
    await publish(post)

    await post.staff(STATE, {"c": "gone", "s": "STOPPED"}, scopes=("staff:programme",))
    await later(post, days=2)
    unknown = await post.ask(STATE, {"c": "never", "s": "STOPPED"}, token=await post.staff_token("staff:programme"))

    run = await the_run(post, member, "gone")
    assert (run["state"], said(run), await inbox(post, member)) == ("CANCELLED", ["waits", "cancelled: stopped"], [])
    assert codes(unknown) == ["BAD_USER_INPUT"]


async def test_the_global_switch_holds_and_ends_all_and_what_comes_meanwhile_starts_nothing(post: Shop) -> None:
    await publish(
        post, *(a_cascade(name, push(f"{name}-1"), {"wait": "PT1H"}, push(f"{name}-2")) for name in ("a", "b"))
    )
    member = await post.enrol()
    await with_phone(post, member)
    for activity in ("a", "b"):
        await tell(post, member, activity)
    await later(post, minutes=30)

    for state, length in (("PAUSED", {"hours": 5}), ("LIVE", {"minutes": 29})):
        await post.staff(STATE, {"c": "*", "s": state}, scopes=("staff:programme",))
        if state == "PAUSED":
            await tell(post, member, "a")
        await later(post, **length)
    before = sorted(await inbox(post, member))
    await post.staff(STATE, {"c": "b", "s": "STOPPED"}, scopes=("staff:programme",))
    await tell(post, member, "b")
    await later(post, hours=2)
    await post.staff(STATE, {"c": "b", "s": "LIVE"}, scopes=("staff:programme",))
    await tell(post, member, "b")
    await later(post, minutes=1)

    assert before == ["a-1", "b-1"]
    assert sorted(await inbox(post, member)) == ["a-1", "a-2", "b-1", "b-1"]
    assert len(await runs(post, member, "a")) == 1
