"""Staying signed in: a refresh token works once, a used one ends its family, and a phone that lost the answer stays."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from domain.members.session import IDLE_LIFE, RETRY_WINDOW, WHOLE_LIFE, begin_session
from tests.api.shop import Shop, codes, data

SIGN_IN = """
mutation($subject: String!) {
  sandboxSignIn(subject: $subject) { ... on Session { accessToken refreshToken member { id } } }
}
"""
REFRESH = """
mutation($token: String!) {
  refreshSession(refreshToken: $token) {
    __typename
    ... on Session { accessToken accessTokenExpiresAt refreshToken isNew member { id wallet { version } } }
    ... on SignInRefused { code message reason }
  }
}
"""
SIGN_OUT = "mutation($token: String!) { signOut(refreshToken: $token) { ended } }"
SESSIONS = "{ me { sessions { id createdAt lastUsedAt device current } } }"
END = "mutation($id: ID!) { endSession(id: $id) { ended } }"
SECOND = timedelta(seconds=1)


async def sign_in(shop: Shop, subject: str = "ana") -> dict[str, Any]:
    session: dict[str, Any] = data(await shop.ask(SIGN_IN, {"subject": subject}))["sandboxSignIn"]
    return session


async def refresh(shop: Shop, token: str) -> dict[str, Any]:
    refreshed: dict[str, Any] = data(await shop.ask(REFRESH, {"token": token}))["refreshSession"]
    return refreshed


async def sign_out(shop: Shop, token: str) -> bool:
    ended: bool = data(await shop.ask(SIGN_OUT, {"token": token}))["signOut"]["ended"]
    return ended


async def pass_time(shop: Shop, length: timedelta) -> None:
    await shop.clock.move_to(shop.clock.now() + length)


async def test_a_session_goes_on_with_a_new_token_each_time(shop: Shop) -> None:
    session = await sign_in(shop)
    await pass_time(shop, timedelta(minutes=11))

    first = await refresh(shop, session["refreshToken"])
    second = await refresh(shop, first["refreshToken"])
    me = data(await shop.ask("{ me { id } }", token=second["accessToken"]))["me"]

    assert (first["__typename"], first["isNew"], first["member"]["id"]) == ("Session", False, session["member"]["id"])
    assert me == {"id": session["member"]["id"]}
    assert len({session["refreshToken"], first["refreshToken"], second["refreshToken"]}) == 3
    assert await shop.services.store.sessions.count_documents({}) == 1


async def test_the_expired_access_token_in_the_header_keeps_nobody_from_refreshing(shop: Shop) -> None:
    session = await sign_in(shop)
    await pass_time(shop, timedelta(minutes=11))

    asked = await shop.ask(REFRESH, {"token": session["refreshToken"]}, token=session["accessToken"])

    assert data(asked)["refreshSession"]["__typename"] == "Session"


async def test_a_phone_that_lost_the_answer_is_given_the_same_token_again(shop: Shop) -> None:
    session = await sign_in(shop)
    lost = await refresh(shop, session["refreshToken"])
    await pass_time(shop, RETRY_WINDOW - 5 * SECOND)

    again = await refresh(shop, session["refreshToken"])

    assert again["refreshToken"] == lost["refreshToken"]
    assert (await refresh(shop, again["refreshToken"]))["__typename"] == "Session"


async def test_a_retry_does_not_lengthen_the_time_to_retry(shop: Shop) -> None:
    session = await sign_in(shop)
    await refresh(shop, session["refreshToken"])
    await pass_time(shop, RETRY_WINDOW - 4 * SECOND)
    within = await refresh(shop, session["refreshToken"])
    await pass_time(shop, 4 * SECOND)

    after = await refresh(shop, session["refreshToken"])

    assert (within["__typename"], after["reason"]) == ("Session", "REUSED")


async def test_a_used_token_shown_later_ends_the_whole_family(shop: Shop) -> None:
    session, other_phone = await sign_in(shop), await sign_in(shop)
    thief = await refresh(shop, session["refreshToken"])
    await pass_time(shop, RETRY_WINDOW + SECOND)

    owner = await refresh(shop, session["refreshToken"])

    assert owner["reason"] == "REUSED"
    assert (await refresh(shop, thief["refreshToken"]))["reason"] == "ENDED"
    assert (await refresh(shop, session["refreshToken"]))["reason"] == "ENDED"
    assert (await refresh(shop, other_phone["refreshToken"]))["__typename"] == "Session"


async def test_a_token_used_long_ago_is_known_as_one(shop: Shop) -> None:
    session = await sign_in(shop)
    live = session
    for _ in range(5):
        live = await refresh(shop, live["refreshToken"])

    reused = await refresh(shop, session["refreshToken"])

    assert reused["reason"] == "REUSED", "within the time to retry, but its successor was used already"
    assert (await refresh(shop, live["refreshToken"]))["reason"] == "ENDED"


async def test_callers_at_once_with_one_token_get_one_successor_and_make_no_second_family(shop: Shop) -> None:
    session = await sign_in(shop)

    answered = await asyncio.gather(*(refresh(shop, session["refreshToken"]) for _ in range(12)))

    assert {each["__typename"] for each in answered} == {"Session"}
    assert len({each["refreshToken"] for each in answered}) == 1
    kept = await shop.services.store.sessions.find({}).to_list()
    assert [each["number"] for each in kept] == [1]
    assert (await refresh(shop, answered[0]["refreshToken"]))["__typename"] == "Session"


async def test_signing_out_and_refreshing_at_once_leaves_nothing_that_works(shop: Shop) -> None:
    session = await sign_in(shop)

    ended, *refreshed = await asyncio.gather(
        sign_out(shop, session["refreshToken"]), *(refresh(shop, session["refreshToken"]) for _ in range(5))
    )

    assert ended is True
    tokens = {each["refreshToken"] for each in refreshed if each["__typename"] == "Session"}
    for token in tokens | {session["refreshToken"]}:
        assert (await refresh(shop, token))["reason"] == "ENDED"


@pytest.mark.parametrize(
    ("idle", "answer"),
    [(IDLE_LIFE - timedelta(minutes=1), "Session"), (IDLE_LIFE + SECOND, "SignInRefused")],
)
async def test_a_session_left_alone_for_too_long_expires(shop: Shop, idle: timedelta, answer: str) -> None:
    session = await sign_in(shop)
    await pass_time(shop, idle)

    refreshed = await refresh(shop, session["refreshToken"])

    assert refreshed["__typename"] == answer
    assert refreshed.get("reason") == (None if answer == "Session" else "EXPIRED")


async def test_a_session_in_use_expires_in_the_end(shop: Shop) -> None:
    session = await sign_in(shop)
    began = shop.clock.now()
    step = IDLE_LIFE - timedelta(days=1)

    while shop.clock.now() + step < began + WHOLE_LIFE:
        await pass_time(shop, step)
        session = await refresh(shop, session["refreshToken"])
        assert session["__typename"] == "Session"
    await shop.clock.move_to(began + WHOLE_LIFE + SECOND)

    assert (await refresh(shop, session["refreshToken"]))["reason"] == "EXPIRED"


@pytest.mark.parametrize("change", ["empty", "other", "one letter", "longer", "huge", "not ascii", "access token"])
async def test_what_is_no_token_of_ours_is_unknown_and_ends_nothing(shop: Shop, change: str) -> None:
    session = await sign_in(shop)
    token = session["refreshToken"]
    shown = {
        "empty": "",
        "other": "rt_" + "A" * (len(token) - 3),
        "one letter": token[:30] + ("a" if token[30] != "a" else "b") + token[31:],
        "longer": token + "=",
        "huge": "rt_" + "x" * 20_000,
        "not ascii": "rt_" + "é" * (len(token) - 3),
        "access token": session["accessToken"],
    }[change]

    refused = await refresh(shop, shown)

    assert refused == {
        "__typename": "SignInRefused",
        "code": "SIGN_IN_REFUSED",
        "message": "This is not a refresh token of this server. Sign in again.",
        "reason": "UNKNOWN",
    }
    assert await sign_out(shop, shown) is False
    assert (await refresh(shop, token))["__typename"] == "Session"


async def test_a_session_that_was_cleaned_up_has_ended(shop: Shop) -> None:
    session = await sign_in(shop)
    await shop.services.store.sessions.delete_many({})

    assert (await refresh(shop, session["refreshToken"]))["reason"] == "ENDED"
    assert await sign_out(shop, session["refreshToken"]) is True


async def test_a_token_that_a_restored_database_does_not_know_yet_ends_nothing(shop: Shop) -> None:
    session = await sign_in(shop)
    backup = await shop.services.store.sessions.find_one({})
    assert backup is not None
    lost = await refresh(shop, session["refreshToken"])
    await shop.services.store.sessions.replace_one({"_id": backup["_id"]}, backup)

    refused = await refresh(shop, lost["refreshToken"])

    assert refused["reason"] == "UNKNOWN"
    assert (await refresh(shop, session["refreshToken"]))["refreshToken"] == lost["refreshToken"]


async def test_another_servers_token_is_unknown_here(shop: Shop) -> None:
    member = (await sign_in(shop))["member"]["id"]
    theirs = await begin_session(shop.services.store, "x" * 32, member=member, now=shop.clock.now())

    assert (await refresh(shop, theirs.refresh_token))["reason"] == "UNKNOWN"


async def test_a_refresh_token_is_no_access_token(shop: Shop) -> None:
    session = await sign_in(shop)

    refused = await shop.ask("{ me { id } }", token=session["refreshToken"])

    assert codes(refused) == ["UNAUTHENTICATED"]


@pytest.mark.parametrize("rotations", [0, 1, 2])
async def test_signing_out_ends_the_family_by_any_of_its_tokens_and_may_be_repeated(shop: Shop, rotations: int) -> None:
    session, other_phone = await sign_in(shop), await sign_in(shop)
    live = session
    for _ in range(rotations):
        live = await refresh(shop, live["refreshToken"])

    ended = [await sign_out(shop, session["refreshToken"]) for _ in range(2)]

    assert ended == [True, True]
    assert (await refresh(shop, live["refreshToken"]))["reason"] == "ENDED"
    assert (await refresh(shop, other_phone["refreshToken"]))["__typename"] == "Session"


async def test_no_token_is_in_the_database_used_or_live(shop: Shop) -> None:
    session = await sign_in(shop)
    follower = await refresh(shop, session["refreshToken"])

    kept = repr(await shop.services.store.sessions.find({}).to_list())

    assert session["refreshToken"][3:] not in kept
    assert follower["refreshToken"][3:] not in kept
    assert follower["refreshToken"][30:60] not in kept


async def test_a_member_who_is_gone_gets_no_session(shop: Shop) -> None:
    session = await sign_in(shop)
    await shop.services.store.members.delete_one({"_id": session["member"]["id"]})

    assert (await refresh(shop, session["refreshToken"]))["reason"] == "ENDED"


async def test_a_member_sees_where_he_is_signed_in_and_ends_one(shop: Shop) -> None:
    began = shop.clock.now()
    tablet = await sign_in(shop)
    await pass_time(shop, timedelta(minutes=5))
    phone = await sign_in(shop)
    await sign_in(shop, "bea")

    before = data(await shop.ask(SESSIONS, token=phone["accessToken"]))["me"]["sessions"]
    ended = data(await shop.ask(END, {"id": before[1]["id"]}, token=phone["accessToken"]))["endSession"]
    after = data(await shop.ask(SESSIONS, token=phone["accessToken"]))["me"]["sessions"]

    assert [each["current"] for each in before] == [True, False]
    assert before[1]["createdAt"] == before[1]["lastUsedAt"] >= began.isoformat()[:19]
    assert ended == {"ended": True}
    assert after == before[:1]
    assert (await refresh(shop, tablet["refreshToken"]))["reason"] == "ENDED"
    assert (await refresh(shop, phone["refreshToken"]))["__typename"] == "Session"


async def test_nobody_ends_another_members_session_or_learns_of_it(shop: Shop) -> None:
    ana, bea = await sign_in(shop, "ana"), await sign_in(shop, "bea")
    anas = data(await shop.ask(SESSIONS, token=ana["accessToken"]))["me"]["sessions"][0]["id"]

    by_bea = data(await shop.ask(END, {"id": anas}, token=bea["accessToken"]))["endSession"]
    of_nobody = data(await shop.ask(END, {"id": "nothing"}, token=bea["accessToken"]))["endSession"]
    by_nobody = await shop.ask(END, {"id": anas})
    by_till = await shop.ask(END, {"id": anas}, token=await shop.till_token())
    by_staff = await shop.ask(END, {"id": anas}, token=await shop.staff_token("staff:members"))

    assert by_bea == of_nobody == {"ended": False}
    assert codes(by_nobody) == ["UNAUTHENTICATED"]
    assert codes(by_till) == codes(by_staff) == ["FORBIDDEN"]
    assert (await refresh(shop, ana["refreshToken"]))["__typename"] == "Session"


async def test_sessions_that_are_over_are_not_listed(shop: Shop) -> None:
    await sign_in(shop)
    await pass_time(shop, IDLE_LIFE + SECOND)
    phone = await sign_in(shop)

    listed = data(await shop.ask(SESSIONS, token=phone["accessToken"]))["me"]["sessions"]

    assert [each["current"] for each in listed] == [True]
