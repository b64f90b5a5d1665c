"""A service account's access tokens, by Google's own library against the stand-in's token endpoint."""

import asyncio
import json
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from domain.settings import read_settings
from notifications.channel import Fate
from notifications.firebase.admin import AccessToken, FirebaseUnusable, Unreachable, open_app
from notifications.firebase.bearer import RefreshedBearer
from notifications.firebase.opening import SANDBOX_BEARER, open_firebase
from tests.notifications.firebase.sender import NOW, message, opened_sender, phone
from tests.notifications.phones import Phones


@pytest.fixture(scope="module")
def key() -> str:
    made = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    return made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@pytest.fixture
def account(key: str, phones: Phones, tmp_path: Path) -> Path:
    file = tmp_path / "account.json"
    file.write_text(
        json.dumps(
            {
                "type": "service_account",
                "project_id": "my-shop-1a2b3",
                "private_key_id": "1",
                "private_key": key,
                "client_email": "wallet@my-shop-1a2b3.iam.gserviceaccount.com",
                "token_uri": f"{phones.url}/token",
            }
        ),
        "utf-8",
    )
    return file


def environment(phones: Phones, **variables: str) -> dict[str, str]:
    return {"WALLET_MODE": "sandbox", "WALLET_FCM_URL": phones.url, **variables}


async def test_a_service_account_sends_with_one_token_however_many_messages_wait_for_it(
    phones: Phones, account: Path
) -> None:
    carrier = open_firebase(read_settings(environment(phones, WALLET_FIREBASE_CREDENTIALS=str(account))))
    assert carrier is not None

    outcomes = await asyncio.gather(
        *(carrier.send(message(), phone(f"phone-{number}"), now=NOW) for number in range(30))
    )
    await carrier.close()

    assert {outcome.fate for outcome in outcomes} == {Fate.ACCEPTED}
    bearers = {entry["bearer"] for entry in phones.ledger()}
    assert len(bearers) == 1
    assert bearers.pop().startswith("stand-in-token-")


async def test_a_token_that_was_turned_down_is_renewed_once_and_the_message_sent(phones: Phones, account: Path) -> None:
    carrier = open_firebase(read_settings(environment(phones, WALLET_FIREBASE_CREDENTIALS=str(account))))
    assert carrier is not None
    before = await carrier.send(message(), phone(), now=NOW)
    phones.tokens_last(3_600)

    outcomes = await asyncio.gather(
        *(carrier.send(message(), phone(f"phone-{number}"), now=NOW) for number in range(10))
    )
    await carrier.close()

    assert before.fate is Fate.ACCEPTED
    assert {outcome.fate for outcome in outcomes} == {Fate.ACCEPTED}
    accepted = [entry["bearer"] for entry in phones.ledger() if entry["answer"] == "OK"]
    assert len(accepted) == 11
    assert len(set(accepted[1:])) == 1


async def test_a_sandbox_without_credentials_sends_a_fixed_bearer_to_a_stand_in(phones: Phones) -> None:
    carrier = open_firebase(read_settings(environment(phones)))
    assert carrier is not None

    outcome = await carrier.send(message(), phone(), now=NOW)
    await carrier.close()

    assert outcome.fate is Fate.ACCEPTED
    assert [entry["bearer"] for entry in phones.ledger()] == [SANDBOX_BEARER]


@pytest.mark.parametrize("variables", [{}, {"WALLET_FIREBASE_PROJECT": "my-shop-1a2b3"}])
def test_a_sandbox_without_credentials_never_sends_to_google(variables: dict[str, str]) -> None:
    assert open_firebase(read_settings({"WALLET_MODE": "sandbox", **variables})) is None


@pytest.mark.parametrize(
    ("content", "problem"),
    [("{}", "service_account"), ("no JSON", "WALLET_FIREBASE_CREDENTIALS cannot be used")],
)
def test_credentials_that_cannot_be_used_are_told_at_the_start(tmp_path: Path, content: str, problem: str) -> None:
    file = tmp_path / "account.json"
    file.write_text(content, "utf-8")
    settings = read_settings({"WALLET_MODE": "sandbox", "WALLET_FIREBASE_CREDENTIALS": str(file)})

    with pytest.raises(FirebaseUnusable, match=problem):
        open_app(settings, name="unusable")


class Fetched:
    """Tokens of an hour; the fetching waits until it may go on, and fails when told to."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
        self.count = 0
        self.fails = False
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def __call__(self) -> AccessToken:
        self.count += 1
        self.may_go_on.wait(10)
        if self.fails:
            raise Unreachable("refused")
        return AccessToken(text=f"token-{self.count}", expires_at=self.now + timedelta(hours=1))


async def test_a_token_is_used_while_its_successor_is_fetched_before_its_time_is_over() -> None:
    fetched = Fetched()
    bearer = RefreshedBearer(fetched, machine_now=lambda: fetched.now)
    first = await bearer.current()
    fetched.now += timedelta(minutes=56)
    fetched.may_go_on.clear()

    meanwhile = [await bearer.current() for _ in range(5)]
    fetched.may_go_on.set()
    second = await bearer.renewed(after=first)
    await bearer.close()

    assert meanwhile == [first] * 5
    assert (second, fetched.count) == ("token-2", 2)


async def test_who_waits_for_a_token_that_cannot_be_had_is_told_and_the_next_one_tries_again() -> None:
    fetched = Fetched()
    fetched.fails = True
    bearer = RefreshedBearer(fetched, machine_now=lambda: fetched.now)

    failed: list[Any] = await asyncio.gather(*(bearer.current() for _ in range(5)), return_exceptions=True)
    tries = fetched.count
    fetched.fails = False
    token = await bearer.current()
    await bearer.close()

    assert [type(each) for each in failed] == [Unreachable] * 5
    assert (tries, token) == (1, "token-2")


async def test_without_a_token_nothing_is_sent_and_all_wait_ten_seconds(phones: Phones) -> None:
    fetched = Fetched()
    fetched.fails = True
    async with opened_sender(phones.url, bearer=RefreshedBearer(fetched)) as sender:
        outcomes = [await sender.send(), await sender.send(phone("phone-2"), now=NOW + timedelta(seconds=9))]
        fetched.fails = False
        later = await sender.send(now=NOW + timedelta(seconds=10))

    assert [(outcome.fate, outcome.reason) for outcome in outcomes] == [(Fate.RETRY, "NO_CREDENTIAL")] * 2
    assert fetched.count == 2
    assert later.fate is Fate.ACCEPTED
    assert len(phones.ledger()) == 1
