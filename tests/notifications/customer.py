"""A member with a phone who wants offers, and cascades of two kinds that his purchase starts."""

from typing import Final

from domain.members.consent import ConsentPurpose, set_consent
from domain.members.member import Member
from notifications.channel import EndpointKind, Platform
from notifications.devices import Registration, register
from tests.ledger.shop import Shop

CASCADES: Final = """
earning:
  - {id: base, event: purchase, award: {points: {per: "1.00", give: 1}}}
messaging:
  caps: [{id: daily, category: MARKETING, channel: PUSH, count: 1, per: day}]
cascades:
  - id: receipt
    category: TRANSACTIONAL
    trigger: {event: purchase}
    steps: [{send: PUSH, template: thanks}, {wait: PT1H}, {send: PUSH, template: later}]
  - id: offer
    category: MARKETING
    consent: MARKETING
    trigger: {event: purchase}
    steps: [{send: PUSH, template: offer}]
  - id: other
    category: MARKETING
    consent: MARKETING
    trigger: {event: purchase}
    steps: [{send: PUSH, template: offer}]
templates:
  thanks: {en: {title: Thanks, body: "You have {points, number} points."}}
  later: {en: {title: Later, body: "Come again."}}
  offer: {en: {title: Offer, body: "Bread."}}
"""


def phone_of(member: Member) -> str:
    return f"phone-of-{member.id}"


async def customer(shop: Shop) -> Member:
    """A member with a phone, who wants offers and has bought something that nobody did anything about yet."""
    member, now = await shop.member(), shop.clock.now()
    phone = phone_of(member)
    told = Registration(installation=phone, platform=Platform.ANDROID, kind=EndpointKind.FID, value=phone)
    await register(shop.store, member.id, told, now=now)
    await set_consent(shop.store, member.id, ConsentPurpose.MARKETING, is_granted=True, version="1", now=now)
    await shop.buy(member, 12_00)
    return member
