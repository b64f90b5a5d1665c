"""Devices: where a member's push messages go. The app on his phone registers itself at each start."""

import re
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final

import strawberry

from api.context import Context, Info, require_member
from api.described import described
from api.faults import Faults, given
from api.problems import InvalidInput, told
from api.profiles import is_locale, is_zone
from api.removed import Removed
from notifications import channel
from notifications.channel import Platform
from notifications.devices import Device as DeviceRecord
from notifications.devices import Registration, devices_of, register, remove_device

strawberry.enum(Platform)

LONGEST_VALUE: Final = 4_096
LONGEST_VERSION: Final = 64
_FID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_TOKEN: Final = re.compile(rf"[\x21-\x7e]{{1,{LONGEST_VALUE}}}", re.ASCII)


@strawberry.enum
class EndpointKind(StrEnum):
    FID = "FID"
    TOKEN = "TOKEN"  # noqa: S105 -- the name of a kind


@strawberry.type
class Device:
    id: strawberry.ID
    platform: Platform
    kind: EndpointKind
    app_version: str | None
    locale: str | None
    time_zone: str | None
    last_seen_at: datetime
    push_permitted: bool


@strawberry.input
class DeviceInput:
    installation: strawberry.ID
    platform: Platform
    kind: EndpointKind
    value: str
    app_version: str | None = strawberry.UNSET
    locale: str | None = strawberry.UNSET
    time_zone: str | None = strawberry.UNSET
    push_permitted: bool = True


RegisterDeviceResult = Annotated[Device | InvalidInput, strawberry.union("RegisterDeviceResult")]


@strawberry.type
class DeviceMutation:
    @described(
        "Where push messages reach this installation of the app. Send it at each start, and whenever one of its "
        "values changes. From then on the installation and the endpoint belong to the caller and to nobody else. "
        "member"
    )
    async def register_device(
        self, info: Info, device: Annotated[DeviceInput, strawberry.argument(name="input")]
    ) -> RegisterDeviceResult:
        context, faults = info.context, Faults()
        registration = _read(device, faults)
        if (wrong := faults.problem) is not None:
            return told(wrong, Device)
        member = require_member(info).member_id
        return device_type(await register(context.wallet.store, member, registration, now=context.now))

    @described("Send no more push messages there; a device that is gone already is removed all the same. member")
    async def remove_device(
        self,
        info: Info,
        id: strawberry.ID,  # noqa: A002 -- the contract's name
    ) -> Removed:
        await remove_device(info.context.wallet.store, require_member(info).member_id, id)
        return Removed(id=id)


async def member_devices(context: Context, member: str) -> list[Device]:
    """The member's devices, the one seen last first."""
    return [device_type(each) for each in await devices_of(context.wallet.store, member, now=context.now)]


def device_type(device: DeviceRecord) -> Device:
    """The device without its address: nobody but the sender needs that."""
    return Device(
        id=strawberry.ID(device.id),
        platform=device.platform,
        kind=EndpointKind(device.kind.value),
        app_version=device.app_version,
        locale=device.locale,
        time_zone=device.time_zone,
        last_seen_at=device.last_seen_at,
        push_permitted=device.push_permitted,
    )


def _read(device: DeviceInput, faults: Faults) -> Registration:
    version, locale, time_zone = given(device.app_version), given(device.locale), given(device.time_zone)
    faults.text("installation", device.installation)
    if device.kind is EndpointKind.FID and not _FID.fullmatch(device.value):
        faults.add("value", "It is not a Firebase Installation ID: at most 64 letters, digits, - and _. Is it a TOKEN?")
    if device.kind is EndpointKind.TOKEN and not _TOKEN.fullmatch(device.value):
        faults.add("value", f"It is not a registration token: at most {LONGEST_VALUE} printable ASCII characters.")
    if version is not None:
        faults.text("appVersion", version, longest=LONGEST_VERSION)
    if locale is not None and not is_locale(locale):
        faults.add("locale", "It is not a known language tag (BCP 47), such as sl or en-GB.")
    if time_zone is not None and not is_zone(time_zone):
        faults.add("timeZone", "It is not an IANA time zone, such as Europe/Ljubljana.")
    return Registration(
        installation=device.installation,
        platform=device.platform,
        kind=channel.EndpointKind(device.kind.value),
        value=device.value,
        app_version=version,
        locale=locale,
        time_zone=time_zone,
        push_permitted=device.push_permitted,
    )
