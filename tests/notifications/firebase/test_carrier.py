"""Every row of the table of answers, over real HTTP to the stand-in."""

import asyncio
import socket
from datetime import datetime, timedelta
from random import Random
from typing import Any

import pytest
from prometheus_client import REGISTRY

from notifications.channel import Fate, Outcome, Platform
from notifications.firebase.carrier import LONGEST_WAIT_SECONDS
from notifications.firebase.rate import Rate
from tests.notifications.firebase.sender import NOW, Sender, opened_sender, phone
from tests.notifications.phones import Phones

IN_90_SECONDS = "Thu, 26 Nov 2026 12:01:30 GMT"


def seconds(number: float) -> datetime:
    return NOW + timedelta(seconds=number)


def alarms(kind: str) -> float:
    return REGISTRY.get_sample_value("wallet_alarms_total", {"kind": kind}) or 0.0


async def test_an_accepted_message_is_on_the_screen(phones: Phones, sender: Sender) -> None:
    outcome = await sender.send(link="corner://wallet")

    assert outcome == Outcome(fate=Fate.ACCEPTED, reason="ACCEPTED")
    assert phones.device("phone-1")["screen"] == [
        {
            "tag": "run-1.step-1",
            "delivery_id": "run-1.step-1",
            "title": "Hello",
            "body": "Your points wait.",
            "link": "corner://wallet",
            "image": None,
        }
    ]


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ({"kind": "UNREGISTERED"}, (Fate.GONE, "UNREGISTERED", None)),
        ({"kind": "INVALID_REGISTRATION"}, (Fate.GONE, "INVALID_REGISTRATION", None)),
        ({"kind": "INVALID_ARGUMENT"}, (Fate.REFUSED, "INVALID_ARGUMENT", None)),
        ({"kind": "SENDER_ID_MISMATCH"}, (Fate.SET_ASIDE, "SENDER_ID_MISMATCH", None)),
        ({"kind": "THIRD_PARTY_AUTH_ERROR"}, (Fate.RETRY, "THIRD_PARTY_AUTH_ERROR", 300)),
        ({"kind": "UNAUTHENTICATED", "times": 2}, (Fate.RETRY, "UNAUTHENTICATED", 300)),
        ({"kind": "QUOTA_OF_PROJECT"}, (Fate.RETRY, "QUOTA_EXCEEDED", 60)),
        ({"kind": "QUOTA_OF_PROJECT", "retry_after": "7"}, (Fate.RETRY, "QUOTA_EXCEEDED", 7)),
        ({"kind": "QUOTA_OF_DEVICE"}, (Fate.RETRY, "QUOTA_EXCEEDED", 60)),
        ({"kind": "QUOTA_OF_DEVICE", "retry_after": IN_90_SECONDS}, (Fate.RETRY, "QUOTA_EXCEEDED", 90)),
        ({"kind": "INTERNAL"}, (Fate.AMBIGUOUS, "INTERNAL", 10)),
        ({"kind": "UNAVAILABLE"}, (Fate.AMBIGUOUS, "UNAVAILABLE", 10)),
        ({"kind": "UNAVAILABLE", "retry_after": "3"}, (Fate.AMBIGUOUS, "UNAVAILABLE", 10)),
        ({"kind": "UNAVAILABLE", "retry_after": "45"}, (Fate.AMBIGUOUS, "UNAVAILABLE", 45)),
        ({"kind": "DROPPED"}, (Fate.AMBIGUOUS, "NO_ANSWER", 10)),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) else "",
)
async def test_a_row_of_the_table(
    phones: Phones, sender: Sender, answer: dict[str, Any], outcome: tuple[Fate, str, int | None]
) -> None:
    fate, reason, wait_seconds = outcome
    phones.script("phone-1", answer)

    said = await sender.send()

    retry_at = None if wait_seconds is None else seconds(wait_seconds)
    assert said == Outcome(fate=fate, reason=reason, retry_at=retry_at)
    assert phones.titles("phone-1") == []


async def test_a_503_that_did_deliver_and_its_repetition_are_one_message_on_the_screen(
    phones: Phones, sender: Sender
) -> None:
    phones.script("phone-1", {"kind": "UNAVAILABLE", "delivers": True})

    outcomes = [await sender.send(), await sender.send(now=seconds(10))]

    assert [outcome.fate for outcome in outcomes] == [Fate.AMBIGUOUS, Fate.ACCEPTED]
    device = phones.device("phone-1")
    assert (len(device["screen"]), device["shown"], device["replaced"]) == (1, {"run-1.step-1": 1}, 1)


async def test_a_connection_dropped_after_receipt_is_ambiguous_and_seen_once_when_repeated(
    phones: Phones, sender: Sender
) -> None:
    phones.script("phone-1", {"kind": "DROPPED", "delivers": True})

    outcomes = [await sender.send(), await sender.send(now=seconds(10))]

    assert [outcome.fate for outcome in outcomes] == [Fate.AMBIGUOUS, Fate.ACCEPTED]
    assert phones.device("phone-1")["shown"] == {"run-1.step-1": 1}


async def test_an_answer_that_comes_too_late_is_ambiguous(phones: Phones) -> None:
    phones.script("phone-1", {"seconds": 30})

    async with opened_sender(phones.url, read_seconds=0.5) as sender:
        outcome = await sender.send()

    assert outcome == Outcome(fate=Fate.AMBIGUOUS, reason="NO_ANSWER", retry_at=seconds(10))
    assert phones.titles("phone-1") == ["Hello"]


async def test_a_connection_that_is_refused_sent_nothing() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        async with opened_sender(f"http://127.0.0.1:{nobody.getsockname()[1]}") as sender:
            outcome = await sender.send()

    assert outcome == Outcome(fate=Fate.RETRY, reason="NOT_SENT", retry_at=seconds(10))


async def test_server_errors_wait_twice_as_long_each_time_until_one_is_taken(phones: Phones, sender: Sender) -> None:
    phones.script("phone-1", {"kind": "UNAVAILABLE", "times": 3}, {}, {"kind": "UNAVAILABLE"})

    waits = []
    for _ in range(5):
        outcome = await sender.send()
        waits.append(None if outcome.retry_at is None else (outcome.retry_at - NOW).total_seconds())

    assert waits == [10, 20, 40, None, 10]


async def test_jitter_only_ever_adds_to_a_wait(phones: Phones) -> None:
    async with opened_sender(phones.url, chance=Random(7)) as sender:
        phones.script("*", {"kind": "UNAVAILABLE", "retry_after": "40", "times": 20})
        outcomes = await asyncio.gather(*(sender.send(phone(f"phone-{number}")) for number in range(20)))

    retries = [outcome.retry_at for outcome in outcomes if outcome.retry_at is not None]
    assert len(set(retries)) == 20
    assert all(seconds(40) <= retry_at <= seconds(50) for retry_at in retries)


async def test_the_quota_of_the_project_holds_everybody_and_halves_the_rate_once(phones: Phones) -> None:
    rate = Rate(600.0)
    phones.script("*", {"kind": "QUOTA_OF_PROJECT", "retry_after": "20", "times": 3})

    async with opened_sender(phones.url, rate=rate) as sender:
        await asyncio.gather(*(sender.send(phone(f"phone-{number}")) for number in range(3)))
        held = await sender.send(phone("another"), now=seconds(19))
        free = await sender.send(phone("another"), now=seconds(20))
        slowed = rate.first / 2

    assert held == Outcome(fate=Fate.RETRY, reason="QUOTA_EXCEEDED", retry_at=seconds(20), asked=False)
    assert free.fate is Fate.ACCEPTED
    assert slowed <= rate._rate < slowed + 20
    assert len(phones.ledger()) == 4


async def test_the_quota_of_a_device_holds_that_device_only(phones: Phones, sender: Sender) -> None:
    phones.script("phone-1", {"kind": "QUOTA_OF_DEVICE"})

    outcomes = [
        await sender.send(),
        await sender.send(delivery_id="another", now=seconds(59)),
        await sender.send(phone("phone-2"), now=seconds(59)),
        await sender.send(now=seconds(60)),
    ]

    assert [outcome.fate for outcome in outcomes] == [Fate.RETRY, Fate.RETRY, Fate.ACCEPTED, Fate.ACCEPTED]
    assert len(phones.ledger()) == 3


async def test_a_wrong_key_of_apns_pauses_ios_only_with_one_alarm(phones: Phones, sender: Sender) -> None:
    phones.script("iphone-1", {"kind": "THIRD_PARTY_AUTH_ERROR"})
    phones.script("iphone-3", {"kind": "THIRD_PARTY_AUTH_ERROR"})
    before = alarms("push.refused")

    outcomes = [
        *await asyncio.gather(*(sender.send(phone(f"iphone-{number}", Platform.IOS)) for number in (1, 3))),
        await sender.send(phone("iphone-2", Platform.IOS), now=seconds(299)),
        await sender.send(phone("phone-1"), now=seconds(299)),
        await sender.send(phone("iphone-2", Platform.IOS), now=seconds(300)),
    ]

    assert [outcome.fate for outcome in outcomes] == [*[Fate.RETRY] * 3, Fate.ACCEPTED, Fate.ACCEPTED]
    assert [outcome.retry_at for outcome in outcomes[:2]] == [seconds(300)] * 2
    assert outcomes[2].reason == "THIRD_PARTY_AUTH_ERROR"
    assert alarms("push.refused") == before + 1


async def test_a_pause_is_twice_as_long_each_time_until_a_message_is_taken(phones: Phones, sender: Sender) -> None:
    phones.script("iphone-1", {"kind": "THIRD_PARTY_AUTH_ERROR", "times": 5}, {}, {"kind": "THIRD_PARTY_AUTH_ERROR"})
    iphone, now, waits = phone("iphone-1", Platform.IOS), NOW, []

    for _ in range(7):
        outcome = await sender.send(iphone, now=now, expires_at=seconds(90_000))
        waits.append(None if outcome.retry_at is None else (outcome.retry_at - now).total_seconds())
        now = outcome.retry_at or now

    assert waits == [300, 600, 1_200, 2_400, 3_600, None, 300]


async def test_our_credential_turned_down_twice_pauses_all(phones: Phones, sender: Sender) -> None:
    phones.script("phone-1", {"kind": "UNAUTHENTICATED", "times": 2})

    first = await sender.send()
    other = await sender.send(phone("iphone-1", Platform.IOS), now=seconds(299))

    assert (first.fate, other.fate, other.reason) == (Fate.RETRY, Fate.RETRY, "UNAUTHENTICATED")
    assert [entry["answer"] for entry in phones.ledger()] == ["UNAUTHENTICATED", "UNAUTHENTICATED"]


async def test_many_mismatches_of_the_sender_raise_one_alarm(phones: Phones, sender: Sender) -> None:
    phones.script("*", {"kind": "SENDER_ID_MISMATCH", "times": None})
    before = alarms("push.sender_id_mismatch")

    few = [await sender.send(phone(f"phone-{number}")) for number in range(9)]
    after_few = alarms("push.sender_id_mismatch")
    more = [await sender.send(phone(f"phone-{number}")) for number in range(9, 20)]

    assert {outcome.fate for outcome in [*few, *more]} == {Fate.SET_ASIDE}
    assert after_few == before
    assert alarms("push.sender_id_mismatch") == before + 1


async def test_a_message_whose_time_is_over_is_not_sent(phones: Phones, sender: Sender) -> None:
    outcome = await sender.send(expires_at=NOW)

    assert outcome == Outcome(fate=Fate.RETRY, reason="EXPIRED", retry_at=NOW, asked=False)
    assert phones.ledger() == []


async def test_a_payload_that_is_too_large_is_unfit_with_an_alarm_and_not_sent(phones: Phones, sender: Sender) -> None:
    before = alarms("push.unsendable")

    outcome = await sender.send(body="ұ" * 2_048)

    assert (outcome.fate, outcome.asked) == (Fate.UNFIT, False)
    assert outcome.reason.endswith("it should have at most 4096.")
    assert alarms("push.unsendable") == before + 1
    assert phones.ledger() == []


async def test_a_recall_takes_the_message_off_the_screen_and_shows_nothing(phones: Phones, sender: Sender) -> None:
    iphone = phone("iphone-1", Platform.IOS)
    for endpoint in (phone(), iphone):
        await sender.send(endpoint)
        await sender.send(endpoint, delivery_id="another", title="Stays")

    outcomes = [await sender.send(endpoint, recalls=True) for endpoint in (phone(), iphone)]

    assert [outcome.fate for outcome in outcomes] == [Fate.ACCEPTED, Fate.ACCEPTED]
    assert (phones.titles("phone-1"), phones.titles("iphone-1")) == (["Stays"], ["Stays"])
    assert phones.device("iphone-1")["removed"] == 1


async def test_the_rate_is_kept_and_what_would_wait_too_long_is_given_back(phones: Phones) -> None:
    async with opened_sender(phones.url, rate=Rate(100.0)) as sender:
        outcomes = await asyncio.gather(*(sender.send(delivery_id=f"d-{number}") for number in range(4)))

    assert [outcome.fate for outcome in outcomes] == [Fate.ACCEPTED] * 3 + [Fate.RETRY]
    assert (outcomes[3].reason, outcomes[3].asked) == ("RATE", False)
    assert outcomes[3].retry_at is not None
    assert seconds(LONGEST_WAIT_SECONDS) < outcomes[3].retry_at <= seconds(0.6)
    assert 0 < sender.slept[0] < sender.slept[1] <= LONGEST_WAIT_SECONDS
