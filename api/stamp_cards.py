"""Stamp cards, as they are at the instant of reading: an expired card is an empty one."""

from datetime import datetime

import strawberry

from domain.ledger.wallet import Wallet
from domain.programme.programme import Programme
from domain.programme.stamp_cards import card_state
from domain.programme.wording import localised


@strawberry.type
class StampCardStatus:
    card: strawberry.ID
    name: str
    stamps: int
    size: int
    completed: int
    expires_at: datetime | None = strawberry.field(
        description="When its stamps expire unless it is full before then; null for a card without stamps."
    )


def stamp_cards(wallet: Wallet, programme: Programme, locale: str, *, now: datetime) -> list[StampCardStatus]:
    """The programme's cards with the member's stamps, in its order.

    A card that a new version made smaller may hold as many stamps as it needs: it is full with the next one.
    """
    cards: list[StampCardStatus] = []
    for card in programme.definition.stamp_cards:
        state = card_state(wallet.progress, card.id).at(now)
        cards.append(
            StampCardStatus(
                card=strawberry.ID(card.id),
                name=localised(programme, card.name, locale),
                stamps=min(state.stamps, card.size),
                size=card.size,
                completed=state.completed,
                expires_at=state.expires_at,
            )
        )
    return cards
