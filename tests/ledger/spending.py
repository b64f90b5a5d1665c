"""What a member does with his points, as commands at a test's shop: each goes the way that the API sends it."""

import asyncio
from dataclasses import replace
from functools import partial
from typing import Any, Final

from domain.commands.bonus_claim import decide_claim, load_ended_bonus
from domain.commands.conversion import check_conversion, decide_conversion
from domain.commands.donation import Donation, check_donation, decide_donation
from domain.commands.gift import Gift, check_gift, decide_sending, receiving
from domain.commands.purchase import load_ended_vouchers
from domain.commands.redemption import (
    Cancellation,
    check_redemption,
    decide_cancellation,
    decide_redemption,
    decide_use,
    load_past,
    open_stock,
    reserve_stock,
    return_stock,
)
from domain.ledger.command import Command, fingerprint_of
from domain.ledger.commit import Ledger
from domain.ledger.entry import Entry, Note
from domain.ledger.joint import commit_jointly
from domain.ledger.outcome import Outcome
from domain.ledger.voucher import Voucher
from domain.members.member import Member
from tests.ledger.shop import POINT_PER_EURO, Shop

REWARDS: Final = (
    POINT_PER_EURO
    + """
points: {expiry: {policy: rolling, after: P3M}, refund_grace: P14D, gift_limits: {per_day: 500, per_month: 2000}}
cashback: {expiry: {policy: rolling, after: P3M}}
conversion: {points: 100, cashback: "1.00"}
charities: [{id: food-bank, name: {en: Food bank}}, {id: shelter, name: {en: Shelter}}]
vouchers:
  - {id: coffee, discount: {free_item: coffee}, expires: P30D, name: {en: Coffee}}
  - {id: five-off, discount: {amount: "5.00", minimum_spend: "20.00"}, expires: P60D, name: {en: 5 off}}
  - {id: seat, discount: {free_item: seat}, expires: P10D, name: {en: Seat}}
rewards:
  - {id: coffee, kind: FREE_ITEM, cost: 100, voucher: coffee, name: {en: Coffee}}
  - {id: weekly, kind: FREE_ITEM, cost: 10, voucher: coffee, limit: {count: 2, per: week}, name: {en: Weekly}}
  - {id: five, kind: VOUCHER, cost: 50, voucher: five-off, name: {en: 5 off}}
  - {id: tasting, kind: EXPERIENCE, cost: 100, voucher: seat, stock: 7, if_expired: return, name: {en: Tasting}}
"""
)


def command(shop: Shop, member: Member, operation: str, given: dict[str, Any], **more: Any) -> Command:
    """A command of the member's own session."""
    return Command(
        member=member.id,
        actor=more.pop("actor", f"member:{member.id}"),
        key=more.pop("key", None) or f"key-{next(shop.numbers)}",
        operation=operation,
        fingerprint=fingerprint_of(operation, given),
        **more,
    )


def redemption(shop: Shop, member: Member, reward: str, *, key: str | None = None) -> Command:
    return command(
        shop,
        member,
        "redeemReward",
        {"reward": reward},
        key=key,
        decide=partial(decide_redemption, reward),
        check=lambda programme, _: check_redemption(reward, programme),
    )


async def redeem(
    shop: Shop, member: Member, reward: str, *, key: str | None = None, ledger: Ledger | None = None
) -> Outcome:
    ledger = ledger or shop.ledger
    stock = shop.programmes.current.rewards[reward].stock
    wanted = redemption(shop, member, reward, key=key)
    if stock is None:
        return await ledger.commit(wanted)
    await open_stock(shop.store, reward)
    return await commit_jointly(
        ledger, wanted, reserve=reserve_stock(shop.store, reward, stock), queues=[f"reward {reward}"]
    )


async def redeemed(shop: Shop, member: Member, reward: str) -> Voucher:
    """The voucher of a redemption that must succeed."""
    outcome = await redeem(shop, member, reward)
    assert isinstance(outcome.decided, Entry), outcome.decided
    (voucher,) = outcome.decided.changes.vouchers
    return voucher


def cancellation(shop: Shop, member: Member, voucher: str, *, key: str | None = None) -> Command:
    return command(
        shop,
        member,
        "cancelVoucher",
        {"voucher": voucher},
        key=key,
        decide=partial(decide_cancellation, Cancellation(voucher=voucher)),
        load=partial(load_past, voucher),
    )


async def cancel(shop: Shop, member: Member, voucher: Voucher, *, key: str | None = None) -> Outcome:
    wanted = cancellation(shop, member, voucher.id, key=key)
    if not voucher.is_limited:
        return await shop.ledger.commit(wanted)
    assert voucher.reward is not None
    return await commit_jointly(
        shop.ledger, wanted, reserve=return_stock(shop.store, voucher.reward), queues=[f"reward {voucher.reward}"]
    )


def use(shop: Shop, member: Member, voucher: str, *, receipt: str = "R", key: str | None = None) -> Command:
    return command(
        shop,
        member,
        "useVoucher",
        {"voucher": voucher, "receipt": receipt},
        key=key,
        actor=f"partner:{shop.client}",
        decide=partial(decide_use, voucher, receipt),
        load=partial(load_past, voucher),
    )


def conversion(shop: Shop, member: Member, points: int, *, key: str | None = None) -> Command:
    return command(
        shop,
        member,
        "convertPoints",
        {"points": points},
        key=key,
        decide=partial(decide_conversion, points),
        check=lambda programme, _: check_conversion(points, programme),
    )


def donation(
    shop: Shop,
    member: Member,
    amount: int,
    *,
    asset: str = "points",
    charity: str = "food-bank",
    key: str | None = None,
) -> Command:
    wanted = Donation(charity=charity, asset=asset, amount=amount)
    return command(
        shop,
        member,
        "donate",
        {"charity": charity, asset: amount},
        key=key,
        decide=partial(decide_donation, wanted),
        check=lambda programme, _: check_donation(wanted, programme),
    )


def claim(shop: Shop, member: Member, bonus: str, *, key: str | None = None) -> Command:
    return command(
        shop,
        member,
        "claimBonus",
        {"bonus": bonus},
        key=key,
        decide=partial(decide_claim, bonus),
        load=partial(load_ended_bonus, bonus),
    )


async def give(
    shop: Shop,
    sender: Member,
    receiver: Member,
    points: int,
    *,
    message: str | None = None,
    key: str | None = None,
    ledger: Ledger | None = None,
) -> Outcome:
    note = None if message is None else Note(text=message, salt="salt")
    gift = Gift(sender=sender.id, receiver=receiver.id, points=points, message=note)
    wanted = command(
        shop,
        sender,
        "giftPoints",
        {"to": {"id": receiver.id}, "points": points, "message": message},
        key=key,
        decide=partial(decide_sending, gift),
        check=lambda _programme, _now: check_gift(gift),
    )
    queues = [f"member {gift.sender}", f"member {gift.receiver}"]
    follow = partial(receiving, gift)
    return await commit_jointly(ledger or shop.ledger, wanted, follow=follow, others=[receiver.id], queues=queues)


def paying_with(shop: Shop, member: Member, total_minor: int, *codes: str, **more: Any) -> Command:
    """A purchase with voucher codes."""
    plain = shop.purchase(member, total_minor, **more)
    decide = plain.decide
    assert isinstance(decide, partial)
    receipt = replace(decide.args[0], voucher_codes=codes)
    return replace(
        plain,
        decide=partial(decide.func, receipt),
        load=partial(load_ended_vouchers, receipt),
        fingerprint=fingerprint_of("recordPurchase", {"receipt": receipt.number, "codes": list(codes)}),
    )


async def stock_issued(shop: Shop, reward: str) -> int:
    document = await shop.store.stock.find_one({"_id": reward})
    return 0 if document is None else int(document["issued"])


async def status_of(shop: Shop, voucher: Voucher) -> str:
    document = await shop.store.vouchers.find_one({"_id": voucher.id})
    assert document is not None
    return str(document["status"])


async def gather(*outcomes: Any) -> list[Outcome]:
    return list(await asyncio.gather(*outcomes))
