"""Tags: what staff note of a member for rules and segments to go by, such as `bakery`. Replaced as a whole."""

import re
from collections.abc import Sequence
from typing import Final

from domain.members.member import Member, member_from
from domain.store.connection import Store

MAX_TAGS: Final = 50
TAG: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}", re.ASCII)


async def set_tags(store: Store, member: str, tags: Sequence[str]) -> Member | None:
    """The member with just these tags, each once; None if he is not there."""
    assert len(tags) <= MAX_TAGS, len(tags)
    assert all(TAG.fullmatch(tag) for tag in tags), tags
    document = await store.members.find_one_and_update(
        {"_id": member, "erasing": None, "erased_at": None},
        {"$set": {"tags": list(dict.fromkeys(tags))}},
        return_document=True,
    )
    return None if document is None else member_from(document)
