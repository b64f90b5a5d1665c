"""A dry run of a cascade tells staff what then happens, and writes nothing."""

from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import pytest

from domain.settings import Settings
from domain.store.connection import Store
from tests.api.post import consents, inbox, opened_post, runs, with_phone
from tests.api.shop import Shop, a_purchase
from tests.notifications.phones import Phones, opened_phones

SIMULATE: Final = """
query($cascade: ID!, $member: ID!, $at: DateTime, $reacts: Boolean! = false) {
  simulateCascade(cascade: $cascade, member: $member, at: $at, reacts: $reacts) {
    definitionVersion arm state switched timeZone locale
    history { at localTime step what reason until title body link }
  }
}
"""
READ: Final = ("staff:members",)


@pytest.fixture(scope="module")
def running_phones() -> Iterator[Phones]:
    with opened_phones() as opened:
        yield opened


@pytest.fixture
async def post(store: Store, settings: Settings, running_phones: Phones) -> AsyncIterator[Shop]:
    running_phones.forget()
    async with opened_post(store, settings, running_phones) as shop:
        yield shop


async def simulated(shop: Shop, cascade: str, member: str, **more: Any) -> dict[str, Any]:
    found = await shop.staff(SIMULATE, {"cascade": cascade, "member": member, **more}, scopes=READ)
    simulation: dict[str, Any] = found["simulateCascade"]
    return simulation


def told(history: list[dict[str, Any]]) -> list[tuple[str, int | None, str | None, str]]:
    """What is alike in a real run that began in the same minute."""
    return [(event["what"], event["step"], event["reason"], event["at"][:16]) for event in history]


async def test_only_staff_of_members_may_ask(post: Shop) -> None:
    member = await post.enrol(displayName="Ana")

    own = await post.ask(SIMULATE, {"cascade": "welcome", "member": member}, token=await post.member_token(member))
    other = await post.ask(
        SIMULATE, {"cascade": "welcome", "member": member}, token=await post.staff_token("staff:programme")
    )

    assert [each["errors"][0]["extensions"]["code"] for each in (own, other)] == ["FORBIDDEN"] * 2


async def test_what_is_told_of_a_silent_member_is_what_then_happens(post: Shop) -> None:
    await post.advance("2026-07-06T14:00:00Z")
    member = await post.enrol(displayName="Ana", timeZone="Europe/Ljubljana", locale="sl", email="ana@example.com")
    await with_phone(post, member)
    before = await post.services.store.runs.count_documents({})

    simulation = await simulated(post, "welcome", member)
    after = await post.services.store.runs.count_documents({})
    await post.advance("2026-08-20T14:00:00Z")

    (run,) = await runs(post, member, "welcome")
    assert told(simulation["history"]) == told(run["history"])
    assert (simulation["state"], simulation["arm"], simulation["switched"]) == ("DONE", "TREATED", "LIVE")
    assert (simulation["timeZone"], simulation["locale"]) == ("Europe/Ljubljana", "sl")
    first = simulation["history"][1]
    assert (first["what"], first["title"], first["link"]) == ("sent by PUSH", "Dobrodošli, Ana!", "corner://wallet")
    assert first["localTime"].startswith("2026-07-06T16:")
    waits = simulation["history"][2]
    assert (waits["what"], waits["until"][:13]) == ("waits", "2026-07-09T14")
    assert before == after == 0


async def test_one_who_opens_each_message_gets_none_that_is_for_the_silent(post: Shop) -> None:
    await post.advance("2026-07-06T14:00:00Z")
    member = await post.enrol(displayName="Ana")
    await with_phone(post, member)

    simulation = await simulated(post, "welcome", member, reacts=True)

    assert [(event["what"], event["reason"]) for event in simulation["history"]] == [
        ("started", "joined"),
        ("sent by PUSH", None),
        ("waits", None),
        ("reaction", "delivery.opened"),
        ("not sent", "reaction"),
        ("not sent", "reaction"),
        ("done", None),
    ]


async def test_a_date_is_awaited_and_each_reason_is_named(post: Shop) -> None:
    member = await post.enrol(displayName="Ana", timeZone="Europe/Ljubljana")
    bought = {**a_purchase(member), "occurredAt": None}
    never = await simulated(post, "win-back", member)
    await post.record(bought)

    refused = await simulated(post, "win-back", member)
    await consents(post, member)
    unreachable = await simulated(post, "win-back", member)
    await with_phone(post, member)
    allowed = await simulated(post, "win-back", member)

    def reasons(simulation: dict[str, Any]) -> list[str | None]:
        return [event["reason"] for event in simulation["history"] if event["step"] == 0]

    assert told(never["history"])[0][:3] == ("not started", None, "no such date comes to the member")
    assert reasons(refused) == ["no consent: MARKETING"]
    if allowed["arm"] == "TREATED":
        assert reasons(unreachable) == ["unreachable: PUSH"]
        assert reasons(allowed)[0] == "quiet hours"
        sent = next(event for event in allowed["history"] if event["what"] == "sent by PUSH")
        assert (sent["title"], sent["localTime"][11:14]) == ("We miss you, Ana", "08:")
    else:
        assert "held out" in [event["what"] for event in allowed["history"]]
    assert await inbox(post, member) == []


async def test_what_a_cascade_has_not_to_do_with_a_member_is_said(post: Shop) -> None:
    member = await post.enrol(displayName="Ana")
    state = 'mutation { setCascadeState(cascade: "earned", state: PAUSED) }'
    await post.staff(state, {}, scopes=("staff:programme",))

    earned = await simulated(post, "earned", member)
    unknown = await post.ask(SIMULATE, {"cascade": "none", "member": member}, token=await post.staff_token(*READ))
    nobody = await post.ask(SIMULATE, {"cascade": "earned", "member": "m0"}, token=await post.staff_token(*READ))
    early, late = [
        await post.ask(
            SIMULATE, {"cascade": "welcome", "member": member, "at": at}, token=await post.staff_token(*READ)
        )
        for at in ("2020-01-01T00:00:00Z", "9999-12-31T23:59:59Z")
    ]

    assert told(earned["history"])[0][:3] == ("not started", None, "the condition does not hold")
    assert earned["switched"] == "PAUSED"
    for answer, words in (
        (unknown, "points-expiring"),
        (nobody, "There is no member m0"),
        (early, "before now"),
        (late, "before 3000-01-01"),
    ):
        assert answer["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"
        assert words in answer["errors"][0]["message"]
