"""The households of the receipts as members: with phones, addresses, consents and zones of their own.

They join before the receipts come, half of them on an evening and half in the next morning, through the API as a
till and a phone would. Who has what goes round by different steps, so that most combinations are there.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time
from typing import Any, Final
from zoneinfo import ZoneInfo

import httpx

from api.auth.tokens import open_tokens
from domain.settings import read_settings
from domain.store.connection import open_store
from tests.cascades_by_hand import NIGHT, Person
from tests.counted_by_hand import ZONE

JOINED_AT: Final = (datetime(2017, 1, 1, tzinfo=UTC), datetime(2017, 1, 1, 16, tzinfo=UTC))
ZONES: Final = (
    ZONE,
    ZoneInfo("America/Los_Angeles"),
    ZoneInfo("Europe/Ljubljana"),
    ZONE,
    ZoneInfo("Asia/Almaty"),
)
PHONES: Final = (1, 2, 1, 0)
LONG_NIGHT: Final = (time(20), time(11))
ENROL: Final = """
mutation($input: EnrolMemberInput!) { enrolMember(input: $input) { ... on MemberEnrolled { member { id } } } }
"""
REGISTER: Final = "mutation($input: DeviceInput!) { registerDevice(input: $input) { ... on Device { id } } }"
CONSENT: Final = 'mutation { setConsent(purpose: MARKETING, granted: true, version: "1") { granted } }'
PREFER: Final = """
mutation($input: NotificationPreferencesInput!) { setPreferences(input: $input) { __typename } }
"""


def people_of(households: Iterable[str]) -> dict[str, Person]:
    """By household, in the order of their first receipts."""
    return {
        household: Person(
            name=f"Household {household}",
            joined_at=JOINED_AT[number % 3 == 2],
            zone=ZONES[number % 5],
            phones=PHONES[number % 4],
            email=number % 2 == 0,
            sms=number % 3 == 0,
            wants_offers=number % 6 != 5,
            quiet=LONG_NIGHT if number % 7 == 1 else NIGHT,
        )
        for number, household in enumerate(dict.fromkeys(households))
    }


def endpoints_of(household: str, person: Person) -> list[str]:
    return [f"phone-{number}-of-{household}" for number in range(person.phones)]


@dataclass(frozen=True, kw_only=True)
class Api:
    """A server, asked without a wait for rates: `variables` are those that it runs by."""

    url: str
    variables: Mapping[str, str]

    def ask(self, query: str, variables: Mapping[str, Any] | None = None, *, token: str | None = None) -> Any:
        """The data of the answer; None where it is refused."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        body = {"query": query, "variables": dict(variables or {})}
        # A year of value that falls due and of messages is done before the clock's answer comes.
        return httpx.post(f"{self.url}/graphql", json=body, headers=headers, timeout=3600).json().get("data")

    def move_to(self, instant: datetime) -> None:
        """Moves the clock on; it stays where it is if it stands after the instant."""
        self.ask("mutation($to: DateTime!) { advanceClock(to: $to) { done } }", {"to": instant.isoformat()})

    def member_tokens(self, members: Sequence[str], *, now: datetime) -> dict[str, str]:
        """A token of each member's own app, of the instant."""

        async def issued() -> dict[str, str]:
            told = read_settings(self.variables)
            store = await open_store(told)
            tokens = await open_tokens(store, told, now)
            made = {member: (await tokens.issue_member_token(member, now)).text for member in members}
            await store.close()
            return made

        return asyncio.run(issued())


def settle_in(api: Api, people: Mapping[str, Person], till_token: Callable[[], str]) -> None:
    """Has all join, at their instants, with all that they have. A worker must not run yet: it would not wait for it."""
    for joined_at in JOINED_AT:
        api.move_to(joined_at)
        members: dict[str, str] = {}
        for household, person in people.items():
            if person.joined_at == joined_at:
                told = {
                    "reference": household,
                    "profile": profile_of(household, person),
                    "idempotencyKey": f"joins-{household}",
                }
                joined = api.ask(ENROL, {"input": told}, token=till_token())
                members[household] = joined["enrolMember"]["member"]["id"]
        tokens = api.member_tokens(list(members.values()), now=joined_at)
        for household, member in members.items():
            equip(api, household, people[household], token=tokens[member])


def equip(api: Api, household: str, person: Person, *, token: str) -> None:
    for value in endpoints_of(household, person):
        device = {"installation": f"app-{value}", "platform": "ANDROID", "kind": "FID", "value": value}
        assert api.ask(REGISTER, {"input": device}, token=token) is not None
    if person.wants_offers:
        assert api.ask(CONSENT, token=token) is not None
    if person.quiet != NIGHT:
        start, end = person.quiet
        night = {"quietFrom": start.isoformat("minutes"), "quietUntil": end.isoformat("minutes")}
        assert api.ask(PREFER, {"input": night}, token=token) is not None


def profile_of(household: str, person: Person) -> dict[str, str]:
    return {
        "displayName": person.name,
        "timeZone": person.zone.key,
        **({"email": f"{household}@example.com"} if person.email else {}),
        **({"phone": f"+1212555{int(household):04}"} if person.sms else {}),
    }
