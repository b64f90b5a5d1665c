"""Stripe's side of a test: a stand-in that runs, cards in it, and events signed by Stripe's own library."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, Final, Self

import httpx
import stripe

from tests.api.shop import Shop
from tests.wallet_command import HTTP

ROOT: Final = Path(__file__).parents[2]
WEBHOOK_SECRET: Final = "whsec_of_the_tests"
STARTED_SECONDS: Final = 90

_numbers = count(1)


@contextmanager
def running_stand_in() -> Iterator[str]:
    """The stand-in as a process of its own; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    process = subprocess.Popen([sys.executable, "-m", "tests.payments.stand_in", str(port)], cwd=ROOT)
    try:
        deadline = time.monotonic() + STARTED_SECONDS
        while not _answers(url):
            assert process.poll() is None, "the stand-in ended"
            assert time.monotonic() < deadline, "the stand-in does not answer"
            time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        process.wait(STARTED_SECONDS)


class Bank:
    """Acts for the member's phone and for Stripe; use it as a context. It begins empty, unless it `keeps` what is."""

    def __init__(self, *, shop: Shop, url: str, keeps: bool = False) -> None:
        self.shop = shop
        self.keeps = keeps
        self.http = httpx.AsyncClient(base_url=url, headers={"Authorization": "Bearer sk_test_wallet"}, timeout=90)

    async def __aenter__(self) -> Self:
        if not self.keeps:
            await self.http.post("/_config/up")
            await self.http.delete("/_config/data")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.post("/_config/up")
        await self.http.aclose()

    async def intent(self, client_secret: str) -> dict[str, Any]:
        """The intent as Stripe has it."""
        return await self.read(f"/v1/payment_intents/{client_secret.partition('_secret_')[0]}")

    async def pay(self, client_secret: str, card: str = "4242424242424242") -> dict[str, Any]:
        """What the SDK does on the phone: a card, attached to the customer and the intent, and the confirmation."""
        intent = await self.intent(client_secret)
        number = {"number": card, "exp_month": 12, "exp_year": 2040, "cvc": "123"}
        method = await self.ask("/v1/payment_methods", {"type": "card", "card": number})
        await self.ask(f"/v1/payment_methods/{method['id']}/attach", {"customer": intent["customer"]})
        await self.ask(f"/v1/payment_intents/{intent['id']}", {"payment_method": method["id"]})
        await self.http.post(f"/v1/payment_intents/{intent['id']}/confirm")
        return await self.intent(client_secret)

    async def replace_card(self, member: str, card: str) -> None:
        """The saved card from now on behaves as that one does."""
        payer = await self.shop.services.store.payers.find_one({"_id": member})
        assert payer is not None
        number = {"number": card, "exp_month": 12, "exp_year": 2040, "cvc": "123"}
        method = await self.ask("/v1/payment_methods", {"type": "card", "card": number})
        await self.ask(f"/v1/payment_methods/{method['id']}/attach", {"customer": payer["customer"]})
        await self.shop.services.store.payers.update_one({"_id": member}, {"$set": {"method": method["id"]}})

    async def ask(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        answered = await self.http.post(path, json=body)
        assert answered.is_success, answered.text
        read: dict[str, Any] = answered.json()
        return read

    async def read(self, path: str) -> dict[str, Any]:
        answered = await self.http.get(path)
        assert answered.is_success, answered.text
        read: dict[str, Any] = answered.json()
        return read

    async def calls(self, path: str) -> int:
        """How often Stripe really carried out the call."""
        return int((await self.read("/_config/calls")).get(path, 0))

    async def tell(
        self, about: Mapping[str, Any], kind: str = "payment_intent.succeeded", **how: Any
    ) -> httpx.Response:
        """An event about it is delivered."""
        return await self.deliver(event(about, kind), **how)

    async def deliver(
        self, sent: Mapping[str, Any], *, secret: str = WEBHOOK_SECRET, age_seconds: int = 0
    ) -> httpx.Response:
        """The event, signed by Stripe's library, comes to us over HTTP."""
        body = json.dumps(sent)
        signature = stripe.WebhookSignature.generate_signature_header(body, secret, int(time.time()) - age_seconds)
        return await self.shop.http.post("/webhooks/stripe", content=body, headers={"Stripe-Signature": signature})


def event(about: Mapping[str, Any], kind: str = "payment_intent.succeeded") -> dict[str, Any]:
    """An event with an id of its own."""
    return {
        "id": f"evt_{next(_numbers)}_{about['id']}",
        "object": "event",
        "type": kind,
        "created": int(time.time()),
        "data": {"object": dict(about)},
    }


def _answers(url: str) -> bool:
    try:
        return HTTP.get(f"{url}/_config/calls").is_success
    except httpx.TransportError:
        return False
