"""A phone as its member sees it: what comes is put on the screen, in place of what it replaces, or takes it away.

The rules are those of the platforms: Android replaces by tag, iOS by collapse id, the web by tag. What has none of
them stands beside what is there already, even if it is the same. A silent message that recalls is carried out by the
app, which removes what has the delivery id for its tag.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

MAX_ITEMS: Final = 1_000
"""Of one screen; the oldest goes for a newer one."""


class Effect(StrEnum):
    """What a message did to the screen."""

    SHOWN = "SHOWN"
    REPLACED = "REPLACED"
    REMOVED = "REMOVED"
    NOTHING = "NOTHING"


class System(StrEnum):
    """Whose rules a phone follows."""

    ANDROID = "ANDROID"
    IOS = "IOS"
    WEB = "WEB"


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One notification on the screen."""

    tag: str | None
    delivery_id: str | None
    title: str | None
    body: str | None
    link: str | None
    image: str | None


@dataclass(slots=True, kw_only=True)
class Device:
    """One installation of the app. `shown` counts how often each delivery came onto the screen anew."""

    endpoint: str
    system: System
    screen: dict[str, Item] = field(default_factory=dict)
    shown: dict[str, int] = field(default_factory=dict)
    replaced: int = 0
    removed: int = 0
    untagged: int = 0

    def receive(self, message: Mapping[str, Any]) -> tuple[Effect, Item | None]:
        """Applies a message of FCM's v1 API; also the item that was shown, replaced by or removed, if any."""
        item = _item(message, self.system)
        if item is None:
            return self._carry_out(message.get("data") or {})
        key = item.tag or f"untagged {self.untagged}"
        self.untagged += item.tag is None
        known = self.screen.pop(key, None) is not None
        self.screen[key] = item
        if len(self.screen) > MAX_ITEMS:
            self.screen.pop(next(iter(self.screen)))
        if known:
            self.replaced += 1
            return Effect.REPLACED, item
        delivery = item.delivery_id or key
        self.shown[delivery] = self.shown.get(delivery, 0) + 1
        return Effect.SHOWN, item

    def _carry_out(self, data: Mapping[str, Any]) -> tuple[Effect, Item | None]:
        if data.get("recalls") != "true":
            return Effect.NOTHING, None
        item = self.screen.pop(str(data.get("delivery_id")), None)
        if item is None:
            return Effect.NOTHING, None
        self.removed += 1
        return Effect.REMOVED, item


def system_of(message: Mapping[str, Any]) -> System:
    """The platform that a message was made for; Android where it does not say."""
    named = [system for system, key in _CONFIG.items() if key in message]
    return named[0] if len(named) == 1 else System.ANDROID


_CONFIG: Final[Mapping[System, str]] = {System.ANDROID: "android", System.IOS: "apns", System.WEB: "webpush"}


def _item(message: Mapping[str, Any], system: System) -> Item | None:
    """What the platform puts on the screen, or None for a silent message."""
    config = message.get(_CONFIG[system]) or {}
    own = config.get("notification") or {}
    shown = {**(message.get("notification") or {}), **{k: v for k, v in own.items() if k in {"title", "body", "image"}}}
    if not shown:
        return None
    data = message.get("data") or {}
    tag = (config.get("headers") or {}).get("apns-collapse-id") if system is System.IOS else own.get("tag")
    return Item(
        tag=tag or None,
        delivery_id=data.get("delivery_id"),
        title=shown.get("title"),
        body=shown.get("body"),
        link=data.get("link"),
        image=shown.get("image"),
    )
