"""Preferences: when and on which channels a member wants to be left in peace (SEMANTICS §10.8, §10.9).

They stand on the member's own document, so that a send reads one. The inbox is the record of every message and
cannot be muted; all else can, also receipts on a phone that lies on the table. A pause is a long quiet hour: it
holds back what quiet hours hold back.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, time
from typing import Any

from domain.store.connection import Store
from notifications.channel import Channel, MessageCategory


@dataclass(frozen=True, slots=True, kw_only=True)
class Quiet:
    """`[start, end)` in the member's time; it belongs to the evening on which it starts, and may go past midnight."""

    start: time
    end: time


@dataclass(frozen=True, slots=True, kw_only=True)
class Preferences:
    """`quiet` is the member's own quiet hours, None where the programme's hold."""

    quiet: Quiet | None = None
    paused_until: datetime | None = None
    muted: frozenset[tuple[Channel, MessageCategory]] = frozenset()


def allows(preferences: Preferences, channel: Channel, category: MessageCategory, *, now: datetime) -> bool:
    """Whether the member wants messages of that category on that channel at `now`, quiet hours apart."""
    if channel is Channel.INBOX:
        return True
    if (channel, category) in preferences.muted:
        return False
    return not is_paused(preferences, category, now=now)


def is_paused(preferences: Preferences, category: MessageCategory, *, now: datetime) -> bool:
    """Whether the member put messages of that category off; TRANSACTIONAL ones never are."""
    if category is MessageCategory.TRANSACTIONAL or preferences.paused_until is None:
        return False
    return now < preferences.paused_until


def preferences_from(document: Mapping[str, Any]) -> Preferences:
    """The preferences in the member's stored document."""
    stored = document.get("preferences", {})
    quiet = stored.get("quiet")
    return Preferences(
        quiet=None
        if quiet is None
        else Quiet(start=time.fromisoformat(quiet["start"]), end=time.fromisoformat(quiet["end"])),
        paused_until=stored.get("paused_until"),
        muted=frozenset((Channel(channel), MessageCategory(category)) for channel, category in stored.get("muted", ())),
    )


async def preferences_of(store: Store, member: str) -> Preferences:
    """The member's preferences."""
    return preferences_from(await store.members.find_one({"_id": member}, {"preferences": True}) or {})


async def change_preferences(store: Store, member: str, changes: Mapping[str, Any]) -> Preferences | None:
    """The preferences after it; None if the member is not there.

    Names are those of :class:`Preferences`; what is not named stays as it is, so that two phones do not undo each
    other.
    """
    assert changes.keys() <= set(Preferences.__slots__), changes.keys()
    stored = {f"preferences.{name}": _stored(value) for name, value in changes.items()}
    told = {name: value for name, value in stored.items() if value is not None}
    update = {"$set": told} if told else {}
    if forgotten := {name: "" for name, value in stored.items() if value is None}:
        update["$unset"] = forgotten
    if update:
        await store.members.update_one({"_id": member}, update)
    document = await store.members.find_one({"_id": member}, {"preferences": True})
    return None if document is None else preferences_from(document)


def _stored(value: Any) -> Any:
    match value:
        case Quiet():
            return {"start": value.start.isoformat("minutes"), "end": value.end.isoformat("minutes")}
        case frozenset():
            return sorted([channel.value, category.value] for channel, category in value) or None
        case _:
            return value
