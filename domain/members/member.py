"""A member: who he is to us, and how partners know him. Value is in the wallet, never here.

A partner finds a member by its own reference, or by id if the member is linked to it; an unknown
member cannot be told from one that is not linked (SEMANTICS §9.2).
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from domain.ledger.expiry import local_date
from domain.ledger.posting import POINTS
from domain.ledger.wallet import Wallet, available
from domain.programme.facts import MemberFacts
from domain.programme.programme import Programme
from domain.programme.segments import segments_of
from domain.programme.stays import Stays, stays_of
from domain.programme.tiers import held
from domain.store.connection import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What the member told of himself. `locale` and `time_zone` fall back to the programme's."""

    display_name: str | None = None
    email: str | None = None
    phone: str | None = None
    birthday: date | None = None
    locale: str | None = None
    time_zone: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """`linked` are the client ids of the partners that may see the member; `is_joined` once the JOIN entry stands.

    `referrer` is the member by whose code he joined. Who asked to be forgotten `is_erased`. `zones` are those that he
    had, the present one last, as :mod:`domain.members.profile` keeps them; none while he never moved.
    """

    id: str
    joined_at: datetime
    profile: Profile = field(default_factory=Profile)
    linked: frozenset[str] = frozenset()
    tags: tuple[str, ...] = ()
    enrolled_by: str | None = None
    referrer: str | None = None
    is_joined: bool = False
    is_erased: bool = False
    zones: tuple[Mapping[str, Any], ...] = ()


def new_member_id() -> str:
    """A fresh id: 96 random bits, URL-safe."""
    return secrets.token_urlsafe(12)


def is_visible(member: Member, client_id: str) -> bool:
    """Whether that partner may see the member."""
    return client_id in member.linked


def member_facts(member: Member, wallet: Wallet, programme: Programme, *, at: datetime) -> MemberFacts:
    """What rules may know of the member at that instant, on a settled wallet; his segments if one of them asks."""
    zone = zone_of(member, programme)
    today = local_date(at, programme.zone)
    birthday, here = member.profile.birthday, local_date(at, zone)
    bought = None if wallet.purchased_at is None else local_date(wallet.purchased_at, programme.zone)
    facts = MemberFacts(
        id=member.id,
        tier="" if programme.tiers is None else held(programme.tiers, wallet.tier).id,
        plan="" if wallet.plan is None else wallet.plan.plan,
        days_since_joined=max(0, (today - local_date(member.joined_at, programme.zone)).days),
        days_since_purchase=None if bought is None else max(0, (today - bought).days),
        purchases=wallet.purchases,
        visits=wallet.visits,
        spend_minor=wallet.spend_minor,
        birthday_today=birthday is not None and celebrated(birthday, here.year) == here,
        age_years=None if birthday is None else _age(birthday, here),
        locale=member.profile.locale or programme.definition.locales.default,
        points=available(wallet, POINTS, at),
        tags=member.tags,
    )
    return replace(facts, segments=segments_of(facts, programme)) if programme.sees_segments else facts


def celebrated(birthday: date, year: int) -> date:
    """The day on which a birthday is kept in that year: 29 February counts on 28 February in common years (§9.1)."""
    try:
        return birthday.replace(year=year)
    except ValueError:
        return date(year, 2, 28)


def zone_of(member: Member, programme: Programme, *, else_in: str | None = None) -> ZoneInfo:
    """The member's own zone, else that of `else_in` if one is known, else the programme's (SEMANTICS, head)."""
    told = member.profile.time_zone or else_in
    return ZoneInfo(told) if told else programme.zone


def stays(member: Member, programme: Programme) -> Stays:
    """Where his days were counted, and since when (SEMANTICS §8.3)."""
    return stays_of(member.zones, current=member.profile.time_zone, fallback=programme.zone)


async def member_by_id(store: Store, identifier: str) -> Member | None:
    """The member of that id, whoever asks."""
    document = await store.members.find_one({"_id": identifier})
    return None if document is None else member_from(document)


async def member_by_reference(store: Store, client_id: str, reference: str) -> Member | None:
    """The member whom that partner knows by its own reference."""
    document = await store.members.find_one({"references": reference_key(client_id, reference)})
    return None if document is None else member_from(document)


def reference_key(client_id: str, reference: str) -> str:
    """A partner's reference as stored: unique over all partners."""
    return f"{client_id}:{reference}"


def member_from(document: Mapping[str, Any]) -> Member:
    """The member that the store holds."""
    profile = document.get("profile", {})
    birthday = profile.get("birthday")
    return Member(
        id=document["_id"],
        joined_at=document["joined_at"],
        profile=Profile(**{**profile, "birthday": None if birthday is None else date.fromisoformat(birthday)}),
        linked=frozenset(document.get("linked", ())),
        tags=tuple(document.get("tags", ())),
        enrolled_by=document.get("enrolled_by"),
        referrer=document.get("referrer"),
        is_joined=document.get("is_joined", False),
        is_erased="erasing" in document or "erased_at" in document,
        zones=tuple(document.get("zones", ())),
    )


def profile_document(profile: Profile) -> dict[str, Any]:
    """The profile as stored: what was not told is left out."""
    values = {name: getattr(profile, name) for name in Profile.__slots__}
    if profile.birthday is not None:
        values["birthday"] = profile.birthday.isoformat()
    return {name: value for name, value in values.items() if value is not None}


def _age(birthday: date, today: date) -> int:
    return max(0, today.year - birthday.year - (today < celebrated(birthday, today.year)))
