"""The body that FCM is sent, as firebase-admin builds it."""

from datetime import timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifications.channel import Endpoint, EndpointKind, MessageCategory, Platform
from notifications.firebase.admin import Unsendable, analytics_label, wire_body
from tests.notifications.firebase.sender import NOW, message, phone


def body(endpoint: Endpoint | None = None, **fields: Any) -> dict[str, Any]:
    wrapped = orjson.loads(wire_body(message(**fields), endpoint or phone(), now=NOW))
    assert wrapped.keys() == {"message"}
    made: dict[str, Any] = wrapped["message"]
    return made


def test_an_android_phone_gets_a_tag_and_the_life_that_is_left() -> None:
    assert body(link="corner://wallet", image_url="https://shop.example/bread.png") == {
        "fid": "phone-1",
        "notification": {
            "title": "Hello",
            "body": "Your points wait.",
            "image": "https://shop.example/bread.png",
        },
        "data": {"delivery_id": "run-1.step-1", "link": "corner://wallet"},
        "fcm_options": {"analytics_label": "welcome.1"},
        "android": {"ttl": "7200s", "priority": "normal", "notification": {"tag": "run-1.step-1"}},
    }


def test_an_iphone_gets_a_collapse_id_and_the_end_of_its_life() -> None:
    made = body(phone(platform=Platform.IOS), image_url="https://shop.example/bread.png")

    assert made["apns"] == {
        "headers": {
            "apns-collapse-id": "run-1.step-1",
            "apns-expiration": str(int((NOW + timedelta(hours=2)).timestamp())),
            "apns-priority": "5",
            "apns-push-type": "alert",
        },
        "payload": {"aps": {"sound": "default", "mutable-content": 1}},
        "fcm_options": {"image": "https://shop.example/bread.png"},
    }
    assert "android" not in made


def test_a_browser_gets_a_tag_and_opens_addresses_of_the_web_only() -> None:
    browser = phone(platform=Platform.WEB)

    assert body(browser, link="https://shop.example/wallet")["webpush"] == {
        "headers": {"TTL": "7200"},
        "notification": {"tag": "run-1.step-1"},
        "fcm_options": {"link": "https://shop.example/wallet"},
    }
    assert "fcm_options" not in body(browser, link="corner://wallet")["webpush"]


def test_an_endpoint_of_an_unknown_platform_is_told_all_three() -> None:
    assert {"android", "apns", "webpush"} <= body(phone(platform=None)).keys()


def test_a_token_is_still_sent_as_a_token() -> None:
    endpoint = Endpoint(id="device-1", kind=EndpointKind.TOKEN, value="token-1", platform=Platform.ANDROID)

    made = body(endpoint)

    assert made["token"] == "token-1"
    assert "fid" not in made


@pytest.mark.parametrize(
    ("category", "android", "apns"),
    [
        (MessageCategory.TRANSACTIONAL, "high", "10"),
        (MessageCategory.SERVICE, "normal", "5"),
        (MessageCategory.MARKETING, "normal", "5"),
    ],
)
def test_only_what_answers_the_member_wakes_the_phone_up(category: MessageCategory, android: str, apns: str) -> None:
    made = body(phone(platform=None), category=category)

    assert made["android"]["priority"] == android
    assert made["apns"]["headers"]["apns-priority"] == apns


def test_a_recall_is_silent_and_names_what_it_takes_away() -> None:
    made = body(phone(platform=None), recalls=True, link="corner://wallet")

    assert "notification" not in made
    assert made["data"] == {"delivery_id": "run-1.step-1", "recalls": "true"}
    assert made["android"] == {"ttl": "7200s", "priority": "normal"}
    assert made["apns"]["payload"] == {"aps": {"content-available": 1}}
    assert made["apns"]["headers"]["apns-collapse-id"] == "run-1.step-1"
    assert made["apns"]["headers"]["apns-push-type"] == "background"
    assert made["webpush"] == {"headers": {"TTL": "7200"}}


def test_a_message_lives_no_longer_than_28_days_at_fcm() -> None:
    assert body(expires_at=NOW + timedelta(days=90))["android"]["ttl"] == "2419200s"


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"body": "x" * 4_096}, "at most 4096"),
        ({"body": "ұ" * 2_048}, "at most 4096"),
    ],
)
def test_what_fcm_would_not_take_from_anybody_is_unsendable(fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(Unsendable, match=problem):
        body(**fields)


@given(st.text(min_size=1, max_size=120))
def test_every_label_becomes_one_that_fcm_takes(label: str) -> None:
    assert 1 <= len(analytics_label(label)) <= 50
    assert body(label=label)["fcm_options"]["analytics_label"] == analytics_label(label)


def test_labels_that_differ_at_their_end_stay_apart() -> None:
    long = "a-cascade-with-a-name-that-is-longer-than-anybody-wants"

    assert analytics_label(f"{long}.1") != analytics_label(f"{long}.2")
    assert analytics_label("welcome.1") == "welcome.1"
