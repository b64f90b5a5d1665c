"""Cascades that start where a member is: by enter, dwell and exit, and while he consents (SEMANTICS §10.14)."""

import json
from typing import Any, Final

import pytest

from tests.api.post import a_cascade, consents, inbox, later, publish, push, runs, said, tell, the_run, with_phone
from tests.api.shop import Shop, a_purchase, codes

PLACES: Final = [
    {"id": "main", "name": "Main Street", "location": {"latitude": 40.7411, "longitude": -73.9897}, "radius_m": 150},
    {"id": "park", "name": "Park", "location": {"latitude": 40.6602, "longitude": -73.9690}, "radius_m": 250},
]
REPORT: Final = "mutation($input: TransitionInput!) { reportTransition(input: $input) { ignored } }"


async def crosses(post: Shop, member: str, transition: str, place: str = "main") -> str | None:
    told = {"place": place, "transition": transition, "occurredAt": post.clock.now().isoformat()}
    ignored: str | None = (await post.phone(member, REPORT, {"input": told}))["reportTransition"]["ignored"]
    return ignored


async def a_passer_by(post: Shop) -> str:
    member = await post.enrol()
    await with_phone(post, member)
    await consents(post, member, "LOCATION")
    return member


async def test_each_transition_starts_its_own_cascades_at_their_places(post: Shop) -> None:
    def near(name: str, event: str, **trigger: Any) -> dict[str, Any]:
        return a_cascade(name, trigger={"event": event, **trigger})

    at = {"en": {"title": "{place} {place_id}", "body": ".", "link": "corner://place/{place_id}"}}
    await publish(
        post,
        near("in", "place.enter"),
        near("stays", "place.dwell", place="park", cooldown="PT2H"),
        near("out", "place.exit", place=["main"]),
        a_cascade("visit", {"wait": "P1D"}, push("visit"), goal={"events": ["place.enter"]}),
        templates={"stays": at},
        places=PLACES,
        messaging={"links": ["corner://"]},
    )
    member, other = await a_passer_by(post), await a_passer_by(post)
    for each in (member, other):
        await tell(post, each, "visit")
    await later(post, minutes=1)

    answers = [
        await crosses(post, member, transition, place)
        for transition in ("ENTER", "DWELL", "EXIT")
        for place in ("main", "park")
    ]
    await later(post, hours=1, minutes=59)
    answers.append(await crosses(post, member, "DWELL", "park"))
    await later(post, minutes=2)
    answers.append(await crosses(post, member, "DWELL", "park"))
    await later(post, days=2)

    assert answers == [*[None] * 6, "COOLING_DOWN", None]
    assert sorted(await inbox(post, member)) == ["Park park", "Park park", "in", "in", "out"]
    assert (await the_run(post, member, "visit"))["state"] == "GOAL_REACHED"
    assert await inbox(post, other) == ["visit"]


async def test_a_withdrawn_consent_ends_the_runs_of_places_at_once_and_no_other(post: Shop) -> None:
    steps = ({"wait": "PT1H"}, push("near"))
    await publish(
        post,
        a_cascade("near", *steps, trigger={"event": "place.dwell"}),
        a_cascade("asks", *steps, consent="LOCATION"),
        a_cascade("asks-not", *steps),
        places=PLACES,
    )
    member = await a_passer_by(post)
    await crosses(post, member, "DWELL")
    for activity in ("asks", "asks-not"):
        await tell(post, member, activity)
    await later(post, minutes=1)

    await consents(post, member, "LOCATION", granted=False)
    await later(post, seconds=1)
    ended = [await the_run(post, member, name) for name in ("near", "asks")]
    await consents(post, member, "LOCATION")
    await later(post, hours=2)

    for run in ended:
        assert (run["state"], said(run)) == ("CANCELLED", ["waits", "cancelled: consent withdrawn: LOCATION"])
    assert (await the_run(post, member, "asks-not"))["state"] == "DONE"
    assert await inbox(post, member) == ["near"]


async def test_where_a_member_was_is_nowhere_once_it_has_served(post: Shop, capfd: pytest.CaptureFixture[str]) -> None:
    await publish(
        post,
        a_cascade("near", trigger={"event": "place.dwell", "place": "park"}),
        a_cascade("long", {"wait": "P1D"}, push("long"), trigger={"event": "place.dwell", "place": "park"}),
        places=PLACES,
    )
    member = await a_passer_by(post)
    before = await post.posted()
    coordinates = {"place": "park", "transition": "DWELL", "occurredAt": post.clock.now().isoformat()}
    for field in ("latitude", "location"):
        refused = await post.ask(
            REPORT, {"input": {**coordinates, field: 40.6602}}, token=await post.member_token(member)
        )
        assert codes(refused) == ["BAD_USER_INPUT"]

    assert await crosses(post, member, "DWELL", "park") is None
    await later(post, hours=1)
    stop = 'mutation { setCascadeState(cascade: "long", state: STOPPED) }'
    await post.staff(stop, {}, scopes=("staff:programme",))

    held = json.dumps(await post.phone(member, "mutation { exportMyData }"))
    assert [word for word in ("park", "Park", "latitude", "40.66", "73.96") if word in held] == []
    assert await post.posted() == before
    assert not [word for word in ("40.66", "73.96") if word in "".join(capfd.readouterr())]
    assert [run["state"] for run in await runs(post, member, "near")] == ["DONE"]


async def test_the_examples_push_at_a_store_comes_while_it_matters_and_only_to_who_was_away(post: Shop) -> None:
    member, yesterday = await a_passer_by(post), await a_passer_by(post)
    for each in (member, yesterday):
        await consents(post, each)
    await post.advance("2026-07-07T12:00:00Z")
    await post.record(a_purchase(yesterday))
    await post.advance("2026-07-08T12:00:00Z")
    for each in (member, yesterday):
        assert await crosses(post, each, "DWELL", "store-330") is None
    await later(post, minutes=11)

    assert await runs(post, yesterday, "near-store") == []
    run = await the_run(post, member, "near-store")
    assert said(run) == ["sent by PUSH", "done"]
    assert "You are around the corner" in await inbox(post, member)
