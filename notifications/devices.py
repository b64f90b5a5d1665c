"""Devices: where a member's push messages go. One for each installation of the app, found by FID or by token.

An endpoint belongs to the member who registered it last, and so does an installation: whoever signs in on a phone
gets its messages from then on, and nobody who had it before does. Two indexes see to it, also when two register at
once. A device that has not been seen for 30 days is stale and is used only where the member has no fresher one; after
270 days it is gone, as it is for Firebase.
"""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Final

from pymongo.errors import DuplicateKeyError

from domain.store.connection import Store
from notifications.channel import Endpoint, EndpointKind, Platform

STALE_AFTER: Final = timedelta(days=30)
GONE_AFTER: Final = timedelta(days=270)
MAX_DEVICES: Final = 20
_ATTEMPTS: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """What an installation of the app tells of itself; `installation` is its own name for itself, while it lives."""

    installation: str
    platform: Platform
    kind: EndpointKind
    value: str = field(repr=False)
    app_version: str | None = None
    locale: str | None = None
    time_zone: str | None = None
    push_permitted: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A registered installation. `registration` is new with each; `is_aside` when its endpoint is not ours to use."""

    id: str
    member: str
    platform: Platform
    kind: EndpointKind
    value: str = field(repr=False)
    app_version: str | None
    locale: str | None
    time_zone: str | None
    push_permitted: bool
    last_seen_at: datetime
    registration: str
    is_aside: bool = False


def device_id(installation: str) -> str:
    """The id of the installation's device: 96 bits, hexadecimal, so that no address stands in ids and logs."""
    return sha256(installation.encode()).hexdigest()[:24]


def usable(devices: Iterable[Device], *, now: datetime) -> list[Device]:
    """The devices that a message goes to: all that were seen lately, or else the stale ones."""
    permitted = [
        device
        for device in devices
        if device.push_permitted and not device.is_aside and now < device.last_seen_at + GONE_AFTER
    ]
    return [device for device in permitted if now < device.last_seen_at + STALE_AFTER] or permitted


def locale_among(devices: Iterable[Device]) -> str | None:
    """The language of the device seen last of those that told one; the devices come the last seen first."""
    return next((device.locale for device in devices if device.locale is not None), None)


def time_zone_among(devices: Iterable[Device]) -> str | None:
    """The IANA zone of the device seen last of those that told one; the devices come the last seen first."""
    return next((device.time_zone for device in devices if device.time_zone is not None), None)


def endpoints(devices: Sequence[Device], *, now: datetime) -> list[Endpoint]:
    """Where a message to the member of those devices goes."""
    return [
        Endpoint(
            id=device.id,
            kind=device.kind,
            value=device.value,
            platform=device.platform,
            registration=device.registration,
        )
        for device in usable(devices, now=now)
    ]


async def endpoints_of(store: Store, member: str, *, now: datetime) -> list[Endpoint]:
    """Where a push message to the member goes, the device seen last first; none when push does not reach him."""
    return endpoints(await devices_of(store, member, now=now), now=now)


async def devices_of(store: Store, member: str, *, now: datetime) -> list[Device]:
    """The member's devices that are not gone, the last seen first; at most `MAX_DEVICES`."""
    query = {"member": member, "last_seen_at": {"$gt": now - GONE_AFTER}}
    found = store.devices.find(query).sort([("last_seen_at", -1), ("_id", 1)]).limit(MAX_DEVICES)
    return [_device_from(document) async for document in found]


async def devices_by_member(store: Store, members: Iterable[str], *, now: datetime) -> dict[str, list[Device]]:
    """The same for each of the members."""
    found: dict[str, list[Device]] = {member: [] for member in members}
    query = {"member": {"$in": list(found)}, "last_seen_at": {"$gt": now - GONE_AFTER}}
    async for document in store.devices.find(query):
        found[document["member"]].append(_device_from(document))
    latest_first = {
        member: sorted(devices, key=lambda device: (-device.last_seen_at.timestamp(), device.id))
        for member, devices in found.items()
    }
    return {member: devices[:MAX_DEVICES] for member, devices in latest_first.items()}


async def register(store: Store, member: str, told: Registration, *, now: datetime) -> Device:
    """The device, which is the member's from now on, with its endpoint; who had either before has it no more.

    A member has at most `MAX_DEVICES`: the one that was not seen for longest makes room.
    """
    document = {
        "_id": device_id(told.installation),
        "member": member,
        "platform": told.platform.value,
        "kind": told.kind.value,
        "value": told.value,
        "push_permitted": told.push_permitted,
        "last_seen_at": now,
        "registration": secrets.token_hex(8),
        "kept_until": datetime.now(UTC) + GONE_AFTER,
        **{
            name: value for name in ("app_version", "locale", "time_zone") if (value := getattr(told, name)) is not None
        },
    }
    await _take_over(store, document)
    await _make_room(store, member)
    return _device_from(document)


async def remove_device(store: Store, member: str, identifier: str) -> bool:
    """Forgets that device of the member; whether he had it."""
    removed = await store.devices.delete_one({"_id": identifier, "member": member})
    return removed.deleted_count == 1


async def remove(store: Store, endpoint: Endpoint) -> bool:
    """Forgets the endpoint, unless it was registered again since it was read; whether it did."""
    removed = await store.devices.delete_one(_as_read(endpoint))
    return removed.deleted_count == 1


async def set_aside(store: Store, endpoint: Endpoint, *, now: datetime) -> bool:
    """Uses the endpoint no more until it registers again, unless it did so since it was read; whether it did."""
    changed = await store.devices.update_one(_as_read(endpoint), {"$set": {"aside_at": now}})
    return changed.matched_count == 1


async def _take_over(store: Store, document: Mapping[str, Any]) -> None:
    """Stores the device in place of what its installation was before, and of whoever else has its endpoint."""
    other = {"kind": document["kind"], "value": document["value"], "_id": {"$ne": document["_id"]}}
    for _ in range(_ATTEMPTS):
        try:
            await store.devices.replace_one({"_id": document["_id"]}, document, upsert=True)
        except DuplicateKeyError:
            # Another installation has the endpoint; or this very one was stored at the same time, and is replaced now.
            await store.devices.delete_one(other)
        else:
            return
    raise AssertionError(f"{_ATTEMPTS} times an endpoint was taken by another installation")


async def _make_room(store: Store, member: str) -> None:
    seen = store.devices.find({"member": member}, {"registration": True})
    async for stalest in seen.sort([("last_seen_at", -1), ("_id", 1)]).skip(MAX_DEVICES):
        await store.devices.delete_one({**stalest, "member": member})


def _as_read(endpoint: Endpoint) -> dict[str, Any]:
    read = {"_id": endpoint.id, "kind": endpoint.kind.value, "value": endpoint.value}
    return read if endpoint.registration is None else {**read, "registration": endpoint.registration}


def _device_from(document: Mapping[str, Any]) -> Device:
    return Device(
        id=document["_id"],
        member=document["member"],
        platform=Platform(document["platform"]),
        kind=EndpointKind(document["kind"]),
        value=document["value"],
        app_version=document.get("app_version"),
        locale=document.get("locale"),
        time_zone=document.get("time_zone"),
        push_permitted=document["push_permitted"],
        last_seen_at=document["last_seen_at"],
        registration=document["registration"],
        is_aside="aside_at" in document,
    )
