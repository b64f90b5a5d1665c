"""Members with phones, and what the phones show: the API in a sandbox that sends through FCM's stand-in."""

import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

from api.context import Services
from api.edge.app import build_app
from api.schema import build_schema
from domain.settings import Settings
from domain.store.connection import Store
from notifications.carriers import opened_carriers
from tests.api.shop import Shop, data, new_key, opened_client, opened_shop
from tests.notifications.phones import Phones

REGISTER = "mutation($input: DeviceInput!) { registerDevice(input: $input) { __typename ... on Problem { message } } }"
CONSENT = """
mutation($purpose: ConsentPurpose!, $granted: Boolean!) {
  setConsent(purpose: $purpose, granted: $granted, version: "1") { granted }
}
"""
INBOX = "{ me { inbox { nodes { id title cascade } } } }"


@asynccontextmanager
async def opened_post(store: Store, settings: Settings, phones: Phones) -> AsyncIterator[Shop]:
    """A shop whose pushes go to those phones."""
    with_phones = replace(settings, fcm_url=phones.url)
    async with opened_carriers(with_phones) as carriers, opened_shop(store, with_phones) as shop:
        services: Services = replace(shop.services, carriers=carriers)
        async with opened_client(build_app(services, build_schema(sandbox=True))) as http:
            yield replace(shop, services=services, http=http)
        await services.close()


async def with_phone(shop: Shop, member: str, *, endpoint: str | None = None, **device: Any) -> str:
    """The endpoint of a phone that the member registered now."""
    value = endpoint or f"fid-{member}"
    told = {"installation": f"on-{value}", "platform": "ANDROID", "kind": "FID", "value": value, **device}
    answered = await shop.phone(member, REGISTER, {"input": told})
    assert answered["registerDevice"] == {"__typename": "Device"}, answered
    return value


async def consents(shop: Shop, member: str, purpose: str = "MARKETING", *, granted: bool = True) -> None:
    await shop.phone(member, CONSENT, {"purpose": purpose, "granted": granted})


async def runs(shop: Shop, member: str, cascade: str) -> list[dict[str, Any]]:
    """The member's runs of the cascade, newest first, as staff see them."""
    asked = """
    query($member: ID!, $cascade: ID) { cascadeRuns(member: $member, cascade: $cascade) { nodes {
      id cascade definitionVersion state arm startedAt endedAt dueAt history { at step what reason delivery }
    } } }
    """
    found = await shop.staff(asked, {"member": member, "cascade": cascade}, scopes=("staff:members",))
    nodes: list[dict[str, Any]] = found["cascadeRuns"]["nodes"]
    return nodes


async def inbox(shop: Shop, member: str) -> list[str]:
    """The titles in the member's inbox, newest first."""
    return [item["title"] for item in (await shop.phone(member, INBOX))["me"]["inbox"]["nodes"]]


async def publish(shop: Shop, *cascades: Mapping[str, Any], **sections: Any) -> None:
    """Puts in force a programme with those cascades and sections. Where no texts are given, each template says its id.

    It has no caps and no quiet hours but those given, and members join it with nothing.
    """
    named = {name for cascade in cascades for name in _templates(cascade["steps"])}
    texts = {name: {"en": {"title": name, "body": name}} for name in sorted(named)} | sections.pop("templates", {})
    source = {
        "programme": "corner",
        "name": {"en": "Corner"},
        "currency": "USD",
        "time_zone": "America/New_York",
        "locales": {"default": "en", "supported": ["en"]},
        "earning": [{"id": "base", "event": "purchase", "award": {"points": {"per": "1.00", "give": 1}}}],
        "cascades": [*cascades],
        "templates": texts,
        **sections,
    }
    asked = "mutation($s: String!, $v: Int!) { publishProgramme(source: $s, expectedVersion: $v) { __typename %s } }"
    asked %= "... on ProgrammeInvalid { problems { path message } }"
    version = data(await shop.ask("{ programme { version } }"))["programme"]["version"]
    variables = {"s": json.dumps(source, default=str), "v": version}
    answered = await shop.staff(asked, variables, scopes=("staff:programme",))
    assert answered["publishProgramme"] == {"__typename": "ProgrammePublished"}, answered


def _templates(steps: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for step in steps:
        if "template" in step:
            yield step["template"]
        yield from (variant["template"] for variant in step.get("variants", ()))
        yield from _templates(step.get("then", ()))
        yield from _templates(step.get("else", ()))


def a_cascade(identifier: str, *steps: Mapping[str, Any], **keys: Any) -> dict[str, Any]:
    """A SERVICE cascade that the activity of its own name starts; without steps it pushes a template of that name."""
    return {
        "id": identifier,
        "category": "SERVICE",
        "trigger": {"event": f"activity.{identifier}"},
        "steps": [*steps] or [{"send": "PUSH", "template": identifier}],
        **keys,
    }


def push(template: str, **keys: Any) -> dict[str, Any]:
    """The step that pushes the template."""
    return {"send": "PUSH", "template": template, **keys}


async def tell(shop: Shop, member: str, activity: str, **told: Any) -> None:
    """The till reports what the member did."""
    asked = """
    mutation($member: MemberLookup!, $input: ActivityInput!) {
      recordActivity(member: $member, input: $input) { __typename ... on Problem { message } }
    }
    """
    wanted = {"member": {"id": member}, "input": {"type": activity, "idempotencyKey": new_key(), **told}}
    answered = await shop.till(asked, wanted)
    assert answered["recordActivity"] == {"__typename": "ActivityRecorded"}, answered


async def report(shop: Shop, member: str, delivery: str, event: str = "OPENED") -> bool:
    """Whether the member's phone came late with what became of the message."""
    asked = """
    mutation($delivery: ID!, $event: DeliveryEvent!, $at: DateTime!) {
      reportDelivery(delivery: $delivery, event: $event, at: $at) { late }
    }
    """
    told = {"delivery": delivery, "event": event, "at": "2026-07-06T08:30:00Z"}
    late: bool = (await shop.phone(member, asked, told))["reportDelivery"]["late"]
    return late


async def the_run(shop: Shop, member: str, cascade: str) -> dict[str, Any]:
    """The one run of the cascade that the member has."""
    (run,) = await runs(shop, member, cascade)
    return run


def said(run: Mapping[str, Any]) -> list[str]:
    """What the run's history says after its start: what was decided and, where there is one, the reason."""
    assert run["history"][0]["what"] == "started", run
    return [line(event) for event in run["history"][1:]]


def line(event: Mapping[str, Any]) -> str:
    """One line of a history."""
    return event["what"] if event["reason"] is None else f"{event['what']}: {event['reason']}"


def delivery_in(run: Mapping[str, Any], number: int = 0) -> str:
    """The id of the run's n-th message."""
    told: dict[str, None] = dict.fromkeys(event["delivery"] for event in run["history"] if event["delivery"])
    return list(told)[number]


async def later(shop: Shop, **length: float) -> None:
    """The clock goes on by that."""
    await shop.advance((shop.clock.now() + timedelta(**length)).isoformat())
