"""Endpoints: whose they are, which of them a message goes to, and what a dead one takes with it."""

import asyncio
from datetime import UTC, datetime, timedelta

from domain.store.connection import Store
from notifications.channel import EndpointKind, Platform
from notifications.devices import (
    MAX_DEVICES,
    Registration,
    device_id,
    devices_of,
    endpoints_of,
    register,
    remove,
    set_aside,
)

NOW = datetime(2026, 7, 6, 8, 30, tzinfo=UTC)


def told(
    installation: str = "phone", value: str = "token-of-a-phone", kind: EndpointKind = EndpointKind.TOKEN
) -> Registration:
    return Registration(installation=installation, platform=Platform.ANDROID, kind=kind, value=value)


async def reached(store: Store, member: str, now: datetime = NOW) -> list[str]:
    return [endpoint.value for endpoint in await endpoints_of(store, member, now=now)]


async def test_an_installation_has_one_endpoint_and_a_migrated_phone_gets_no_two_pushes(store: Store) -> None:
    await register(store, "ana", told(), now=NOW)

    migrated = await register(store, "ana", told(kind=EndpointKind.FID, value="fid-of-the-phone-0001"), now=NOW)

    (endpoint,) = await endpoints_of(store, "ana", now=NOW)
    assert (endpoint.id, endpoint.kind, endpoint.value) == (migrated.id, EndpointKind.FID, "fid-of-the-phone-0001")
    assert endpoint.platform is Platform.ANDROID


async def test_an_endpoint_belongs_to_who_registered_it_last(store: Store) -> None:
    await register(store, "ana", told("ana's"), now=NOW)

    await register(store, "eva", told("eva's"), now=NOW)

    assert await reached(store, "ana") == []
    assert await reached(store, "eva") == ["token-of-a-phone"]


async def test_a_phone_that_another_member_signs_in_on_is_his_whatever_its_endpoint_was(store: Store) -> None:
    await register(store, "ana", told(value="token-of-old"), now=NOW)

    await register(store, "eva", told(value="token-of-new"), now=NOW)

    assert await reached(store, "ana") == []
    assert await reached(store, "eva") == ["token-of-new"]


async def test_twenty_members_who_register_one_endpoint_at_once_end_with_one_owner(store: Store) -> None:
    members = [f"member-{number}" for number in range(20)]

    await asyncio.gather(*(register(store, member, told(f"{member}'s"), now=NOW) for member in members))

    owners = [member for member in members if await reached(store, member)]
    assert len(owners) == 1
    assert await store.devices.count_documents({}) == 1


async def test_one_installation_that_registers_ten_times_at_once_is_one_device(store: Store) -> None:
    await asyncio.gather(*(register(store, "ana", told(value=f"token-{number}"), now=NOW) for number in range(10)))

    assert len(await devices_of(store, "ana", now=NOW)) == 1
    assert await store.devices.count_documents({}) == 1


async def test_the_device_that_was_not_seen_for_longest_makes_room(store: Store) -> None:
    for number in range(MAX_DEVICES + 1):
        at = NOW + timedelta(minutes=number)
        await register(store, "ana", told(f"phone-{number}", f"token-{number}"), now=at)

    devices = await devices_of(store, "ana", now=NOW + timedelta(hours=1))

    assert len(devices) == MAX_DEVICES == 20
    assert [device.value for device in devices][:2] == ["token-20", "token-19"]
    assert device_id("phone-0") not in {device.id for device in devices}


async def test_a_stale_device_is_used_only_where_there_is_no_fresher_one_and_a_gone_one_never(store: Store) -> None:
    await register(store, "ana", told("old", "token-old"), now=NOW)
    await register(store, "eva", told("eva", "token-eva"), now=NOW)
    await register(store, "ana", told("new", "token-new"), now=NOW + timedelta(days=1))

    assert await reached(store, "ana", NOW + timedelta(days=30, milliseconds=-1)) == ["token-new", "token-old"]
    assert await reached(store, "ana", NOW + timedelta(days=30)) == ["token-new"]
    assert await reached(store, "eva", NOW + timedelta(days=30)) == ["token-eva"]
    assert await reached(store, "eva", NOW + timedelta(days=270, milliseconds=-1)) == ["token-eva"]
    assert await reached(store, "eva", NOW + timedelta(days=270)) == []


async def test_a_phone_that_shows_no_push_messages_gets_none(store: Store) -> None:
    silent = Registration(
        installation="phone",
        platform=Platform.IOS,
        kind=EndpointKind.TOKEN,
        value="token-of-a-phone",
        push_permitted=False,
    )

    await register(store, "ana", silent, now=NOW)

    assert await reached(store, "ana") == []
    assert [device.push_permitted for device in await devices_of(store, "ana", now=NOW)] == [False]


async def test_a_dead_endpoint_goes_and_one_that_registered_again_meanwhile_stays(store: Store) -> None:
    await register(store, "ana", told(), now=NOW)
    (read,) = await endpoints_of(store, "ana", now=NOW)

    await register(store, "ana", told(), now=NOW)

    assert await remove(store, read) is False
    assert await set_aside(store, read, now=NOW) is False
    (again,) = await endpoints_of(store, "ana", now=NOW)
    assert await remove(store, again) is True
    assert await remove(store, again) is False
    assert await reached(store, "ana") == []


async def test_an_endpoint_set_aside_is_kept_and_used_no_more_until_it_registers_again(store: Store) -> None:
    await register(store, "ana", told(), now=NOW)
    (read,) = await endpoints_of(store, "ana", now=NOW)

    assert await set_aside(store, read, now=NOW) is True

    assert await reached(store, "ana") == []
    assert [device.is_aside for device in await devices_of(store, "ana", now=NOW)] == [True]
    await register(store, "ana", told(), now=NOW)
    assert await reached(store, "ana") == ["token-of-a-phone"]
