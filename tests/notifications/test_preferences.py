"""What a member wants to be left in peace from, to the instant."""

from datetime import UTC, datetime, timedelta

import pytest

from notifications.channel import Channel, MessageCategory
from notifications.preferences import Preferences, allows

NOW = datetime(2026, 7, 6, 8, 30, tzinfo=UTC)
PUSH, SMS, INBOX = Channel.PUSH, Channel.SMS, Channel.INBOX
TRANSACTIONAL, SERVICE, MARKETING = MessageCategory


def test_a_mute_is_of_one_category_on_one_channel() -> None:
    muted = Preferences(muted=frozenset({(PUSH, MARKETING), (PUSH, TRANSACTIONAL)}))

    allowed = {(channel, category) for channel in Channel for category in MessageCategory}
    allowed = {each for each in allowed if allows(muted, *each, now=NOW)}

    assert len(allowed) == len(Channel) * len(MessageCategory) - 2
    assert allowed.isdisjoint(muted.muted)


@pytest.mark.parametrize(
    ("channel", "category", "now", "is_allowed"),
    [
        (PUSH, MARKETING, NOW - timedelta(milliseconds=1), False),
        (PUSH, MARKETING, NOW, True),
        (SMS, SERVICE, NOW - timedelta(milliseconds=1), False),
        (PUSH, TRANSACTIONAL, NOW - timedelta(milliseconds=1), True),
        (INBOX, MARKETING, NOW - timedelta(milliseconds=1), True),
    ],
)
def test_a_pause_holds_back_all_but_transactional_messages_and_the_record(
    channel: Channel, category: MessageCategory, now: datetime, is_allowed: bool
) -> None:
    assert allows(Preferences(paused_until=NOW), channel, category, now=now) is is_allowed
