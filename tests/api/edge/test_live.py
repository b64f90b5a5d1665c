"""Subscriptions: nothing is missed, nothing comes twice, and nobody stays longer than he may."""

import asyncio
from datetime import timedelta

import pytest
from prometheus_client import REGISTRY

from api.edge.app import build_app
from api.schema import build_schema
from notifications.channel import MessageCategory
from notifications.inbox import InboxItem, put
from tests.api.edge.live import CHANGED, events, phone, serving
from tests.api.shop import Shop, a_purchase, data

SIGN_IN = 'mutation { sandboxSignIn(subject: "ada") { ... on Session { accessToken refreshToken member { id } } } }'


async def versions_of(shop: Shop, member: str) -> int:
    wallet = await shop.phone(member, "{ me { wallet { version } } }")
    return int(wallet["me"]["wallet"]["version"])


async def test_every_change_comes_with_the_wallet_that_it_made(shop: Shop) -> None:
    member = await shop.enrol()
    async with (
        serving(shop.app, shop.services.settings) as address,
        phone(address, await shop.member_token(member)) as client,
    ):
        await client.subscribe(CHANGED, {"since": await versions_of(shop, member)})
        await shop.record(a_purchase(member, "10.00"))
        await shop.record(a_purchase(member, "20.00"))
        changes = [await client.change() for _ in range(2)]

    assert [each["version"] for each in changes] == [2, 3]
    assert [each["entry"]["sequence"] for each in changes] == [2, 3]
    assert [each["wallet"]["version"] for each in changes] == [2, 3]
    for each in changes:
        assert each["wallet"]["points"]["available"] == each["entry"]["balanceAfter"]["points"]


async def test_what_was_missed_comes_first_each_with_its_own_wallet_and_without_a_version_nothing_does(
    shop: Shop,
) -> None:
    member = await shop.enrol()
    for _ in range(3):
        await shop.record(a_purchase(member, "10.00"))
    async with (
        serving(shop.app, shop.services.settings) as address,
        phone(address, await shop.member_token(member)) as client,
    ):
        await client.subscribe(CHANGED, {"since": 1}, id="missed")
        missed = [await client.change() for _ in range(3)]
        await client.subscribe(CHANGED, id="fresh")
        await client.send("ping", payload={"n": 1})
        pong = await client.next()

    assert [(each["version"], each["wallet"]["version"]) for each in missed] == [(2, 2), (3, 3), (4, 4)]
    assert [each["wallet"]["points"]["available"] for each in missed] == [
        each["entry"]["balanceAfter"]["points"] for each in missed
    ]
    assert pong == {"type": "pong", "payload": {"n": 1}}


async def test_nothing_is_missed_or_doubled_while_purchases_go_on_over_reconnects_and_processes(shop: Shop) -> None:
    member = await shop.enrol()
    wanted = 30
    seen: list[int] = []

    async def buying() -> None:
        for _ in range(wanted):
            await shop.record(a_purchase(member, "1.00"))

    another = build_app(shop.services, build_schema(sandbox=True))
    async with (
        serving(shop.app, shop.services.settings) as one,
        serving(another, shop.services.settings) as two,
    ):
        buyer = asyncio.create_task(buying())
        while len(seen) < wanted:
            address = (one, two)[len(seen) % 2]
            async with phone(address, await shop.member_token(member)) as client:
                await client.subscribe(CHANGED, {"since": seen[-1] if seen else 1})
                count = min(7, wanted - len(seen))
                seen.extend([(await client.change())["version"] for _ in range(count)])
        await buyer

    assert seen == list(range(2, wanted + 2))


async def test_each_message_comes_once_and_to_its_member_alone(shop: Shop) -> None:
    member, other = await shop.enrol(), await shop.enrol()

    async def record(identifier: str, to: str) -> None:
        item = InboxItem(
            id=identifier,
            member=to,
            title="Hello",
            body="There",
            category=MessageCategory.TRANSACTIONAL,
            sent_at=shop.clock.now(),
        )
        await put(shop.services.store, item)

    async def record_many() -> None:
        for number in range(500):
            await record(f"{number:03}", member)
            await record(f"{number:03}", member)
            await record(f"other-{number:03}", other)

    await record("before", member)
    async with (
        serving(shop.app, shop.services.settings) as address,
        phone(address, await shop.member_token(member)) as client,
    ):
        await client.subscribe("subscription { inboxItemAdded { id } }")
        recording = asyncio.create_task(record_many())
        told = [(await client.next())["payload"]["data"]["inboxItemAdded"]["id"] for _ in range(5)]
        recording.cancel()
        await asyncio.gather(recording, return_exceptions=True)

    first = int(told[0])
    assert told == [f"{first + number:03}" for number in range(5)]


async def test_server_sent_events_tell_the_same_and_complete_what_ends_by_itself(shop: Shop) -> None:
    member = await shop.enrol()
    token = await shop.member_token(member)
    async with serving(shop.app, shop.services.settings) as address:
        async with events(address, token, CHANGED, {"since": 0}) as told:
            first = await anext(told)
            await shop.record(a_purchase(member, "10.00"))
            second = await anext(told)
        async with events(address, token, "{ me { id } }") as told:
            query = [each async for each in told]

    assert [each[0] for each in (first, second)] == ["next", "next"]
    assert [each[1]["data"]["walletChanged"]["version"] for each in (first, second)] == [1, 2]
    assert query == [("next", {"data": {"me": {"id": member}}, "extensions": {"cost": 1}}), ("complete", None)]


async def test_a_stream_ends_with_the_token_by_the_wallets_clock(shop: Shop) -> None:
    member = await shop.enrol()
    async with (
        serving(shop.app, shop.services.settings) as address,
        phone(address, await shop.member_token(member)) as client,
        events(address, await shop.member_token(member), CHANGED) as told,
    ):
        await client.subscribe(CHANGED)
        await shop.clock.move_to(shop.clock.now() + timedelta(minutes=11))
        code, reason = await client.closed()
        rest = [each async for each in told]

    assert (code, reason) == (4403, "Forbidden: the access token has ended")
    assert rest == []


async def test_a_stream_ends_with_its_session(shop: Shop) -> None:
    session = data(await shop.ask(SIGN_IN))["sandboxSignIn"]
    async with serving(shop.app, shop.services.settings) as address, phone(address, session["accessToken"]) as client:
        await client.subscribe(CHANGED)
        await shop.ask(
            "mutation($t: String!) { signOut(refreshToken: $t) { __typename } }", {"t": session["refreshToken"]}
        )
        code, reason = await client.closed()
        async with phone(address, None) as again:
            await again.send("connection_init", payload={"Authorization": f"Bearer {session['accessToken']}"})
            late, _ = await again.closed()

    assert (code, reason) == (4403, "Forbidden: the session was ended")
    assert late == 4403


async def test_a_server_that_stops_says_so_and_leaves_nothing_open(shop: Shop) -> None:
    member = await shop.enrol()
    token = await shop.member_token(member)
    app = build_app(shop.services, build_schema(sandbox=True))
    async with serving(app, shop.services.settings) as address, phone(address, token) as client:
        await client.subscribe(CHANGED)
        async with events(address, token, CHANGED) as told:
            await app.state.live.close()
            rest = [each async for each in told]
            code, reason = await client.closed()

    assert (code, reason) == (1012, "Service restart")
    assert rest == []
    assert REGISTRY.get_sample_value("wallet_graphql_sockets") == 0
    assert REGISTRY.get_sample_value("wallet_graphql_subscriptions", {"transport": "ws"}) == 0


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("subscription { walletChanged(sinceVersion: 99) { version } }", "BAD_USER_INPUT"),
        ("subscription { walletChanged(sinceVersion: -1) { version } }", "BAD_USER_INPUT"),
        ("subscription { walletChanged(sinceVersion: 1.5) { version } }", "BAD_USER_INPUT"),
        ("subscription { nothing }", "GRAPHQL_VALIDATION_FAILED"),
        ("subscription { walletChanged { version } again: walletChanged { version } }", "GRAPHQL_VALIDATION_FAILED"),
        ("{", "GRAPHQL_PARSE_FAILED"),
        ("", "BAD_REQUEST"),
        ('{ member(by: {id: "x"}) { id } }', "FORBIDDEN"),
    ],
)
async def test_what_cannot_be_subscribed_to_is_told_and_the_connection_lives_on(
    shop: Shop, query: str, code: str
) -> None:
    member = await shop.enrol()
    async with (
        serving(shop.app, shop.services.settings) as address,
        phone(address, await shop.member_token(member)) as client,
    ):
        await client.subscribe(query)
        message = await client.next()
        await client.subscribe("{ me { id } }", id="2")
        answered = await client.next()

    told = message["payload"] if message["type"] == "error" else message["payload"]["errors"]
    assert told[0]["extensions"]["code"] == code
    if message["type"] == "error":
        assert answered == {
            "id": "2",
            "type": "next",
            "payload": {"data": {"me": {"id": member}}, "extensions": {"cost": 1}},
        }


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        (['{"type": "subscribe", "id": "1", "payload": {"query": "{ me { id } }"}}'], 4401),
        (['{"type": "connection_init"}'], 4403),
        (['{"type": "connection_init", "payload": {"Authorization": "Bearer nonsense"}}'], 4403),
        (['{"type": "connection_init", "payload": 7}'], 4400),
        (["nonsense"], 4400),
        (["[]"], 4400),
        (['{"type": "ping"}', '{"type": 7}'], 4400),
    ],
)
async def test_who_does_not_say_who_he_is_is_shown_out(shop: Shop, messages: list[str], code: int) -> None:
    async with serving(shop.app, shop.services.settings) as address, phone(address, None) as client:
        for message in messages:
            await client.socket.send(message)
        closed = await client.closed()

    assert closed[0] == code


async def test_the_protocol_has_its_rules(shop: Shop) -> None:
    token = await shop.member_token(await shop.enrol())
    async with serving(shop.app, shop.services.settings) as address:
        async with phone(address, token) as client:
            await client.subscribe(CHANGED)
            await client.subscribe(CHANGED)
            taken = await client.closed()
        async with phone(address, token) as client:
            await client.send("connection_init")
            twice = await client.closed()
        async with phone(address, token) as client:
            for number in range(21):
                await client.subscribe(CHANGED, id=str(number))
            many = await client.closed()
        async with phone(address, token) as client:
            await client.subscribe(CHANGED)
            await client.send("complete", id="1")
            await client.subscribe(CHANGED, {"since": 0})
            again = await client.change()

    assert (taken[0], twice[0], many[0]) == (4409, 4429, 4429)
    assert again["version"] == 1


async def test_a_caller_has_ten_connections_to_a_process(shop: Shop) -> None:
    token = await shop.member_token(await shop.enrol())
    async with serving(shop.app, shop.services.settings) as address:
        open_ones = [phone(address, token) for _ in range(10)]
        for each in open_ones:
            await each.__aenter__()
        async with phone(address, None) as one_more:
            await one_more.send("connection_init", payload={"Authorization": f"Bearer {token}"})
            refused = await one_more.closed()
        for each in open_ones:
            await each.__aexit__(None, None, None)

    assert refused[0] == 4429


async def test_a_subscription_without_a_stream_is_told_where_to_go(shop: Shop) -> None:
    token = await shop.member_token(await shop.enrol())

    response = await shop.http.post("/graphql", json={"query": CHANGED}, headers={"Authorization": f"Bearer {token}"})
    anonymous = await shop.http.post("/graphql", json={"query": CHANGED}, headers={"Accept": "text/event-stream"})

    assert response.status_code == 406
    assert "text/event-stream" in response.json()["errors"][0]["message"]
    assert anonymous.status_code == 401


async def test_variables_that_cannot_be_taken_are_told_on_an_event_stream(shop: Shop) -> None:
    token = await shop.member_token(await shop.enrol())
    async with (
        serving(shop.app, shop.services.settings) as address,
        events(address, token, CHANGED, {"since": "one"}) as stream,
    ):
        told = [each async for each in stream]

    assert [event for event, _ in told] == ["next", "complete"]
    (error,) = told[0][1]["errors"]
    assert (error["extensions"]["code"], error["extensions"]["path"]) == ("BAD_USER_INPUT", "since")
