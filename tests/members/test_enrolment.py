import asyncio
from datetime import UTC, date, datetime
from typing import Any

import pytest

from domain.ledger.commit import Ledger
from domain.ledger.entry import EntryKind
from domain.ledger.wallet import Wallet
from domain.members.enrolment import Enrolled, enrol, joined, member_for_subject
from domain.members.member import Member, Profile, is_visible, member_by_id, member_by_reference, member_facts
from domain.problems import IdempotencyMismatch, InvalidInput
from domain.programme.definition import read_definition
from domain.programme.programme import compile_programme
from tests.ledger.conftest import OpenShop
from tests.ledger.shop import CASHBACK, START, Shop, source

WELCOME = 'earning:\n  - {id: welcome, event: joined, award: {points: 100, cashback: {amount: "2.50"}}}\n'


async def test_enrolling_makes_a_member_with_a_joining_and_what_it_gives(shop_with: OpenShop) -> None:
    shop = await shop_with(WELCOME)

    enrolled = await shop.enrol(reference="card-1")

    assert isinstance(enrolled, Enrolled)
    assert (enrolled.is_new, enrolled.replayed) == (True, False)
    (joining,) = await shop.entries(enrolled.member)
    assert (joining.kind, joining.points, joining.moved(CASHBACK)) == (EntryKind.JOIN, 100, 250)
    assert await member_by_reference(shop.store, "till", "card-1") == enrolled.member


async def test_a_key_sent_again_is_answered_with_the_same_member(shop: Shop) -> None:
    first = await shop.enrol(key="the-key-of-it", reference="card-1")

    again = await shop.enrol(key="the-key-of-it", reference="card-1")

    assert isinstance(first, Enrolled)
    assert isinstance(again, Enrolled)
    assert (again.member, again.is_new, again.replayed) == (first.member, True, True)


async def test_a_key_with_another_reference_is_a_mismatch_and_makes_nobody(shop: Shop) -> None:
    await shop.enrol(key="the-key-of-it", reference="card-1")

    problem = await shop.enrol(key="the-key-of-it", reference="card-2")

    assert isinstance(problem, IdempotencyMismatch)
    assert problem.differs == ("reference",)
    assert await member_by_reference(shop.store, "till", "card-2") is None


async def test_another_key_for_a_known_reference_finds_the_member(shop: Shop) -> None:
    first = await shop.enrol(reference="card-1")

    again = await shop.enrol(reference="card-1")

    assert isinstance(first, Enrolled)
    assert isinstance(again, Enrolled)
    assert (again.member, again.is_new, again.replayed) == (first.member, False, False)


@pytest.mark.parametrize("one_key", [True, False])
async def test_callers_at_once_make_one_member(shop_with: OpenShop, *, one_key: bool) -> None:
    shop = await shop_with(WELCOME)

    enrolled = await asyncio.gather(
        *(shop.enrol(key="the-key-of-it" if one_key else f"key-number-{n}", reference="card-1") for n in range(20))
    )

    members = {one.member.id for one in enrolled if isinstance(one, Enrolled)}
    assert len(members) == 1
    assert sum(one.is_new and not one.replayed for one in enrolled if isinstance(one, Enrolled)) == 1
    assert await shop.store.members.count_documents({}) == 1
    assert [
        entry.points for one in enrolled[:1] if isinstance(one, Enrolled) for entry in await shop.entries(one.member)
    ] == [100]


async def test_a_reference_belongs_to_its_partner(shop: Shop) -> None:
    first = await shop.enrol(reference="card-1")
    shop.client = "cafe"

    second = await shop.enrol(reference="card-1")

    assert isinstance(first, Enrolled)
    assert isinstance(second, Enrolled)
    assert first.member.id != second.member.id
    assert is_visible(first.member, "till")
    assert not is_visible(first.member, "cafe")


async def test_a_profile_of_a_known_member_stays_his_own(shop: Shop) -> None:
    given: dict[str, Any] = {"client_id": "till", "reference": "card-1", "now": START}
    fingerprint = shop.adjustment(await shop.member(), 1).fingerprint
    first = await enrol(shop.ledger, profile=Profile(display_name="Ana"), key="key-1", fingerprint=fingerprint, **given)

    second = await enrol(
        shop.ledger, profile=Profile(display_name="Bor"), key="key-2", fingerprint=fingerprint, **given
    )

    assert isinstance(first, Enrolled)
    assert isinstance(second, Enrolled)
    assert second.member.profile.display_name == "Ana"


async def test_a_member_whose_joining_was_cut_short_has_it_posted_by_the_next_to_look(shop_with: OpenShop) -> None:
    shop = await shop_with(WELCOME)
    member = await shop.member()
    await shop.store.members.update_one({"_id": member.id}, {"$unset": {"is_joined": 1}})
    unfinished = await member_by_id(shop.store, member.id)
    assert unfinished is not None
    assert not unfinished.is_joined

    finished = await asyncio.gather(*(joined(shop.ledger, unfinished) for _ in range(5)))

    assert all(one.is_joined for one in finished)
    assert await shop.available(member) == 100


@pytest.mark.parametrize("subject", [f"person-{number}" for number in range(5)])
async def test_whoever_signs_in_is_made_a_member_once(shop: Shop, subject: str) -> None:
    async def sign_in(ledger: Ledger) -> tuple[Member, bool]:
        signed_in = await member_for_subject(
            ledger, issuer="https://issuer.example", subject=subject, profile=Profile(), now=shop.clock.now()
        )
        assert not isinstance(signed_in, InvalidInput)
        return signed_in

    processes = [shop.ledger, shop.another_ledger()]
    at_once = await asyncio.gather(*(sign_in(process) for process in processes * 5))
    again = await sign_in(shop.ledger)

    assert {member.id for member, _ in at_once} == {again[0].id}
    assert [is_new for _, is_new in at_once].count(True) == 1
    assert again[1] is False
    assert await shop.store.members.count_documents({}) == 1


@pytest.mark.parametrize(
    ("birthday", "at", "today", "age"),
    [
        (date(2000, 6, 10), datetime(2026, 6, 10, 10, tzinfo=UTC), True, 26),
        (date(2000, 6, 11), datetime(2026, 6, 10, 10, tzinfo=UTC), False, 25),
        (date(2000, 2, 29), datetime(2026, 2, 28, 10, tzinfo=UTC), True, 26),
        (date(2000, 2, 29), datetime(2028, 2, 28, 10, tzinfo=UTC), False, 27),
        (date(2000, 2, 29), datetime(2028, 2, 29, 10, tzinfo=UTC), True, 28),
        (date(2000, 6, 11), datetime(2026, 6, 10, 22, 30, tzinfo=UTC), True, 26),
    ],
)
def test_a_birthday_is_kept_in_the_members_day(birthday: date, at: datetime, today: bool, age: int) -> None:
    programme = compile_programme(read_definition(source("")), 1)
    member = Member(id="m", joined_at=START, profile=Profile(birthday=birthday))

    facts = member_facts(member, Wallet(member="m"), programme, at=at)

    assert (facts.birthday_today, facts.age_years) == (today, age)


def test_a_member_in_another_zone_keeps_his_birthday_there() -> None:
    programme = compile_programme(read_definition(source("")), 1)
    profile = Profile(birthday=date(2000, 6, 11), time_zone="Asia/Almaty")
    member = Member(id="m", joined_at=START, profile=profile)

    facts = member_facts(member, Wallet(member="m"), programme, at=datetime(2026, 6, 10, 19, 30, tzinfo=UTC))

    assert facts.birthday_today
