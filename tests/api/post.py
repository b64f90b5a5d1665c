"""Members with phones, and what the phones show: the API in a sandbox that sends through FCM's stand-in."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from api.app import build_app
from api.context import Services
from api.schema import build_schema
from domain.settings import Settings
from domain.store.connection import Store
from notifications.carriers import opened_carriers
from tests.api.shop import Shop, opened_client, opened_shop
from tests.notifications.phones import Phones

REGISTER = "mutation($input: DeviceInput!) { registerDevice(input: $input) { ... on Device { id } } }"
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


async def with_phone(shop: Shop, member: str, *, endpoint: str | None = None) -> str:
    """The endpoint of a phone that the member registered now."""
    value = endpoint or f"fid-{member}"
    told = {"installation": f"on-{value}", "platform": "ANDROID", "kind": "FID", "value": value}
    await shop.phone(member, REGISTER, {"input": told})
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
