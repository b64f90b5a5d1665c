"""Points for rewards, number by number: what is spent, what comes back, and what is never sold twice."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from domain.commands.redemption import RewardBlock, block_of
from domain.ledger.due import as_settled
from domain.ledger.entry import Entry, EntryKind
from domain.ledger.posting import POINTS
from domain.ledger.wallet import standing
from domain.members.member import Member
from domain.problems import (
    IdempotencyMismatch,
    InsufficientBalance,
    LimitReached,
    NotEligible,
    NotFound,
    OutOfStock,
    WrongState,
)
from tests.ledger.conftest import OpenShop
from tests.ledger.shop import CASHBACK, Shop
from tests.ledger.spending import (
    REWARDS,
    cancel,
    cancellation,
    gather,
    paying_with,
    redeem,
    redeemed,
    redemption,
    status_of,
    stock_issued,
    use,
)


@pytest.fixture
async def shop(shop_with: OpenShop) -> Shop:
    return await shop_with(REWARDS, start_at=datetime(2026, 3, 1, 12, tzinfo=UTC))


@pytest.fixture
async def member(shop: Shop) -> Member:
    return await shop.member()


def at(month: int, day: int, hour: int = 12) -> datetime:
    return datetime(2026, month, day, hour, tzinfo=UTC)


def last_midnight(month: int, day: int) -> datetime:
    """The first instant after a summer's day in Ljubljana."""
    return datetime(2026, month, day, 22, tzinfo=UTC)


async def lots(shop: Shop, member: Member, asset: str = POINTS) -> dict[datetime | None, int]:
    wallet = await shop.wallet(member)
    return {lot.key.expires_at: lot.remaining for lot in wallet.lots if lot.asset == asset}


async def test_points_go_and_the_voucher_comes_in_one_entry(shop: Shop, member: Member) -> None:
    await shop.buy(member, 130_00)

    outcome = await redeem(shop, member, "coffee")

    assert isinstance(outcome.decided, Entry)
    (voucher,) = outcome.decided.changes.vouchers
    assert (outcome.decided.kind, outcome.decided.points) == (EntryKind.REDEEM, -100)
    assert [(posting.destination, posting.amount) for posting in outcome.decided.postings] == [
        ("programme/redeemed", 100)
    ]
    assert voucher.id in (await shop.wallet(member)).vouchers
    assert voucher.expires_at == datetime(2026, 3, 31, 22, tzinfo=UTC)
    assert await status_of(shop, voucher) == "ACTIVE"
    assert await shop.available(member) == 30


async def test_too_few_points_are_refused_and_the_refusal_stands(shop: Shop, member: Member) -> None:
    await shop.buy(member, 99_00)
    wanted = redemption(shop, member, "coffee")

    problem = await shop.refused(wanted)
    await shop.buy(member, 100_00)
    again = await shop.ledger.commit(wanted)

    assert isinstance(problem, InsufficientBalance)
    assert (problem.available, problem.required) == ("99", "100")
    assert (again.replayed, again.decided) == (True, problem)


async def test_a_reward_that_is_not_there_is_not_found(shop: Shop, member: Member) -> None:
    assert isinstance(await shop.refused(redemption(shop, member, "yacht")), NotFound)


async def test_fifty_callers_on_a_stock_of_seven_get_seven_vouchers_over_two_processes(
    shop: Shop, member: Member
) -> None:
    members = [await shop.member() for _ in range(50)]
    await shop.all(shop.purchase(one, 150_00) for one in members)
    ledgers = [shop.ledger, shop.another_ledger()]

    outcomes = await gather(
        *(redeem(shop, one, "tasting", ledger=ledgers[number % 2]) for number, one in enumerate(members))
    )

    assert sum(isinstance(outcome.decided, Entry) for outcome in outcomes) == 7
    assert sum(isinstance(outcome.decided, OutOfStock) for outcome in outcomes) == 43
    assert await stock_issued(shop, "tasting") == 7
    assert await shop.store.vouchers.count_documents({}) == 7
    assert sorted([await shop.available(one) for one in members]) == [50] * 7 + [150] * 43


async def test_fifty_callers_of_one_member_spend_what_he_has_and_no_more(shop: Shop, member: Member) -> None:
    await shop.buy(member, 350_00)

    outcomes = await gather(*(redeem(shop, member, "tasting") for _ in range(12)))

    assert sum(isinstance(outcome.decided, Entry) for outcome in outcomes) == 3
    assert sum(isinstance(outcome.decided, InsufficientBalance) for outcome in outcomes) == 9
    assert (await shop.available(member), await stock_issued(shop, "tasting")) == (50, 3)


async def test_twenty_callers_with_one_key_take_one_piece(shop: Shop, member: Member) -> None:
    await shop.buy(member, 350_00)
    ledgers = [shop.ledger, shop.another_ledger()]

    outcomes = await gather(
        *(redeem(shop, member, "tasting", key="one-key", ledger=ledgers[number % 2]) for number in range(20))
    )

    assert len({outcome.decided.id for outcome in outcomes if isinstance(outcome.decided, Entry)}) == 1
    assert sum(outcome.replayed for outcome in outcomes) == 19
    assert (await shop.available(member), await stock_issued(shop, "tasting")) == (250, 1)


async def test_a_key_used_for_another_reward_is_a_mismatch(shop: Shop, member: Member) -> None:
    await shop.buy(member, 350_00)
    await redeem(shop, member, "tasting", key="the-key")

    other = await redeem(shop, member, "coffee", key="the-key")

    assert isinstance(other.decided, IdempotencyMismatch)
    assert other.decided.differs == ("reward",)
    assert await shop.available(member) == 250


async def test_a_limit_counts_what_was_issued_less_what_was_cancelled_within_the_week(
    shop: Shop, member: Member
) -> None:
    await shop.buy(member, 100_00)
    await shop.move_to(at(3, 2))
    first = await redeemed(shop, member, "weekly")
    await redeemed(shop, member, "weekly")

    refused = await redeem(shop, member, "weekly")
    await cancel(shop, member, first)
    allowed = await redeem(shop, member, "weekly")
    full = await redeem(shop, member, "weekly")
    await shop.move_to(at(3, 9))
    next_week = await redeem(shop, member, "weekly")

    assert isinstance(refused.decided, LimitReached)
    assert (refused.decided.limit, refused.decided.headroom) == ("weekly", "0")
    assert refused.decided.resets_at == datetime(2026, 3, 8, 23, tzinfo=UTC)
    assert isinstance(allowed.decided, Entry)
    assert isinstance(full.decided, LimitReached)
    assert isinstance(next_week.decided, Entry)


async def test_a_voucher_of_before_the_limit_gives_no_room_when_it_is_cancelled(shop: Shop, member: Member) -> None:
    await shop.buy(member, 300_00)
    unlimited = await redeemed(shop, member, "coffee")
    limited = "cost: 100, voucher: coffee, limit: {count: 1, per: lifetime},"
    await shop.publish(REWARDS.replace("cost: 100, voucher: coffee,", limited))
    await redeemed(shop, member, "coffee")

    await cancel(shop, member, unlimited)
    again = await redeem(shop, member, "coffee")

    assert isinstance(again.decided, LimitReached)


async def test_points_return_to_their_lots_and_a_lot_that_passed_gets_the_grace(shop: Shop, member: Member) -> None:
    await shop.adjust(member, 60)
    await shop.move_to(at(6, 1))
    await shop.adjust(member, 40)
    voucher = await redeemed(shop, member, "coffee")
    assert [allocation.amount for allocation in voucher.paid] == [60, 40]

    await shop.move_to(at(6, 10))
    outcome = await cancel(shop, member, voucher)

    assert isinstance(outcome.decided, Entry)
    assert outcome.decided.reverses == voucher.id.rpartition(".")[0]
    assert await lots(shop, member) == {last_midnight(6, 24): 60, last_midnight(9, 1): 40}
    assert await status_of(shop, voucher) == "CANCELLED"
    await shop.move_to(last_midnight(6, 24))
    assert await shop.available(member) == 40


async def test_halves_come_back_in_reverse_order_of_taking(shop: Shop, member: Member) -> None:
    await shop.adjust(member, 60, asset=CASHBACK)
    await shop.move_to(at(6, 1))
    await shop.adjust(member, 40, asset=CASHBACK)
    bought = await shop.buy(member, 10_00, paid_minor=1_00)
    assert await lots(shop, member, CASHBACK) == {}

    await shop.give_back(member, bought, 5_00)
    half = await lots(shop, member, CASHBACK)
    await shop.move_to(at(6, 10))
    await shop.give_back(member, bought)

    assert half == {last_midnight(9, 1): 40, last_midnight(6, 1): 10}
    assert await lots(shop, member, CASHBACK) == {last_midnight(9, 1): 40, last_midnight(6, 24): 50}


async def test_a_cancelled_piece_goes_back_to_the_stock_once(shop: Shop, member: Member) -> None:
    await shop.buy(member, 150_00)
    voucher = await redeemed(shop, member, "tasting")

    outcomes = await gather(*(cancel(shop, member, voucher) for _ in range(5)))
    again = await cancel(shop, member, voucher, key="later")

    assert sum(isinstance(outcome.decided, Entry) for outcome in outcomes) == 1
    assert sum(isinstance(outcome.decided, WrongState) for outcome in outcomes) == 4
    assert isinstance(again.decided, WrongState)
    assert again.decided.state == "CANCELLED"
    assert (await stock_issued(shop, "tasting"), await shop.available(member)) == (0, 150)


@pytest.mark.parametrize("reward", ["coffee", "tasting"])
async def test_a_used_voucher_cannot_be_cancelled_nor_used_again(shop: Shop, member: Member, reward: str) -> None:
    await shop.buy(member, 150_00)
    voucher = await redeemed(shop, member, reward)
    await shop.posted(use(shop, member, voucher.id))

    cancelled = await cancel(shop, member, voucher)
    used = await shop.refused(use(shop, member, voucher.id))

    assert isinstance(cancelled.decided, WrongState)
    assert cancelled.decided.state == "USED"
    assert isinstance(used, WrongState)
    assert used.state == "USED"
    assert await shop.available(member) == 50


async def test_an_expired_voucher_cannot_be_cancelled_even_before_its_entry_is_posted(
    shop: Shop, member: Member
) -> None:
    await shop.buy(member, 150_00)
    voucher = await redeemed(shop, member, "tasting")
    await shop.move_to(at(3, 20))

    cancelled = await cancel(shop, member, voucher)

    assert isinstance(cancelled.decided, WrongState)
    assert cancelled.decided.state == "EXPIRED"
    assert await status_of(shop, voucher) == "EXPIRED"


@pytest.mark.parametrize("identifier", ["nobody.7.v0", "junk", "", "x.v0", "x.1.v99"])
async def test_what_is_no_voucher_of_the_member_is_not_found(shop: Shop, member: Member, identifier: str) -> None:
    assert isinstance(await shop.refused(cancellation(shop, member, identifier)), NotFound)


async def test_another_members_voucher_is_not_found(shop: Shop, member: Member) -> None:
    other = await shop.member()
    await shop.buy(other, 150_00)
    voucher = await redeemed(shop, other, "coffee")

    assert isinstance(await shop.refused(cancellation(shop, member, voucher.id)), NotFound)
    assert await status_of(shop, voucher) == "ACTIVE"


async def test_an_unused_voucher_that_expires_forfeits_its_points(shop: Shop, member: Member) -> None:
    await shop.buy(member, 100_00)
    voucher = await redeemed(shop, member, "coffee")

    await shop.move_to(last_midnight(3, 31))
    await shop.ledger.settle([member.id])

    assert await status_of(shop, voucher) == "EXPIRED"
    assert await shop.available(member) == 0


async def test_where_the_reward_says_so_the_points_return_at_expiry_and_the_piece_does_not(
    shop: Shop, member: Member
) -> None:
    await shop.buy(member, 100_00)
    voucher = await redeemed(shop, member, "tasting")
    assert voucher.expires_at == datetime(2026, 3, 11, 23, tzinfo=UTC)

    await shop.move_to(voucher.expires_at)
    unsettled = as_settled(await shop.wallet(member), shop.programmes.current, shop.clock.now())
    await shop.ledger.settle([member.id])

    assert standing(unsettled, POINTS, shop.clock.now()).available == 100
    assert await lots(shop, member) == {last_midnight(6, 1): 100}
    assert await status_of(shop, voucher) == "EXPIRED"
    assert await stock_issued(shop, "tasting") == 1


async def test_points_that_return_after_their_time_count_their_grace_from_the_vouchers_expiry(
    shop: Shop, member: Member
) -> None:
    await shop.buy(member, 100_00)
    await shop.move_to(at(5, 25))
    await redeemed(shop, member, "tasting")

    await shop.move_to(at(6, 10))
    await shop.ledger.settle([member.id])
    returned = await lots(shop, member)
    await shop.move_to(last_midnight(6, 19))

    assert returned == {last_midnight(6, 19): 100}
    assert await shop.available(member) == 0


async def test_twenty_tills_use_one_voucher_once(shop: Shop, member: Member) -> None:
    await shop.buy(member, 100_00)
    voucher = await redeemed(shop, member, "coffee")
    ledgers = [shop.ledger, shop.another_ledger()]

    outcomes = await shop.spread_over(
        ledgers, [use(shop, member, voucher.id, receipt=f"R-{number}") for number in range(20)]
    )

    assert sum(isinstance(outcome.decided, Entry) for outcome in outcomes) == 1
    states = {outcome.decided.state for outcome in outcomes if isinstance(outcome.decided, WrongState)}
    assert states == {"USED"}


async def test_vouchers_are_used_in_the_entry_of_the_purchase_all_or_none(shop: Shop, member: Member) -> None:
    await shop.buy(member, 250_00)
    coffee, five = await redeemed(shop, member, "coffee"), await redeemed(shop, member, "five")

    unknown = await shop.refused(paying_with(shop, member, 30_00, coffee.code, "0000-0000-0000"))
    small = await shop.refused(paying_with(shop, member, 14_99, coffee.code, five.code))
    bought = await shop.posted(paying_with(shop, member, 15_00, coffee.code, five.code, receipt="R-9"))
    again = await shop.refused(paying_with(shop, member, 30_00, coffee.code))

    assert isinstance(unknown, NotFound)
    assert isinstance(small, NotEligible)
    assert small.reason == "MINIMUM_SPEND"
    assert {end.id: end.receipt for end in bought.changes.ended_vouchers} == {coffee.id: "R-9", five.id: "R-9"}
    assert isinstance(again, WrongState)
    assert again.state == "USED"
    assert Decimal(bought.points) == 15


async def test_another_members_code_does_not_pay(shop: Shop, member: Member) -> None:
    other = await shop.member()
    await shop.buy(other, 150_00)
    voucher = await redeemed(shop, other, "coffee")

    problem = await shop.refused(paying_with(shop, member, 30_00, voucher.code))

    assert isinstance(problem, NotFound)
    assert await status_of(shop, voucher) == "ACTIVE"


@pytest.mark.parametrize("by_code", [True, False], ids=["in the purchase", "beside it"])
async def test_a_voucher_that_paid_comes_back_on_a_full_return_and_not_before(
    shop: Shop, member: Member, by_code: bool
) -> None:
    await shop.buy(member, 100_00)
    voucher = await redeemed(shop, member, "coffee")
    if by_code:
        bought = await shop.posted(paying_with(shop, member, 30_00, voucher.code, receipt="R-9"))
    else:
        await shop.posted(use(shop, member, voucher.id, receipt="R-9"))
        bought = await shop.buy(member, 30_00, receipt="R-9")

    await shop.give_back(member, bought, 10_00)
    partly = await status_of(shop, voucher)
    await shop.move_to(at(4, 10))
    await shop.give_back(member, bought)

    assert partly == "USED"
    back = (await shop.wallet(member)).vouchers[voucher.id]
    assert back.expires_at == last_midnight(4, 24)
    assert await status_of(shop, voucher) == "ACTIVE"
    await shop.posted(use(shop, member, voucher.id))
    assert await status_of(shop, voucher) == "USED"


THRESHOLD = (
    REWARDS
    + """
  - {id: big, kind: VOUCHER, cost: 1, voucher: coffee, name: {en: Big}}
"""
).replace(
    "earning:",
    "earning:\n  - {id: big, event: purchase, when: 'purchase.total_minor >= 5000', award: {voucher: coffee}}",
)


async def test_below_the_threshold_an_unused_voucher_is_cancelled_and_a_used_one_stays(shop_with: OpenShop) -> None:
    shop = await shop_with(THRESHOLD)
    member = await shop.member()
    kept, lost, used = [await shop.buy(member, 60_00) for _ in range(3)]
    ((first,), (second,), (third,)) = (entry.changes.vouchers for entry in (kept, lost, used))
    await shop.posted(use(shop, member, third.id))

    await shop.give_back(member, kept, 10_00)
    await shop.give_back(member, lost, 10_01)
    await shop.give_back(member, used, 10_01)

    assert first.keeps_from_minor == 50_00
    assert [await status_of(shop, voucher) for voucher in (first, second, third)] == ["ACTIVE", "CANCELLED", "USED"]


async def test_a_voucher_of_a_purchase_that_is_gone_does_not_come_back_with_the_purchase_that_used_it(
    shop_with: OpenShop,
) -> None:
    shop = await shop_with(THRESHOLD)
    member = await shop.member()
    big = await shop.buy(member, 60_00)
    (voucher,) = big.changes.vouchers
    other = await shop.posted(paying_with(shop, member, 30_00, voucher.code))

    await shop.give_back(member, big)
    await shop.give_back(member, other)

    assert await status_of(shop, voucher) == "USED"
    assert (await shop.wallet(member)).vouchers == {}


async def test_a_voucher_that_was_given_cannot_be_cancelled_for_points(shop_with: OpenShop) -> None:
    shop = await shop_with(THRESHOLD)
    member = await shop.member()
    (voucher,) = (await shop.buy(member, 60_00)).changes.vouchers

    problem = await shop.refused(cancellation(shop, member, voucher.id))

    assert isinstance(problem, NotEligible)
    assert problem.reason == "NOT_REDEEMED"


BLOCKED = """
tiers:
  metric: points_earned
  window: {policy: rolling, length: P12M}
  review: {downgrade: one_level}
  levels: [{id: bronze, from: 0, name: {en: B}}, {id: gold, from: 500, name: {en: G}}]
"""


@pytest.mark.parametrize(
    ("condition", "block", "words"),
    [
        ("valid: {from: 2026-03-03}", "NOT_YET", "from 2026-03-03 on"),
        ("valid: {until: 2026-03-02}", "ENDED", "until 2026-03-02"),
        ("valid: {from: 2026-03-02, until: 2026-03-03}", None, ""),
        ("tier: gold", "TIER_TOO_LOW", "the tier gold or a higher one"),
        ("stock: 0", "OUT_OF_STOCK", "out of stock"),
        ("limit: {count: 1, per: day}", None, ""),
    ],
)
async def test_what_blocks_a_reward_is_told_beforehand_and_holds_when_it_is_redeemed(
    shop_with: OpenShop, condition: str, block: str | None, words: str
) -> None:
    sections = REWARDS.replace("cost: 100, voucher: coffee,", f"cost: 100, voucher: coffee, {condition},") + BLOCKED
    shop = await shop_with(sections)
    member = await shop.member()
    await shop.buy(member, 200_00)
    reward = shop.programmes.current.rewards["coffee"]

    told = block_of(
        reward,
        shop.programmes.current,
        await shop.wallet(member),
        at=shop.clock.now(),
        stock_left=reward.stock,
    )
    outcome = await redeem(shop, member, "coffee")

    assert (None if told is None else told.value) == block
    if block is None:
        assert isinstance(outcome.decided, Entry)
    elif block == "OUT_OF_STOCK":
        assert isinstance(outcome.decided, OutOfStock)
        assert words in outcome.decided.message
    else:
        assert isinstance(outcome.decided, NotEligible)
        assert outcome.decided.reason == block
        assert words in outcome.decided.message


async def test_points_and_limit_block_too(shop: Shop, member: Member) -> None:
    programme = shop.programmes.current
    await shop.buy(member, 30_00)

    async def blocked(reward: str) -> RewardBlock | None:
        wallet = await shop.wallet(member)
        return block_of(programme.rewards[reward], programme, wallet, at=shop.clock.now(), stock_left=None)

    poor = await blocked("coffee")
    free = await blocked("weekly")
    await redeemed(shop, member, "weekly")
    await redeemed(shop, member, "weekly")

    assert (poor, free) == (RewardBlock.NOT_ENOUGH_POINTS, None)
    assert await blocked("weekly") is RewardBlock.LIMIT_REACHED
