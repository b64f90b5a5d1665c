"""What an entry awarded besides value: badges, vouchers, stamps, streaks, challenges, a tier."""

import strawberry

from api.bonuses import Bonus
from api.streaks import StreakStatus
from api.vouchers import Voucher
from domain.ledger.entry import Entry


@strawberry.type
class BadgeAward:
    badge: strawberry.ID
    level: int


@strawberry.type
class StampAward:
    card: strawberry.ID
    stamps: int = strawberry.field(description="How many it gave; negative when a return took some.")
    completed: int


@strawberry.type
class Awards:
    badges: list[BadgeAward]
    vouchers: list[Voucher]
    bonuses: list[Bonus]
    stamps: list[StampAward]
    streaks: list[StreakStatus]
    challenges: list[strawberry.ID]
    tier: strawberry.ID | None


def badge_awards(entry: Entry) -> list[BadgeAward]:
    """The levels of badges that the entry awarded, each by itself."""
    marks = entry.marks.get("badges", {})
    return [
        BadgeAward(badge=strawberry.ID(badge), level=level) for badge, mark in marks.items() for level in mark["levels"]
    ]


def stamp_awards(entry: Entry) -> list[StampAward]:
    """The stamps that the entry gave or took, and how many cards it filled."""
    marks = entry.marks.get("stamp_cards", {})
    return [
        StampAward(card=strawberry.ID(card), stamps=mark["stamps"], completed=mark["completed"])
        for card, mark in marks.items()
    ]


def challenges_won(entry: Entry) -> list[strawberry.ID]:
    """The challenges whose target the entry reached."""
    marks = entry.marks.get("challenges", {})
    return [strawberry.ID(challenge) for challenge, mark in marks.items() if mark.get("completed")]
