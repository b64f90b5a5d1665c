"""Points from one member to another: both entries or neither, within limits, never to oneself."""

from datetime import UTC, datetime, timedelta

import pytest

from domain.ledger.audit import audit
from domain.ledger.entry import Entry, EntryKind
from domain.ledger.posting import POINTS
from domain.problems import IdempotencyMismatch, InsufficientBalance, InvalidInput, LimitReached, NotEligible
from tests.ledger.conftest import OpenShop
from tests.ledger.shop import Shop
from tests.ledger.spending import REWARDS, gather, give, redeemed


@pytest.fixture
async def shop(shop_with: OpenShop) -> Shop:
    return await shop_with(REWARDS, start_at=datetime(2026, 3, 1, 12, tzinfo=UTC))


async def test_both_wallets_have_an_entry_and_the_lot_keeps_the_earliest_expiry(shop: Shop) -> None:
    sender, receiver = await shop.member(), await shop.member()
    await shop.adjust(sender, 60)
    await shop.move_to(datetime(2026, 5, 1, 12, tzinfo=UTC))
    await shop.adjust(sender, 60)

    outcome = await give(shop, sender, receiver, 100, message="For you")

    assert isinstance(outcome.decided, Entry)
    received = (await shop.entries(receiver))[-1]
    assert (outcome.decided.kind, outcome.decided.points) == (EntryKind.GIFT_SENT, -100)
    assert (received.kind, received.points, received.actor) == (EntryKind.GIFT_RECEIVED, 100, "system")
    assert outcome.decided.note is not None
    assert received.note is not None
    assert (outcome.decided.note.text, received.note.text) == ("For you", "For you")
    assert (await shop.standing(sender)).expiring == ((20, datetime(2026, 8, 1, 22, tzinfo=UTC)),)
    assert (await shop.standing(receiver)).expiring == ((100, datetime(2026, 6, 1, 22, tzinfo=UTC)),)


async def test_a_gift_of_an_idle_wallet_keeps_the_date_that_the_senders_points_had(shop_with: OpenShop) -> None:
    shop = await shop_with(
        "points: {expiry: {policy: inactivity, after: P3M}}\n", start_at=datetime(2026, 3, 1, 12, tzinfo=UTC)
    )
    sender, receiver = await shop.member(), await shop.member()
    await shop.adjust(sender, 60)
    await shop.move_to(datetime(2026, 5, 1, 12, tzinfo=UTC))
    await shop.adjust(receiver, 5)

    await give(shop, sender, receiver, 40)

    assert (await shop.standing(sender)).expiring == ((20, datetime(2026, 8, 1, 22, tzinfo=UTC)),)
    assert (await shop.standing(receiver)).expiring == (
        (40, datetime(2026, 6, 1, 22, tzinfo=UTC)),
        (5, datetime(2026, 8, 1, 22, tzinfo=UTC)),
    )


async def test_a_gift_is_refused_in_both_wallets_or_in_none(shop: Shop) -> None:
    sender, receiver = await shop.member(), await shop.member()
    await shop.adjust(sender, 50)

    poor = await give(shop, sender, receiver, 51, key="poor-gift")
    again = await give(shop, sender, receiver, 51, key="poor-gift")
    oneself = await give(shop, sender, sender, 10)
    nothing = await give(shop, sender, receiver, 0)

    assert isinstance(poor.decided, InsufficientBalance)
    assert (again.decided, again.replayed) == (poor.decided, True)
    assert isinstance(oneself.decided, NotEligible)
    assert oneself.decided.reason == "ONESELF"
    assert isinstance(nothing.decided, InvalidInput)
    assert [len(await shop.entries(one)) for one in (sender, receiver)] == [2, 1]


async def test_the_limits_of_a_day_and_a_month_name_their_headroom(shop: Shop) -> None:
    sender, receiver = await shop.member(), await shop.member()
    await shop.adjust(sender, 3_000)

    await give(shop, sender, receiver, 450)
    over_the_day = await give(shop, sender, receiver, 51)
    await give(shop, sender, receiver, 50)
    for day in (2, 3, 4):
        await shop.move_to(datetime(2026, 3, day, 12, tzinfo=UTC))
        await give(shop, sender, receiver, 500)
    await shop.move_to(datetime(2026, 3, 5, 12, tzinfo=UTC))
    over_the_month = await give(shop, sender, receiver, 1)

    assert isinstance(over_the_day.decided, LimitReached)
    assert (over_the_day.decided.limit, over_the_day.decided.headroom) == ("gift_per_day", "50")
    assert over_the_day.decided.resets_at == datetime(2026, 3, 1, 23, tzinfo=UTC)
    assert isinstance(over_the_month.decided, LimitReached)
    assert (over_the_month.decided.limit, over_the_month.decided.headroom) == ("gift_per_month", "0")
    assert over_the_month.decided.resets_at == datetime(2026, 3, 31, 22, tzinfo=UTC)
    assert await shop.available(receiver) == 2_000


async def test_twenty_callers_with_one_key_give_once_and_another_input_is_a_mismatch(shop: Shop) -> None:
    sender, receiver = await shop.member(), await shop.member()
    await shop.adjust(sender, 500)
    ledgers = [shop.ledger, shop.another_ledger()]

    outcomes = await gather(
        *(give(shop, sender, receiver, 20, key="the-key", ledger=ledgers[number % 2]) for number in range(20))
    )
    other = await give(shop, sender, receiver, 21, key="the-key")

    assert sum(outcome.replayed for outcome in outcomes) == 19
    assert isinstance(other.decided, IdempotencyMismatch)
    assert other.decided.differs == ("points",)
    assert (await shop.available(sender), await shop.available(receiver)) == (480, 20)


async def test_members_who_give_to_each_other_all_at_once_lose_nothing(shop: Shop) -> None:
    members = [await shop.member() for _ in range(4)]
    for member in members:
        await shop.adjust(member, 400)
    ledgers = [shop.ledger, shop.another_ledger()]
    pairs = [(one, other) for one in range(4) for other in range(4) if one != other]

    outcomes = await gather(
        *(
            give(shop, members[one], members[other], 10, ledger=ledgers[number % 2])
            for number, (one, other) in enumerate(pairs)
        )
    )

    assert all(isinstance(outcome.decided, Entry) for outcome in outcomes)
    assert [await shop.available(member) for member in members] == [400] * 4
    report = await audit(shop.store)
    assert report.ok, report.differences


async def test_a_gift_finds_what_a_dead_process_left_unwritten_and_writes_its_vouchers_too(shop: Shop) -> None:
    sender, receiver = await shop.member(), await shop.member()
    await shop.adjust(sender, 500)
    before = await shop.store.wallets.find_one({"_id": sender.id})
    assert before is not None
    voucher = await redeemed(shop, sender, "coffee")
    await shop.store.wallets.replace_one({"_id": sender.id}, before)
    await shop.store.vouchers.delete_one({"_id": voucher.id})

    outcome = await give(shop, sender, receiver, 400)

    assert isinstance(outcome.decided, Entry)
    assert await shop.available(sender) == 0
    assert await shop.store.vouchers.count_documents({"_id": voucher.id, "status": "ACTIVE"}) == 1


async def test_what_expired_cannot_be_given_and_what_is_owed_is_paid_by_a_gift(shop: Shop) -> None:
    sender, receiver = await shop.member(), await shop.member()
    bought = await shop.buy(receiver, 80_00)
    await give(shop, receiver, sender, 80)
    await shop.give_back(receiver, bought)
    owed = await shop.standing(receiver)

    await give(shop, sender, receiver, 30)
    after = await shop.standing(receiver)
    await shop.move_to(datetime(2026, 6, 1, 22, tzinfo=UTC))
    late = await give(shop, sender, receiver, 1)

    assert (owed.owed, after.owed, after.available) == (80, 50, 0)
    assert isinstance(late.decided, InsufficientBalance)
    assert (await shop.wallet(sender)).owed.get(POINTS, 0) == 0


async def test_gifts_alone_make_a_wallet_forget_usage_that_nothing_can_need(shop: Shop) -> None:
    sender, receiver = await shop.member(), await shop.member()
    await shop.adjust(sender, 400)
    await give(shop, sender, receiver, 10)
    first = (await shop.wallet(sender)).usage["gift"]

    for _ in range(3):
        await shop.move_to(shop.clock.now() + timedelta(days=200))
        await shop.adjust(sender, 10)
        await give(shop, sender, receiver, 10)

    periods = (await shop.wallet(sender)).usage["gift"]
    assert len(first) == 2
    assert not set(first) & set(periods)
