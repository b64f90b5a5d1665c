"""The inbox over HTTP: pages, reading, and nobody else's."""

from datetime import timedelta
from typing import Any

from notifications.channel import MessageCategory
from notifications.inbox import InboxItem, put
from tests.api.shop import START, Shop, codes

INBOX = """
query($first: Int, $after: String, $unreadOnly: Boolean) { me {
  unreadCount
  inbox(first: $first, after: $after, unreadOnly: $unreadOnly) {
    nodes { id title body link imageUrl category sentAt readAt cascade }
    edges { cursor node { id } }
    pageInfo { hasNextPage hasPreviousPage endCursor }
  }
} }
"""
MARK = "mutation($ids: [ID!]!) { markRead(ids: $ids) }"
NODE = "query($id: ID!) { node(id: $id) { __typename id ... on InboxItem { title } } }"


async def deliver(shop: Shop, member: str, *identifiers: str) -> None:
    """Messages that came a minute after one another."""
    for number, identifier in enumerate(identifiers):
        item = InboxItem(
            id=identifier,
            member=member,
            title=f"Message {identifier}",
            body="Your points wait.",
            category=MessageCategory.MARKETING,
            sent_at=START - timedelta(minutes=60 - number),
            link="corner://wallet",
            cascade="win-back",
        )
        await put(shop.services.store, item)


async def inbox(shop: Shop, member: str, **variables: Any) -> dict[str, Any]:
    found: dict[str, Any] = (await shop.phone(member, INBOX, {"first": 20, **variables}))["me"]
    return found


async def test_only_a_members_own_session_reads_his_inbox(shop: Shop) -> None:
    member = await shop.enrol()
    await deliver(shop, member, "delivery-1")
    seen = f'{{ member(by: {{id: "{member}"}}) {{ inbox {{ nodes {{ id }} }} }} }}'

    for token in (await shop.till_token(), await shop.staff_token("staff:members")):
        assert codes(await shop.ask(seen, token=token)) == ["FORBIDDEN"]
        assert codes(await shop.ask(MARK, {"ids": ["delivery-1"]}, token=token)) == ["FORBIDDEN"]
        assert (await shop.ask(NODE, {"id": "delivery-1"}, token=token))["data"]["node"] is None
    assert (await inbox(shop, member))["unreadCount"] == 1


async def test_a_message_is_shown_as_it_was_sent(shop: Shop) -> None:
    member = await shop.enrol()
    await deliver(shop, member, "delivery-1")

    found = await inbox(shop, member)

    assert found["unreadCount"] == 1
    assert found["inbox"]["nodes"] == [
        {
            "id": "delivery-1",
            "title": "Message delivery-1",
            "body": "Your points wait.",
            "link": "corner://wallet",
            "imageUrl": None,
            "category": "MARKETING",
            "sentAt": "2026-07-06T07:30:00Z",
            "readAt": None,
            "cascade": "win-back",
        }
    ]
    node = (await shop.phone(member, NODE, {"id": "delivery-1"}))["node"]
    assert node == {"__typename": "InboxItem", "id": "delivery-1", "title": "Message delivery-1"}


async def test_pages_go_from_the_newest_on_and_neither_skip_nor_repeat_when_a_message_comes(shop: Shop) -> None:
    member = await shop.enrol()
    await deliver(shop, member, "a", "b", "c", "d", "e")

    first = (await inbox(shop, member, first=2))["inbox"]
    await put(
        shop.services.store,
        InboxItem(
            id="newest", member=member, title="Now", body="Now.", category=MessageCategory.SERVICE, sent_at=START
        ),
    )
    second = (await inbox(shop, member, first=2, after=first["pageInfo"]["endCursor"]))["inbox"]
    third = (await inbox(shop, member, first=2, after=second["pageInfo"]["endCursor"]))["inbox"]

    assert [[node["id"] for node in page["nodes"]] for page in (first, second, third)] == [
        ["e", "d"],
        ["c", "b"],
        ["a"],
    ]
    assert [page["pageInfo"]["hasNextPage"] for page in (first, second, third)] == [True, True, False]


async def test_reading_counts_what_became_read_and_only_ones_own(shop: Shop) -> None:
    ana, eva = await shop.enrol(), await shop.enrol()
    await deliver(shop, ana, "a", "b", "c")
    await deliver(shop, eva, "d")

    read = (await shop.phone(ana, MARK, {"ids": ["a", "b", "d", "unknown"]}))["markRead"]
    again = (await shop.phone(ana, MARK, {"ids": ["a", "b"]}))["markRead"]

    assert (read, again) == (2, 0)
    found = await inbox(shop, ana, unreadOnly=True)
    assert (found["unreadCount"], [node["id"] for node in found["inbox"]["nodes"]]) == (1, ["c"])
    unread, *others = [node["readAt"] for node in (await inbox(shop, ana))["inbox"]["nodes"]]
    assert unread is None
    assert [at[:16] for at in others] == ["2026-07-06T08:30"] * 2
    assert (await inbox(shop, eva))["unreadCount"] == 1
    assert (await shop.phone(ana, NODE, {"id": "d"}))["node"] is None


async def test_more_than_a_hundred_at_once_and_a_foreign_cursor_are_refused(shop: Shop) -> None:
    member = await shop.enrol()
    token = await shop.member_token(member)

    many = await shop.ask(MARK, {"ids": [f"delivery-{number}" for number in range(101)]}, token=token)
    foreign = await shop.ask(INBOX, {"first": 2, "after": "WyJ2b3VjaGVycyIsMSwiYSJd"}, token=token)

    assert codes(many) == ["BAD_USER_INPUT"]
    assert codes(foreign) == ["BAD_USER_INPUT"]
