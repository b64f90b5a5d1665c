"""What a member and staff do about top-ups, over the API, and payments at a till, on the ledger."""

from functools import partial
from typing import Any

from domain.commands.payment import Payment, decide_payment, decide_refund, load_payment
from domain.commands.payment import Refund as PaymentRefund
from domain.commands.top_up import TopUp, decide_top_up
from domain.ledger.command import Command, fingerprint_of
from domain.ledger.entry import Entry, EntryKind, entry_from
from domain.members.member import member_by_id
from domain.payments import due
from domain.payments.provider import Provider
from domain.store.slots import SLOTS
from tests.api.shop import Shop, new_key

START = """
mutation Start($input: StartTopUpInput!) {
  startTopUp(input: $input) {
    __typename
    ... on TopUpStarted { topUp provider clientSecret replayed amount { amount currency } }
    ... on Problem { code message }
    ... on LimitReached { limit headroom }
    ... on IdempotencyMismatch { differs }
    ... on InvalidInput { fields { path } }
    ... on NotEligible { reason }
  }
}
"""
CONFIRM = """
mutation Confirm($secret: String!, $card: SandboxCard!) {
  sandboxConfirmTopUp(clientSecret: $secret, card: $card) { succeeded }
}
"""
AUTO = """
mutation Auto($input: AutoTopUpInput!) {
  setAutoTopUp(input: $input) {
    __typename
    ... on AutoTopUp { below { amount } amount { amount } enabled stoppedAt }
    ... on Problem { code }
    ... on InvalidInput { fields { path } }
    ... on NotEligible { reason }
  }
}
"""
REFUND = """
mutation Refund($input: RefundTopUpInput!) {
  refundTopUp(input: $input) {
    __typename
    ... on TopUpRefunded {
      replayed refunded { amount } entry { id kind reverses }
      member { wallet { prepaid { available { amount } } } }
    }
    ... on Problem { code }
    ... on WrongState { state }
    ... on NotFound { what }
    ... on LimitReached { limit headroom }
    ... on InsufficientBalance { asset available required }
    ... on IdempotencyMismatch { differs }
    ... on InvalidInput { fields { path } }
  }
}
"""
WALLET = """
{
  me {
    wallet {
      prepaid { available { amount } autoTopUp { below { amount } amount { amount } enabled stoppedAt } }
    }
  }
}
"""


def a_top_up(amount: str = "20.00", /, **changes: Any) -> dict[str, Any]:
    return {"amount": {"amount": amount, "currency": "USD"}, "idempotencyKey": new_key(), **changes}


async def start(shop: Shop, member: str, wanted: dict[str, Any] | None = None) -> dict[str, Any]:
    """What startTopUp answers to the phone."""
    answered: dict[str, Any] = (await shop.phone(member, START, {"input": wanted or a_top_up()}))["startTopUp"]
    return answered


async def confirm(shop: Shop, secret: str, card: str = "GOOD") -> bool:
    """Pays in a sandbox; whether it did."""
    asked = await shop.ask(CONFIRM, {"secret": secret, "card": card})
    assert "errors" not in asked, asked
    return bool(asked["data"]["sandboxConfirmTopUp"]["succeeded"])


async def top_up(shop: Shop, member: str, amount: str = "20.00", *, card: str = "GOOD", saves: bool = True) -> Entry:
    """The TOP_UP entry of a member who topped up in a sandbox."""
    started = await start(shop, member, a_top_up(amount, savePaymentMethod=saves))
    assert await confirm(shop, started["clientSecret"], card)
    return (await entries(shop, member, EntryKind.TOP_UP))[-1]


async def set_auto(
    shop: Shop, member: str, *, below: str = "10.00", amount: str = "25.00", enabled: bool = True
) -> dict[str, Any]:
    money = {"below": {"amount": below, "currency": "USD"}, "amount": {"amount": amount, "currency": "USD"}}
    answered: dict[str, Any] = (await shop.phone(member, AUTO, {"input": {**money, "enabled": enabled}}))[
        "setAutoTopUp"
    ]
    return answered


async def refund(shop: Shop, entry: str, amount: str | None = None, *, key: str | None = None) -> dict[str, Any]:
    wanted = {"topUp": entry, "amount": amount, "idempotencyKey": key or new_key()}
    answered: dict[str, Any] = (await shop.staff(REFUND, {"input": wanted}, scopes=("staff:refunds",)))["refundTopUp"]
    return answered


async def pay(shop: Shop, member: str, minor: int, pocket: str = "prepaid") -> Entry:
    """A charge at the till."""
    payment = Payment(merchant=shop.till_id, amount_minor=minor, currency="USD", pockets=(pocket,), at_once=True)
    outcome = await shop.services.ledger.commit(
        Command(
            member=member,
            actor=f"partner:{shop.till_id}",
            key=new_key(),
            operation="authorizePayment",
            fingerprint=fingerprint_of("authorizePayment", {"amount": minor}),
            decide=partial(decide_payment, payment),
        )
    )
    assert isinstance(outcome.decided, Entry), outcome.decided
    return outcome.decided


async def give_back(shop: Shop, charged: Entry) -> Entry:
    """All of a charge, back at the till."""
    wanted = PaymentRefund(merchant=shop.till_id, payment=charged.id, amount_minor=None)
    outcome = await shop.services.ledger.commit(
        Command(
            member=charged.member,
            actor=f"partner:{shop.till_id}",
            key=new_key(),
            operation="refundPayment",
            fingerprint=fingerprint_of("refundPayment", {"payment": charged.id}),
            decide=partial(decide_refund, wanted),
            load=partial(load_payment, charged.id),
        )
    )
    assert isinstance(outcome.decided, Entry), outcome.decided
    return outcome.decided


async def top_up_at_till(shop: Shop, member: str, minor: int) -> Entry:
    """Cash taken at the till."""
    found = await member_by_id(shop.services.store, member)
    assert found is not None, member
    cash = TopUp(member=found, source=f"till/{shop.till_id}", amount_minor=minor, currency="USD")
    outcome = await shop.services.ledger.commit(
        Command(
            member=member,
            actor=f"partner:{shop.till_id}",
            key=new_key(),
            operation="topUpAtTill",
            fingerprint=fingerprint_of("topUpAtTill", {"amount": minor}),
            decide=partial(decide_top_up, cash),
        )
    )
    assert isinstance(outcome.decided, Entry), outcome.decided
    return outcome.decided


async def work(shop: Shop, *members: str) -> None:
    """What a worker does for payments, once."""
    provider = provider_of(shop)
    await due.look_at(shop.services.ledger, provider, members)
    while await due.work_due(shop.services.ledger, provider, range(SLOTS), now=shop.clock.now()):
        pass


async def wallet(shop: Shop, member: str) -> dict[str, Any]:
    """The member's prepaid balance as the app shows it."""
    prepaid: dict[str, Any] = (await shop.phone(member, WALLET))["me"]["wallet"]["prepaid"][0]
    return prepaid


async def available(shop: Shop, member: str) -> str:
    amount: str = (await wallet(shop, member))["available"]["amount"]
    return amount


async def entries(shop: Shop, member: str, kind: EntryKind) -> list[Entry]:
    """The member's entries of that kind, in order."""
    found = shop.services.store.journal.find({"member": member, "kind": kind.value}).sort("seq", 1)
    return [entry_from(document) async for document in found]


async def state_of(shop: Shop, identifier: str) -> str:
    found = await shop.services.store.top_ups.find_one({"_id": identifier})
    assert found is not None, identifier
    state: str = found["state"]
    return state


def provider_of(shop: Shop) -> Provider:
    assert shop.services.provider is not None
    return shop.services.provider
