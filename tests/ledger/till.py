"""What a till asks of the members' money: payments and top-ups, as the commands that the API makes of them."""

from functools import partial
from typing import Final

from domain.commands.payment import (
    Capture,
    Payment,
    Refund,
    check_amount,
    check_payment,
    decide_capture,
    decide_payment,
    decide_refund,
    decide_void,
    load_hold,
    load_payment,
)
from domain.commands.top_up import TopUp, check_top_up, decide_top_up
from domain.ledger.command import Command, fingerprint_of
from domain.ledger.entry import Entry, EntryKind
from domain.ledger.journal import Journal
from domain.ledger.wallet import Wallet
from domain.members.member import Member
from domain.payments.reservations import reserved_minor
from tests.ledger.shop import Shop

PREPAID: Final = "prepaid/EUR"


def payment(
    shop: Shop,
    member: Member,
    amount_minor: int,
    *,
    pockets: tuple[str, ...] = ("prepaid",),
    at_once: bool = False,
    receipt: str | None = None,
    key: str | None = None,
) -> Command:
    """The command of `authorizePayment`."""
    wanted = Payment(
        merchant=shop.client,
        amount_minor=amount_minor,
        currency="EUR",
        pockets=pockets,
        at_once=at_once,
        receipt=receipt,
    )
    given = {"member": {"id": member.id}, "amount": amount_minor, "tender": list(pockets), "capture": at_once}
    return Command(
        member=member.id,
        actor=f"partner:{shop.client}",
        key=key or f"key-{next(shop.numbers)}",
        operation="authorizePayment",
        fingerprint=fingerprint_of("authorizePayment", given),
        decide=partial(decide_payment, wanted),
        check=lambda programme, _: check_payment(wanted, programme),
    )


def capture(shop: Shop, hold: Entry, amount_minor: int | None = None) -> Command:
    """The command of `capturePayment`."""
    wanted = Capture(merchant=shop.client, hold=hold.id, amount_minor=amount_minor)
    return Command(
        member=hold.member,
        actor=f"partner:{shop.client}",
        key=f"key-{next(shop.numbers)}",
        operation="capturePayment",
        fingerprint=fingerprint_of("capturePayment", {"hold": hold.id, "amount": amount_minor}),
        decide=partial(decide_capture, wanted),
        check=lambda _programme, _now: check_amount(amount_minor),
        load=partial(load_hold, hold.id),
    )


def void(shop: Shop, hold: Entry) -> Command:
    """The command of `voidPayment`."""
    return Command(
        member=hold.member,
        actor=f"partner:{shop.client}",
        key=f"key-{next(shop.numbers)}",
        operation="voidPayment",
        fingerprint=fingerprint_of("voidPayment", {"hold": hold.id}),
        decide=partial(decide_void, hold.id, shop.client),
        load=partial(load_hold, hold.id),
    )


def refund(shop: Shop, begun: Entry, amount_minor: int | None = None) -> Command:
    """The command of `refundPayment`."""
    wanted = Refund(merchant=shop.client, payment=begun.id, amount_minor=amount_minor)
    return Command(
        member=begun.member,
        actor=f"partner:{shop.client}",
        key=f"key-{next(shop.numbers)}",
        operation="refundPayment",
        fingerprint=fingerprint_of("refundPayment", {"payment": begun.id, "amount": amount_minor}),
        decide=partial(decide_refund, wanted),
        check=lambda _programme, _now: check_amount(amount_minor),
        load=partial(load_payment, begun.id),
    )


def top_up(shop: Shop, member: Member, amount_minor: int, *, receipt: str | None = None) -> Command:
    """The command of `topUpAtTill`."""
    wanted = TopUp(
        member=member,
        source=f"till/{shop.client}",
        amount_minor=amount_minor,
        currency="EUR",
        receipt=receipt or f"top-up-{next(shop.numbers)}",
    )

    async def reserved(journal: Journal, wallet: Wallet) -> int:
        return await reserved_minor(journal.store, wallet.member, "EUR")

    given = {"member": {"id": member.id}, "amount": amount_minor, "receipt": wanted.receipt}
    return Command(
        member=member.id,
        actor=f"partner:{shop.client}",
        key=f"key-{next(shop.numbers)}",
        operation="topUpAtTill",
        fingerprint=fingerprint_of("topUpAtTill", given),
        decide=partial(decide_top_up, wanted),
        check=lambda programme, _: check_top_up(wanted, programme),
        load=reserved,
        receipt=wanted.receipt,
        receipt_of=EntryKind.TOP_UP,
    )
