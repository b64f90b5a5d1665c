"""Connections: pages of items, how many and from where, with what the client needs to go on.

A cursor is the key of the last item seen, so pages neither skip nor repeat when something new comes in between. To the
client it is opaque; one that is damaged, or that was made for another connection, is refused.
"""

from base64 import b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Generic, TypeVar

import orjson
import strawberry

from api.edge.errors import InvalidValue
from domain.store.codec import epoch_ms, from_epoch_ms

MAX_PAGE: Final = 100
LARGEST: Final = 10**14
_MAX_CURSOR_LENGTH: Final = 500

Key = tuple[str | int, ...]
"""What an item is ordered by; unique within its connection."""

MOMENT: Final = (int, str)

_T = TypeVar("_T")


@strawberry.type
class PageInfo:
    has_next_page: bool
    has_previous_page: bool
    start_cursor: str | None
    end_cursor: str | None


@strawberry.type
class Edge(Generic[_T]):
    cursor: str
    node: _T


@strawberry.type
class Connection(Generic[_T]):
    edges: list[Edge[_T]]
    nodes: list[_T]
    page_info: PageInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What was asked for: `first` items after the one with the key `after`, or from the start."""

    first: int
    after: Key | None

    @property
    def fetch(self) -> int:
        """How many to read: one more than asked for tells whether there is a next page."""
        return self.first + 1

    @property
    def after_moment(self) -> tuple[datetime, str] | None:
        """`after` where items are ordered by :func:`moment`."""
        match self.after:
            case (int(milliseconds), str(identifier)):
                return from_epoch_ms(milliseconds), identifier
            case _:
                return None


def window(kind: str, first: int, after: str | None, *, by: tuple[type[str | int], ...]) -> Window:
    """The window that the arguments of a connection ask for; `kind` names it, `by` are the types of its keys.

    Raises InvalidValue.
    """
    if not 1 <= first <= MAX_PAGE:
        raise InvalidValue(f"first is {first}; it must be from 1 to {MAX_PAGE}.")
    return Window(first=first, after=None if after is None else parse_cursor(kind, after, by=by))


def connection(kind: str, asked: Window, *, items: Sequence[_T], key: Callable[[_T], Key]) -> Connection[_T]:
    """The page out of up to `asked.fetch` items, read in order from just after `asked.after`."""
    assert len(items) <= asked.fetch, "more than asked for"
    nodes = list(items[: asked.first])
    cursors = [cursor(kind, key(node)) for node in nodes]
    return Connection(
        edges=[Edge(cursor=each, node=node) for each, node in zip(cursors, nodes, strict=True)],
        nodes=nodes,
        page_info=PageInfo(
            has_next_page=len(items) > asked.first,
            has_previous_page=asked.after is not None,
            start_cursor=cursors[0] if cursors else None,
            end_cursor=cursors[-1] if cursors else None,
        ),
    )


def moment(at: datetime, identifier: str) -> Key:
    """The key of what is ordered by an instant, and at one instant by its id; its types are :data:`MOMENT`."""
    return epoch_ms(at), identifier


def cursor(kind: str, key: Key) -> str:
    """The opaque form of a key: base64url over JSON, without padding."""
    return urlsafe_b64encode(orjson.dumps([kind, *key])).rstrip(b"=").decode()


def parse_cursor(kind: str, text: str, *, by: tuple[type[str | int], ...]) -> Key:
    """The key in a cursor of this kind of connection, of those types. Raises InvalidValue for anything else.

    No number in it is larger than :data:`LARGEST`: sequences and milliseconds stay far below.
    """
    if len(text) <= _MAX_CURSOR_LENGTH and text.isascii():
        try:
            parts = orjson.loads(b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
        except (Base64Error, orjson.JSONDecodeError):
            parts = None
        if isinstance(parts, list) and parts[:1] == [kind] and tuple(map(type, parts[1:])) == by:
            key: Key = tuple(parts[1:])
            if all(isinstance(each, str) or abs(each) <= LARGEST for each in key):
                return key
    raise InvalidValue("after is not a cursor of this connection. Send an endCursor that it gave you, or leave it out.")
