"""Referrals: one referrer, and an award for both once a purchase is there to stay (SEMANTICS §9.3)."""

import asyncio
from datetime import UTC, datetime
from typing import Any, Final

import pytest

from domain.commands.referral import reward_referrals, rewarded
from domain.ledger.audit import audit
from domain.ledger.command import fingerprint_of
from domain.ledger.entry import Entry, EntryKind
from domain.ledger.wallet import standing
from domain.members.enrolment import Enrolled, enrol
from domain.members.member import Member, Profile
from domain.members.referral import ALPHABET, invited_by, member_by_referral_code, referral_code_of
from domain.problems import IdempotencyMismatch, InvalidInput
from notifications.advance import advance
from tests.ledger.conftest import OpenShop
from tests.ledger.shop import CASHBACK, Shop

EARNING: Final = """
earning:
  - {id: base, event: purchase, award: {points: {per: "1.00", give: 1}}}
"""
PLAIN: Final = (
    EARNING + 'referral: {minimum: "20.00", after: P14D, friend: {points: 100}, referrer: {points: 200}, per_year: 2}\n'
)
# Bought on 2 March, 10:00 in Ljubljana: for good from 16 March, 00:00 there.
FINAL: Final = datetime(2026, 3, 15, 23, tzinfo=UTC)
JUST_BEFORE: Final = datetime(2026, 3, 15, 22, 59, 59, tzinfo=UTC)


@pytest.fixture
async def shop(shop_with: OpenShop) -> Shop:
    return await shop_with(PLAIN)


@pytest.fixture
async def referrer(shop: Shop) -> Member:
    return await shop.member()


async def enrolled(
    shop: Shop,
    code: str | None,
    *,
    reference: str | None = None,
    key: str | None = None,
    profile: Profile | None = None,
) -> Enrolled | IdempotencyMismatch | InvalidInput:
    """What enrolling with that referral code answers."""
    reference = reference or f"friend-{next(shop.numbers)}"
    return await enrol(
        shop.ledger,
        client_id=shop.client,
        reference=reference,
        profile=profile or Profile(),
        referral_code=code,
        key=key or f"enrol-{next(shop.numbers)}",
        fingerprint=fingerprint_of("enrolMember", {"reference": reference, "profile": {"referralCode": code}}),
        now=shop.clock.now(),
    )


async def friend_of(shop: Shop, referrer: Member, **more: Any) -> Member:
    answered = await enrolled(shop, await referral_code_of(shop.store, referrer.id), **more)
    assert isinstance(answered, Enrolled), answered
    return answered.member


async def pass_until(shop: Shop, instant: datetime) -> None:
    await advance(shop.store, shop.clock, shop.ledger, instant)


async def referrals(shop: Shop, member: Member) -> list[Entry]:
    return [entry for entry in await shop.entries(member) if entry.kind is EntryKind.REFERRAL]


async def points(shop: Shop, *members: Member) -> list[int]:
    """What each was awarded for referrals."""
    return [sum(entry.points for entry in await referrals(shop, member)) for member in members]


def refusal(answered: object) -> str:
    assert isinstance(answered, InvalidInput), answered
    (field,) = answered.fields
    assert field.path == "profile.referralCode"
    return field.message


async def test_both_are_rewarded_at_the_instant_the_purchase_can_no_longer_be_returned(
    shop: Shop, referrer: Member
) -> None:
    friend = await friend_of(shop, referrer)
    await shop.buy(friend, 20_00)

    await pass_until(shop, JUST_BEFORE)
    before = await points(shop, referrer, friend)
    await pass_until(shop, FINAL)

    assert before == [0, 0]
    assert await points(shop, referrer, friend) == [200, 100]
    assert [entry.occurred_at for one in (referrer, friend) for entry in await referrals(shop, one)] == [FINAL, FINAL]
    (entry,) = await referrals(shop, friend)
    assert [(row.rule, row.step, row.points) for row in entry.explanation] == [("referral", "referral", 100)]
    assert rewarded(await shop.wallet(referrer)) == 1
    assert (await audit(shop.store)).ok


async def test_a_friend_is_rewarded_once_however_much_he_buys(shop: Shop, referrer: Member) -> None:
    friend = await friend_of(shop, referrer)
    for _ in range(15):
        await shop.buy(friend, 30_00)
    await pass_until(shop, FINAL)

    await shop.buy(friend, 30_00)
    await pass_until(shop, datetime(2026, 6, 1, tzinfo=UTC))

    assert await points(shop, referrer, friend) == [200, 100]
    wallet = await shop.wallet(friend)
    assert wallet.referral is not None
    assert (wallet.referral.is_over, wallet.referral.waiting) == (True, ())


async def test_a_cent_below_the_minimum_does_not_count_and_the_first_that_reaches_it_does(
    shop: Shop, referrer: Member
) -> None:
    friend = await friend_of(shop, referrer)
    await shop.buy(friend, 19_99)
    await shop.move_by(days=3)
    await shop.buy(friend, 20_00)

    await pass_until(shop, datetime(2026, 3, 18, 22, 59, tzinfo=UTC))
    before = await points(shop, referrer, friend)
    await pass_until(shop, datetime(2026, 3, 18, 23, tzinfo=UTC))

    assert (before, await points(shop, referrer, friend)) == ([0, 0], [200, 100])


async def test_a_purchase_that_was_returned_counts_no_more_and_the_next_takes_its_place(
    shop: Shop, referrer: Member
) -> None:
    friend = await friend_of(shop, referrer)
    first = await shop.buy(friend, 30_00)
    await shop.move_by(days=2)
    await shop.buy(friend, 25_00)
    await shop.give_back(friend, first)

    await pass_until(shop, datetime(2026, 3, 17, 22, 59, tzinfo=UTC))
    before = await points(shop, referrer, friend)
    await pass_until(shop, datetime(2026, 3, 17, 23, tzinfo=UTC))

    assert (before, await points(shop, referrer, friend)) == ([0, 0], [200, 100])


@pytest.mark.parametrize(("returned", "awards"), [([10_00], [200, 100]), ([10_01], [0, 0]), ([5_00, 5_01], [0, 0])])
async def test_a_return_counts_when_less_than_the_minimum_is_left(
    shop: Shop, referrer: Member, returned: list[int], awards: list[int]
) -> None:
    friend = await friend_of(shop, referrer)
    bought = await shop.buy(friend, 30_00)
    for amount in returned:
        await shop.give_back(friend, bought, amount)

    await pass_until(shop, datetime(2026, 6, 1, tzinfo=UTC))

    assert await points(shop, referrer, friend) == awards


async def test_a_return_after_that_takes_no_award_back_even_before_a_worker_gave_it(
    shop: Shop, referrer: Member
) -> None:
    friend = await friend_of(shop, referrer)
    bought = await shop.buy(friend, 30_00)
    await shop.move_to(FINAL)
    await shop.give_back(friend, bought)

    await pass_until(shop, FINAL.replace(minute=1))

    assert await points(shop, referrer, friend) == [200, 100]


async def test_who_was_not_invited_earns_nobody_anything(shop: Shop, referrer: Member) -> None:
    stranger = await shop.member()
    await shop.buy(stranger, 100_00)

    await pass_until(shop, FINAL)

    assert await points(shop, referrer, stranger) == [0, 0]


async def test_beyond_the_years_limit_the_friend_is_rewarded_and_the_referrer_is_not_for_good(
    shop: Shop, referrer: Member
) -> None:
    friends = [await friend_of(shop, referrer) for _ in range(3)]
    for friend in friends:
        await shop.buy(friend, 20_00)
        await shop.move_by(seconds=1)
    late = await friend_of(shop, referrer)

    await pass_until(shop, FINAL)
    in_march = (await points(shop, referrer), await points(shop, *friends))
    await pass_until(shop, datetime(2026, 12, 20, 9, tzinfo=UTC))
    await shop.buy(late, 20_00)
    await pass_until(shop, datetime(2027, 1, 3, 9, tzinfo=UTC))

    assert in_march == ([400], [100, 100, 100])
    assert await points(shop, referrer, late) == [600, 100]
    assert rewarded(await shop.wallet(referrer)) == 3


async def test_any_number_of_workers_reward_each_referral_once(shop: Shop, referrer: Member) -> None:
    other = await shop.member()
    friends = [await friend_of(shop, one) for one in (referrer, other) for _ in range(2)]
    await shop.all(shop.purchase(friend, 20_00) for friend in friends)
    await shop.move_to(FINAL)
    identifiers = [friend.id for friend in friends]

    ledgers = [shop.ledger, shop.another_ledger(), shop.another_ledger()]
    await asyncio.gather(*(reward_referrals(ledger, identifiers) for ledger in ledgers for _ in range(2)))

    assert await points(shop, referrer, other, *friends) == [400, 400, 100, 100, 100, 100]
    assert (await audit(shop.store)).ok


async def test_an_award_is_anything_that_a_programme_gives(shop_with: OpenShop) -> None:
    shop = await shop_with(
        EARNING
        + """
vouchers: [{id: coffee, discount: {free_item: coffee}, expires: P30D, name: {en: Coffee}}]
bonuses: [{id: ten, worth: "10.00", expires: P90D}]
referral: {minimum: "20.00", friend: {cashback: "5.00", voucher: coffee}, referrer: {bonus: ten, points: 1}}
"""
    )
    referrer = await shop.member()
    friend = await friend_of(shop, referrer)
    await shop.buy(friend, 20_00)

    await pass_until(shop, FINAL)

    assert await shop.available(friend, CASHBACK) == 5_00
    assert [one.definition for one in (await shop.wallet(friend)).vouchers.values()] == ["coffee"]
    assert [one.definition for one in (await shop.wallet(referrer)).bonuses.values()] == ["ten"]
    voucher = await shop.store.vouchers.find_one({"member": friend.id})
    assert voucher is not None
    assert voucher["status"] == "ACTIVE"


@pytest.mark.parametrize(
    ("sections", "final_at"),
    [
        ("", FINAL),
        ("cashback: {pending: P3D}\n", datetime(2026, 3, 4, 23, tzinfo=UTC)),
        ("cashback: {pending: P3D}\nAFTER", datetime(2026, 4, 1, 22, tzinfo=UTC)),
    ],
)
async def test_the_time_for_returns_is_stated_or_that_of_pending_cashback_or_two_weeks(
    shop_with: OpenShop, sections: str, final_at: datetime
) -> None:
    after = "after: P1M, " if "AFTER" in sections else ""
    shop = await shop_with(
        EARNING
        + sections.replace("AFTER", "")
        + f'referral: {{minimum: "20.00", {after}friend: {{points: 1}}, referrer: {{points: 2}}}}\n'
    )
    friend = await friend_of(shop, await shop.member())
    await shop.buy(friend, 20_00)

    await pass_until(shop, datetime(2026, 6, 1, tzinfo=UTC))

    assert [entry.occurred_at for entry in await referrals(shop, friend)] == [final_at]


async def test_without_referrals_in_the_programme_then_it_ends_without_an_award(shop: Shop, referrer: Member) -> None:
    friend = await friend_of(shop, referrer)
    await shop.buy(friend, 20_00)
    await shop.publish(EARNING)

    await pass_until(shop, FINAL)

    assert await referrals(shop, referrer) == []
    (entry,) = await referrals(shop, friend)
    assert entry.postings == ()


async def test_points_that_are_owed_are_paid_by_the_award_first(shop: Shop, referrer: Member) -> None:
    bought = await shop.buy(referrer, 150_00)
    await shop.adjust(referrer, -150)
    await shop.give_back(referrer, bought)
    friend = await friend_of(shop, referrer)
    await shop.buy(friend, 20_00)

    await pass_until(shop, FINAL)

    assert standing(await shop.wallet(referrer), "points", FINAL).available == 50


async def test_a_code_is_short_unmistakable_and_the_members_for_good(shop: Shop, referrer: Member) -> None:
    codes = await asyncio.gather(*(referral_code_of(shop.store, referrer.id) for _ in range(10)))

    (code,) = set(codes)
    assert len(code) == 9
    assert set(code.replace("-", "")) <= set(ALPHABET)
    assert set("0O1ILU").isdisjoint(ALPHABET)
    for typed in (code, code.lower(), code.replace("-", ""), f" {code.replace('-', ' - ')} "):
        found = await member_by_referral_code(shop.store, typed)
        assert found is not None
        assert found.id == referrer.id


async def test_friends_are_counted_as_they_join(shop: Shop, referrer: Member) -> None:
    for _ in range(3):
        await friend_of(shop, referrer)

    assert await invited_by(shop.store, referrer.id) == 3
    assert rewarded(await shop.wallet(referrer)) == 0


@pytest.mark.parametrize("code", ["2222-2222", "", "not a code", "0000-0000", "É" * 8])
async def test_a_code_that_is_nobodys_is_refused_and_nobody_is_made(shop: Shop, code: str) -> None:
    answered = await enrolled(shop, code)

    assert "no such referral code" in refusal(answered)
    assert await shop.store.members.count_documents({}) == 0


async def test_oneself_is_no_friend(shop: Shop) -> None:
    profile = Profile(email="ana@example.com", phone="+38640123456")
    ana = await enrolled(shop, None, reference="ana", profile=profile)
    assert isinstance(ana, Enrolled)
    code = await referral_code_of(shop.store, ana.member.id)

    own = await enrolled(shop, code, reference="ana")
    same_email = await enrolled(shop, code, profile=Profile(email="Ana@Example.com"))
    same_phone = await enrolled(shop, code, profile=Profile(phone="+38640123456"))

    assert "own code" in refusal(own)
    assert "very person" in refusal(same_email)
    assert "very person" in refusal(same_phone)
    assert await shop.store.members.count_documents({}) == 1


async def test_a_code_after_joining_is_refused_and_changes_nothing(shop: Shop, referrer: Member) -> None:
    code, other = await referral_code_of(shop.store, referrer.id), await shop.member()
    others = await referral_code_of(shop.store, other.id)
    uninvited = await enrolled(shop, None, reference="uninvited")
    invited = await enrolled(shop, code, reference="invited")

    late = await enrolled(shop, code, reference="uninvited")
    second = await enrolled(shop, others, reference="invited")
    same = await enrolled(shop, code, reference="invited")

    assert isinstance(uninvited, Enrolled)
    assert isinstance(invited, Enrolled)
    assert "joined already" in refusal(late)
    assert "joined already" in refusal(second)
    assert isinstance(same, Enrolled)
    assert (same.member.id, same.is_new) == (invited.member.id, False)
    assert same.member.referrer == referrer.id
    assert await invited_by(shop.store, other.id) == 0


async def test_of_two_codes_at_once_one_is_the_referrer_and_the_other_is_told(shop: Shop, referrer: Member) -> None:
    other = await shop.member()
    codes = [await referral_code_of(shop.store, one.id) for one in (referrer, other)]

    answers = await asyncio.gather(*(enrolled(shop, code, reference="friend") for code in codes))

    (won,) = [answer for answer in answers if isinstance(answer, Enrolled)]
    (lost,) = [answer for answer in answers if not isinstance(answer, Enrolled)]
    assert "joined already" in refusal(lost)
    wallet = await shop.wallet(won.member)
    assert wallet.referral is not None
    assert wallet.referral.referrer == won.member.referrer


async def test_the_same_enrolment_again_is_a_replay_with_the_one_referrer(shop: Shop, referrer: Member) -> None:
    code = await referral_code_of(shop.store, referrer.id)
    first = await enrolled(shop, code, reference="friend", key="the-key")

    again = await enrolled(shop, code, reference="friend", key="the-key")
    reused = await enrolled(shop, "2222-2222", reference="friend", key="the-key")

    assert isinstance(first, Enrolled)
    assert isinstance(again, Enrolled)
    assert (again.replayed, again.is_new, again.member.referrer) == (True, True, referrer.id)
    assert isinstance(reused, IdempotencyMismatch)
    assert reused.differs == ("profile.referralCode",)
