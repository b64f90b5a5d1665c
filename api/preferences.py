"""Preferences: when, and on which channels, a member wants to be left in peace."""

import re
from datetime import datetime, time
from typing import Annotated, Any, Final

import strawberry

from api.context import Context, Info, member_gone, require_member
from api.described import described
from api.faults import Faults, given
from api.problems import InvalidInput, told
from notifications.channel import Channel, MessageCategory
from notifications.preferences import Preferences, Quiet, change_preferences, preferences_of

strawberry.enum(Channel)
strawberry.enum(MessageCategory)

_TIME: Final = re.compile(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]", re.ASCII)


@strawberry.type
class ChannelMute:
    channel: Channel
    category: MessageCategory


@strawberry.type
class NotificationPreferences:
    quiet_from: str | None
    quiet_until: str | None
    paused_until: datetime | None
    muted: list[ChannelMute]


@strawberry.input
class ChannelMuteInput:
    channel: Channel
    category: MessageCategory


@strawberry.input
class NotificationPreferencesInput:
    quiet_from: str | None = strawberry.UNSET
    quiet_until: str | None = strawberry.UNSET
    paused_until: datetime | None = strawberry.UNSET
    muted: list[ChannelMuteInput] | None = strawberry.UNSET


SetPreferencesResult = Annotated[NotificationPreferences | InvalidInput, strawberry.union("SetPreferencesResult")]


@strawberry.type
class PreferencesMutation:
    @described(
        "Fields that are left out stay as they are; null clears one, and the programme's quiet hours apply again. "
        "Times are HH:MM in the member's zone. The inbox is the record of every message and cannot be muted. member"
    )
    async def set_preferences(
        self, info: Info, preferences: Annotated[NotificationPreferencesInput, strawberry.argument(name="input")]
    ) -> SetPreferencesResult:
        context, faults = info.context, Faults()
        changes = _read(preferences, faults, now=context.now)
        if (wrong := faults.problem) is not None:
            return told(wrong, NotificationPreferences)
        changed = await change_preferences(context.wallet.store, require_member(info).member_id, changes)
        if changed is None:
            raise member_gone()
        return preferences_type(changed)


async def member_preferences(context: Context, member: str) -> NotificationPreferences:
    """The member's own preferences; null where the programme's hold."""
    return preferences_type(await preferences_of(context.wallet.store, member))


def preferences_type(preferences: Preferences) -> NotificationPreferences:
    quiet = preferences.quiet
    return NotificationPreferences(
        quiet_from=None if quiet is None else quiet.start.isoformat("minutes"),
        quiet_until=None if quiet is None else quiet.end.isoformat("minutes"),
        paused_until=preferences.paused_until,
        muted=[ChannelMute(channel=channel, category=category) for channel, category in sorted(preferences.muted)],
    )


def _read(told_preferences: NotificationPreferencesInput, faults: Faults, *, now: datetime) -> dict[str, Any]:
    """What changes, by the names of :class:`Preferences`."""
    changes: dict[str, Any] = {}
    ends = (told_preferences.quiet_from, told_preferences.quiet_until)
    if any(end is not strawberry.UNSET for end in ends):
        changes["quiet"] = _quiet(given(ends[0]), given(ends[1]), faults)
    if told_preferences.paused_until is not strawberry.UNSET:
        paused_until = told_preferences.paused_until
        if paused_until is not None and paused_until <= now:
            faults.add("pausedUntil", "It is over already; send a later instant, or null for no pause.")
        changes["paused_until"] = paused_until
    if told_preferences.muted is not strawberry.UNSET:
        muted = told_preferences.muted or []
        for index, mute in enumerate(muted):
            if mute.channel is Channel.INBOX:
                message = "The inbox is the record of every message and cannot be muted; mute PUSH, EMAIL or SMS."
                faults.add(f"muted.{index}.channel", message)
        changes["muted"] = frozenset((mute.channel, mute.category) for mute in muted)
    return changes


def _quiet(start: str | None, end: str | None, faults: Faults) -> Quiet | None:
    for path, text in (("quietFrom", start), ("quietUntil", end)):
        if text is not None and not _TIME.fullmatch(text):
            faults.add(path, "It is not a time of day, such as 22:00.")
    if (start is None) != (end is None):
        faults.add("quietFrom" if start is None else "quietUntil", "Send both ends of the quiet hours, or neither.")
    elif start is not None and start == end:
        faults.add("quietUntil", "The quiet hours start when they end; pausedUntil is for whole days.")
    if start is None or end is None or faults.found:
        return None
    return Quiet(start=time.fromisoformat(start), end=time.fromisoformat(end))
