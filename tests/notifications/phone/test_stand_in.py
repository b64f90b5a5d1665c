"""The stand-in over HTTP: what it refuses as FCM does, and how it is scripted and watched."""

import json
from typing import Any

import pytest

from tests.notifications.phones import Phones

ADDRESS = "/v1/projects/my-shop-1a2b3/messages:send"
MESSAGE = {"fid": "phone-1", "notification": {"title": "Hello"}, "android": {"notification": {"tag": "one"}}}


def send(phones: Phones, message: object, **headers: str) -> tuple[int, dict[str, Any]]:
    answered = phones.http.post(
        ADDRESS, json={"message": message}, headers={"Authorization": "Bearer anything", **headers}
    )
    return answered.status_code, answered.json()


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (None, "message"),
        ({"notification": {"title": "Hello"}}, "message"),
        ({**MESSAGE, "token": "another"}, "message"),
        ({**MESSAGE, "fid": ""}, "message.fid"),
        ({**MESSAGE, "data": {"points": 3}}, "message.data"),
        ({**MESSAGE, "fcm_options": {"analytics_label": "no spaces"}}, "message.fcm_options.analytics_label"),
        ({**MESSAGE, "apns": {"headers": {"apns-collapse-id": "x" * 65}}}, "message.apns.headers"),
        ({**MESSAGE, "data": {"text": "x" * 4_096}}, "message"),
        ({**MESSAGE, "data": ["text"]}, "message.data"),
        ({**MESSAGE, "fcm_options": 3}, "message.fcm_options"),
    ],
)
def test_a_body_that_fcm_would_not_take_is_refused_with_its_field_and_not_delivered(
    phones: Phones, message: object, field: str
) -> None:
    status, answer = send(phones, message)

    assert status == 400
    assert answer["error"]["status"] == "INVALID_ARGUMENT"
    assert answer["error"]["details"][1]["fieldViolations"][0]["field"] == field
    assert phones.device("phone-1")["screen"] == []


def test_a_request_without_a_bearer_is_turned_down(phones: Phones) -> None:
    status, answer = send(phones, MESSAGE, Authorization="")

    assert (status, answer["error"]["status"]) == (401, "UNAUTHENTICATED")
    assert phones.device("phone-1")["screen"] == []


def test_answers_come_in_the_order_of_the_script_then_all_is_well(phones: Phones) -> None:
    phones.script("phone-1", {"kind": "INTERNAL", "times": 2}, {"kind": "UNREGISTERED"})
    phones.script("*", {"kind": "QUOTA_OF_DEVICE", "retry_after": "30"})

    statuses = [send(phones, MESSAGE)[0] for _ in range(5)]

    assert statuses == [500, 500, 404, 429, 200]
    assert [entry["answer"] for entry in phones.ledger()] == [
        *("INTERNAL", "INTERNAL", "UNREGISTERED", "QUOTA_OF_DEVICE", "OK")
    ]
    assert [entry["effect"] for entry in phones.ledger()] == [None, None, None, None, "SHOWN"]


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ({}, "the script should be a list of answers"),
        (["OK"], "[0] should be an object"),
        ([{"colour": "red"}], "[0] should be an object without colour"),
        ([{}, {"kind": "FINE"}], "[1].kind is 'FINE'; it should be one of OK, UNREGISTERED"),
        ([{"times": 0}], "[0].times is 0; it should be a whole number from 1 on, or null"),
        ([{"seconds": -1}], "[0].seconds is -1; it should be 0 to 600"),
    ],
)
def test_a_script_that_cannot_be_followed_is_refused_with_the_place(
    phones: Phones, script: object, problem: str
) -> None:
    refused = phones.http.put("/phone/script/phone-1", json=script)

    assert refused.status_code == 400
    assert refused.json()["problem"].startswith(problem)


def test_who_watches_is_told_what_happens_on_the_screens(phones: Phones) -> None:
    with phones.http.stream("GET", "/phone/events") as events:
        lines = (line for line in events.iter_lines() if line)
        assert next(lines) == ": watching"

        send(phones, MESSAGE)
        send(phones, {"fid": "phone-1", "data": {"delivery_id": "one", "recalls": "true"}})

        told = [json.loads(next(lines).removeprefix("data: ")) for _ in range(2)]

    assert [(event["endpoint"], event["effect"], event["item"]["title"]) for event in told] == [
        ("phone-1", "SHOWN", "Hello"),
        ("phone-1", "REMOVED", "Hello"),
    ]


def test_the_page_shows_the_phones_without_anything_from_elsewhere(phones: Phones) -> None:
    page = phones.http.get("/")

    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "/phone/events" in page.text
    assert "http://" not in page.text
    assert "https://" not in page.text
