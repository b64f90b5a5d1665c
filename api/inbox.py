"""The inbox, as the member reads it: the record of every message to him."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime
from typing import Final

import strawberry

from api.context import Context, Info, require_member
from api.described import described
from api.edge.errors import InvalidValue
from api.node import Node
from api.pages import MOMENT, Connection, connection, moment, window
from notifications.channel import MessageCategory
from notifications.inbox import MAX_MARKED, item_of, items_added, items_of, mark_read, unread_count
from notifications.inbox import InboxItem as InboxItemRecord

INBOX: Final = "inbox"


@strawberry.type
class InboxItem(Node):
    title: str
    body: str
    link: str | None
    image_url: str | None
    category: MessageCategory
    sent_at: datetime
    read_at: datetime | None
    cascade: strawberry.ID | None


@strawberry.type
class InboxMutation:
    @described(
        "Returns how many of these messages became read: only the member's own that were unread. At most 100. member"
    )
    async def mark_read(self, info: Info, ids: list[strawberry.ID]) -> int:
        if len(ids) > MAX_MARKED:
            raise InvalidValue(f"ids has {len(ids)} items; at most {MAX_MARKED} are allowed.")
        context = info.context
        return await mark_read(context.wallet.store, require_member(info).member_id, ids, now=context.now)


@strawberry.type
class InboxSubscription:
    @strawberry.subscription(  # type: ignore[untyped-decorator]
        description="member"
    )
    async def inbox_item_added(self, info: Info) -> AsyncGenerator[InboxItem, None]:
        """Each message as it is recorded; those of before are in the inbox."""
        services, member = info.context.wallet, require_member(info).member_id
        added = items_added(services.store, services.changes, member, now=info.context.now)
        async with aclosing(added):
            async for item in added:
                yield inbox_item_type(item)


async def inbox_connection(
    context: Context, member: str, *, first: int, after: str | None, unread_only: bool
) -> Connection[InboxItem]:
    """A page of the member's messages, newest first."""
    asked, services = window(INBOX, first, after, by=MOMENT), context.wallet
    items = await items_of(
        services.store, member, now=context.now, limit=asked.fetch, unread_only=unread_only, after=asked.after_moment
    )
    nodes = [inbox_item_type(item) for item in items]
    return connection(INBOX, asked, items=nodes, key=lambda node: moment(node.sent_at, str(node.id)))


async def member_unread_count(context: Context, member: str) -> int:
    """How many messages the member has not read."""
    return await unread_count(context.wallet.store, member, now=context.now)


async def one_inbox_item(context: Context, member: str, identifier: str) -> InboxItem | None:
    """That message, if it is the member's."""
    item = await item_of(context.wallet.store, member, identifier, now=context.now)
    return None if item is None else inbox_item_type(item)


def inbox_item_type(item: InboxItemRecord) -> InboxItem:
    """The message as the contract shows it."""
    return InboxItem(
        id=strawberry.ID(item.id),
        title=item.title,
        body=item.body,
        link=item.link,
        image_url=item.image_url,
        category=item.category,
        sent_at=item.sent_at,
        read_at=item.read_at,
        cascade=None if item.cascade is None else strawberry.ID(item.cascade),
    )
