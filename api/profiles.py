"""Profiles: what a member has told about himself, read together with everything that is wrong with it."""

import re
from datetime import date
from functools import lru_cache
from typing import Final
from zoneinfo import available_timezones

import strawberry
from babel.core import Locale, UnknownLocaleError

from api.faults import Faults, given
from domain.members.member import Member
from domain.members.member import Profile as MemberProfile
from domain.programme.programme import Programme

FIRST_BIRTHDAY: Final = date(1900, 1, 1)
LONGEST_NAME: Final = 200
LONGEST_EMAIL: Final = 254
_EMAIL: Final = re.compile(r"[^@\s\x00-\x1f]{1,64}@[^@\s.\x00-\x1f]+(?:\.[^@\s.\x00-\x1f]+)+")
_PHONE: Final = re.compile(r"\+[1-9][0-9]{6,14}", re.ASCII)
_LOCALE: Final = re.compile(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8}){0,3}", re.ASCII)


@strawberry.type
class Profile:
    display_name: str | None
    email: str | None
    phone: str | None
    birthday: date | None
    locale: str
    time_zone: str


@strawberry.input
class ProfileInput:
    display_name: str | None = strawberry.UNSET
    email: str | None = strawberry.UNSET
    phone: str | None = strawberry.UNSET
    birthday: date | None = strawberry.UNSET
    locale: str | None = strawberry.UNSET
    time_zone: str | None = strawberry.UNSET
    referral_code: str | None = strawberry.UNSET


def profile_type(member: Member, programme: Programme) -> Profile:
    """The profile, with the programme's locale and zone where the member named none."""
    told = member.profile
    return Profile(
        display_name=told.display_name,
        email=told.email,
        phone=told.phone,
        birthday=told.birthday,
        locale=told.locale or programme.definition.locales.default,
        time_zone=told.time_zone or programme.definition.time_zone,
    )


def read_profile(told: ProfileInput | None, faults: Faults, *, today: date, path: str = "profile.") -> MemberProfile:
    """The profile of an input; `faults` gets what cannot be taken, each under its name after `path`."""
    if told is None:
        return MemberProfile()
    name, email, phone = given(told.display_name), given(told.email), given(told.phone)
    birthday, locale, time_zone = given(told.birthday), given(told.locale), given(told.time_zone)
    if name is not None:
        faults.text(f"{path}displayName", name, longest=LONGEST_NAME)
    if email is not None and (len(email) > LONGEST_EMAIL or not _EMAIL.fullmatch(email)):
        faults.add(f"{path}email", "It is not an e-mail address, such as ana@example.com.")
    if phone is not None and not _PHONE.fullmatch(phone):
        faults.add(f"{path}phone", "It is not an international phone number (E.164), such as +38640123456.")
    if birthday is not None and not FIRST_BIRTHDAY <= birthday < today:
        faults.add(f"{path}birthday", f"It must be a day in the past, from {FIRST_BIRTHDAY.isoformat()} on.")
    if locale is not None and not is_locale(locale):
        faults.add(f"{path}locale", "It is not a known language tag (BCP 47), such as sl or en-GB.")
    if time_zone is not None and not is_zone(time_zone):
        faults.add(f"{path}timeZone", "It is not an IANA time zone, such as Europe/Ljubljana.")
    return MemberProfile(
        display_name=name, email=email, phone=phone, birthday=birthday, locale=locale, time_zone=time_zone
    )


def referral_code(told: ProfileInput | None) -> str | None:
    """The referral code of an input, as it was typed."""
    code: str | None = given(given(told).referral_code) if given(told) is not None else None
    return code


def is_locale(tag: str) -> bool:
    """Whether CLDR knows the BCP 47 tag."""
    if not _LOCALE.fullmatch(tag):
        return False
    try:
        Locale.parse(tag, sep="-")
    except (UnknownLocaleError, ValueError):
        return False
    return True


def is_zone(name: str) -> bool:
    """Whether the IANA data base has the zone."""
    return name in _zones()


@lru_cache(maxsize=1)
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())
