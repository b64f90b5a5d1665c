"""Pages of a connection: how many, from where, and what the client is given to go on with.

A cursor is the key of the last item seen, so pages neither skip nor repeat when something new comes in
between. To the client it is opaque; one that is damaged, or that was made for another connection, is refused.
"""

from base64 import b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import orjson
import strawberry

from api.edge.errors import InvalidValue

MAX_PAGE: Final = 100
LARGEST: Final = 10**14
_MAX_CURSOR_LENGTH: Final = 500

Key = tuple[str | int, ...]
"""What an item is ordered by; unique within its connection."""

_T = TypeVar("_T")


@strawberry.type
class PageInfo:
    has_next_page: bool
    has_previous_page: bool
    start_cursor: str | None
    end_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What was asked for: `first` items after the one with the key `after`, or from the start."""

    first: int
    after: Key | None

    @property
    def fetch(self) -> int:
        """How many to read: one more than asked for tells whether there is a next page."""
        return self.first + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[_T]):
    """One page; `cursors` belong to `nodes`, one each."""

    nodes: list[_T]
    cursors: list[str]
    page_info: PageInfo


def window(kind: str, first: int, after: str | None) -> Window:
    """The window that the arguments of a connection ask for; `kind` names the connection.

    Raises InvalidValue.
    """
    if not 1 <= first <= MAX_PAGE:
        raise InvalidValue(f"first is {first}; it must be from 1 to {MAX_PAGE}.")
    return Window(first=first, after=None if after is None else parse_cursor(kind, after))


def page(kind: str, asked: Window, *, items: Sequence[_T], key: Callable[[_T], Key]) -> Page[_T]:
    """The page out of up to `asked.fetch` items, read in order from just after `asked.after`."""
    assert len(items) <= asked.fetch, "more than asked for"
    nodes = list(items[: asked.first])
    cursors = [cursor(kind, key(node)) for node in nodes]
    return Page(
        nodes=nodes,
        cursors=cursors,
        page_info=PageInfo(
            has_next_page=len(items) > asked.first,
            has_previous_page=asked.after is not None,
            start_cursor=cursors[0] if cursors else None,
            end_cursor=cursors[-1] if cursors else None,
        ),
    )


def cursor(kind: str, key: Key) -> str:
    """The opaque form of a key: base64url over JSON, without padding."""
    return urlsafe_b64encode(orjson.dumps([kind, *key])).rstrip(b"=").decode()


def parse_cursor(kind: str, text: str) -> Key:
    """The key in a cursor of this kind of connection. Raises InvalidValue for anything else.

    No number in it is larger than :data:`LARGEST`: sequences and milliseconds stay far below.
    """
    if len(text) <= _MAX_CURSOR_LENGTH and text.isascii():
        try:
            parts = orjson.loads(b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
        except (Base64Error, orjson.JSONDecodeError):
            parts = None
        sound = isinstance(parts, list) and all(
            type(each) is str or (type(each) is int and abs(each) <= LARGEST) for each in parts
        )
        if sound and len(parts) > 1 and parts[0] == kind:
            return tuple(parts[1:])
    raise InvalidValue("after is no cursor of this connection. Send an endCursor that it gave you, or leave it out.")
