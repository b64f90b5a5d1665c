"""The households of the receipts as members: with phones, addresses, consents and zones of their own.

They join before the receipts come, half of them on an evening and half in the next morning, through the API as a
till and a phone would. Who has what goes round by different steps, so that most combinations are there. When the year
is over most come back: they open or dismiss messages, read their inbox, and go past a shop.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from http import HTTPStatus
from itertools import groupby
from time import sleep
from typing import Any, Final
from zoneinfo import ZoneInfo

from api.auth.tokens import open_tokens
from domain.settings import read_settings
from domain.store.connection import open_store
from tests.cascades_by_hand import NIGHT, Act, Habit, Person
from tests.counted_by_hand import ZONE
from tests.wallet_command import HTTP

JOINED_AT: Final = (datetime(2017, 1, 1, tzinfo=UTC), datetime(2017, 1, 1, 16, tzinfo=UTC))
ZONES: Final = (
    ZONE,
    ZoneInfo("America/Los_Angeles"),
    ZoneInfo("Europe/Ljubljana"),
    ZONE,
    ZoneInfo("Asia/Almaty"),
)
PHONES: Final = (1, 2, 1, 0)
BACK_AT: Final = datetime(2018, 1, 1, 15, tzinfo=UTC)
HABITS: Final = (
    Habit("OPENED", timedelta(hours=6)),
    Habit("DISMISSED", timedelta(hours=2)),
    Habit("READ", timedelta(days=2, hours=3)),
    Habit("READ", timedelta(hours=1)),
    Habit("OPENED", timedelta(days=8, hours=1)),
    None,
    Habit("OPENED", timedelta(days=6, hours=1)),
    Habit("READ", timedelta(days=6, hours=1)),
)
"""Some come too late for one wait or for both."""
LONG_NIGHT: Final = (time(20), time(11))
ENROL: Final = """
mutation($input: EnrolMemberInput!) { enrolMember(input: $input) { ... on MemberEnrolled { member { id } } } }
"""
REGISTER: Final = "mutation($input: DeviceInput!) { registerDevice(input: $input) { ... on Device { id } } }"
CONSENT: Final = """
mutation($to: ConsentPurpose!) { setConsent(purpose: $to, granted: true, version: "1") { granted } }
"""
PREFER: Final = """
mutation($input: NotificationPreferencesInput!) { setPreferences(input: $input) { __typename } }
"""
IN_THE_INBOX: Final = "{ me { inbox(first: 20) { nodes { id cascade sentAt } } } }"
READ: Final = "mutation($ids: [ID!]!) { markRead(ids: $ids) }"
REPORT: Final = """
mutation($delivery: ID!, $event: DeliveryEvent!, $at: DateTime!) {
  reportDelivery(delivery: $delivery, event: $event, at: $at) { late }
}
"""
CROSS: Final = "mutation($input: TransitionInput!) { reportTransition(input: $input) { ignored } }"


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
            back_at=None if number % 9 == 8 else BACK_AT,
            habit=HABITS[number % 8],
            locates=number % 4 != 3,
        )
        for number, household in enumerate(dict.fromkeys(households))
    }


def endpoints_of(household: str, person: Person) -> list[str]:
    return [f"phone-{number}-of-{household}" for number in range(person.phones)]


@dataclass(frozen=True, kw_only=True)
class Api:
    """A server, asked as often as it lets: `variables` are those that it runs by."""

    url: str
    variables: Mapping[str, str]

    def answer(self, query: str, variables: Mapping[str, Any] | None = None, *, token: str | None = None) -> Any:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        body = {"query": query, "variables": dict(variables or {})}
        while True:
            # A year of value that falls due and of messages is done before the clock's answer comes.
            response = HTTP.post(f"{self.url}/graphql", json=body, headers=headers, timeout=3600)
            if response.status_code != HTTPStatus.TOO_MANY_REQUESTS:
                return response.json()
            sleep(int(response.headers["Retry-After"]))

    def ask(self, query: str, variables: Mapping[str, Any] | None = None, *, token: str | None = None) -> Any:
        answered = self.answer(query, variables, token=token)
        assert "errors" not in answered, (query, variables, answered)
        return answered["data"]

    def move_to(self, instant: datetime) -> None:
        """Moves the clock on; it stays where it is if it stands after the instant."""
        asked = "mutation($to: DateTime!) { advanceClock(to: $to) { done } }"
        answered = self.answer(asked, {"to": instant.isoformat()})
        assert "errors" not in answered or "now" in answered["errors"][0]["extensions"], answered

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


def live_on(api: Api, people: Mapping[str, Person], members: Mapping[str, str], acts: Mapping[str, list[Act]]) -> None:
    """Has all do what they do once the year is over, at its instants: `acts` by household."""
    to_do = sorted(((act, household) for household, each in acts.items() for act in each), key=lambda each: each[0].at)
    for at, together in groupby(to_do, key=lambda each: each[0].at):
        api.move_to(at)
        doing = list(together)
        tokens = api.member_tokens([members[household] for _, household in doing], now=at)
        for act, household in doing:
            do(api, household, people[household], act, token=tokens[members[household]])


def do(api: Api, household: str, person: Person, act: Act, *, token: str) -> None:
    match act.what:
        case "BACK":
            equip(api, household, person, token=token)
            if person.locates:
                assert api.ask(CONSENT, {"to": "LOCATION"}, token=token) is not None
        case "DWELL":
            told = {"place": "store-330", "transition": "DWELL", "occurredAt": act.at.isoformat()}
            answered = api.ask(CROSS, {"input": told}, token=token)
            assert (household, act, answered["reportTransition"]) == (household, act, {"ignored": act.ignored})
        case "READ":
            assert api.ask(READ, {"ids": [message(api, act, token=token)]}, token=token) == {"markRead": 1}
        case _:
            told = {"delivery": message(api, act, token=token), "event": act.what, "at": act.at.isoformat()}
            assert api.ask(REPORT, told, token=token) is not None


def message(api: Api, act: Act, *, token: str) -> str:
    """The one in the inbox that the act is about."""
    assert act.of is not None
    cascade, came_at = act.of
    nodes = api.ask(IN_THE_INBOX, token=token)["me"]["inbox"]["nodes"]
    of_it = [item for item in nodes if item["cascade"] == cascade]
    nearest: str = min(of_it, key=lambda item: abs(datetime.fromisoformat(item["sentAt"]) - came_at))["id"]
    return nearest


def equip(api: Api, household: str, person: Person, *, token: str) -> None:
    for value in endpoints_of(household, person):
        device = {"installation": f"app-{value}", "platform": "ANDROID", "kind": "FID", "value": value}
        api.ask(REGISTER, {"input": device}, token=token)
    if person.wants_offers:
        assert api.ask(CONSENT, {"to": "MARKETING"}, token=token) is not None
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
