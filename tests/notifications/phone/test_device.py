"""What a member sees: the platforms' rules, without a network."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifications.phone.device import Device, Effect, System

NOTIFICATION = {"title": "Hello", "body": "There"}


def android(tag: str | None, **more: Any) -> dict[str, Any]:
    own = {} if tag is None else {"tag": tag}
    return {"notification": NOTIFICATION, "data": {"delivery_id": "d"}, "android": {"notification": own}, **more}


def ios(collapse_id: str | None) -> dict[str, Any]:
    headers = {} if collapse_id is None else {"apns-collapse-id": collapse_id}
    return {"notification": NOTIFICATION, "data": {"delivery_id": "d"}, "apns": {"headers": headers}}


def web(tag: str | None) -> dict[str, Any]:
    own = {} if tag is None else {"tag": tag}
    return {"notification": NOTIFICATION, "data": {"delivery_id": "d"}, "webpush": {"notification": own}}


@pytest.mark.parametrize(
    ("system", "made"), [(System.ANDROID, android), (System.IOS, ios), (System.WEB, web)], ids=list(System)
)
def test_a_phone_replaces_what_has_the_same_tag_and_nothing_else(system: System, made: Any) -> None:
    device = Device(endpoint="phone-1", system=system)

    effects = [device.receive(made(tag))[0] for tag in ("one", "one", "two", None, None)]

    assert effects == [Effect.SHOWN, Effect.REPLACED, Effect.SHOWN, Effect.SHOWN, Effect.SHOWN]
    assert len(device.screen) == 4
    assert device.shown == {"d": 4}


def test_another_platforms_tag_replaces_nothing() -> None:
    device = Device(endpoint="phone-1", system=System.IOS)

    effects = [device.receive(android("one"))[0] for _ in range(2)]

    assert effects == [Effect.SHOWN, Effect.SHOWN]


def test_a_recall_takes_away_what_has_its_delivery_id_and_a_late_one_nothing() -> None:
    device = Device(endpoint="phone-1", system=System.ANDROID)
    device.receive(android("one"))
    recall = {"data": {"delivery_id": "one", "recalls": "true"}}

    effects = [device.receive(recall)[0] for _ in range(2)]

    assert effects == [Effect.REMOVED, Effect.NOTHING]
    assert device.screen == {}


def test_what_comes_again_after_it_was_taken_away_is_seen_twice() -> None:
    device = Device(endpoint="phone-1", system=System.ANDROID)
    device.receive(android("one"))
    device.receive({"data": {"delivery_id": "one", "recalls": "true"}})

    device.receive(android("one"))

    assert device.shown == {"d": 2}


def test_a_silent_message_shows_nothing() -> None:
    device = Device(endpoint="phone-1", system=System.ANDROID)

    assert device.receive({"data": {"delivery_id": "one"}}) == (Effect.NOTHING, None)
    assert device.screen == {}


@given(st.lists(st.sampled_from(["a", "b", "c"]), max_size=30))
def test_a_screen_has_each_tag_once_the_newest_last(tags: list[str]) -> None:
    device = Device(endpoint="phone-1", system=System.ANDROID)

    for tag in tags:
        device.receive(android(tag))

    newest = sorted(set(tags), key=lambda tag: max(at for at, each in enumerate(tags) if each == tag))
    assert list(device.screen) == newest
    assert device.replaced == len(tags) - len(newest)
