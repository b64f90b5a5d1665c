"""Plans: paid from prepaid money, renewed until left; nothing but their benefits ends with them (SEMANTICS §9.4)."""

from datetime import UTC, datetime
from functools import partial
from typing import Final

import pytest

from domain.commands.plan import check_joining_plan, decide_joining_plan, leaving
from domain.ledger.audit import audit
from domain.ledger.command import Command, fingerprint_of
from domain.ledger.due import as_settled
from domain.ledger.entry import Entry, EntryKind
from domain.ledger.plan import RunningPlan
from domain.members.member import Member
from domain.problems import InsufficientBalance, NotFound, WrongState
from notifications.advance import advance
from tests.ledger.conftest import OpenShop
from tests.ledger.shop import CASHBACK, Shop

PREPAID: Final = "prepaid/EUR"
RULES: Final = """
earning:
  - {id: base, event: purchase, award: {points: {per: "1.00", give: 1}}}
  - {id: silver, event: purchase, when: 'member.tier == "silver"', multiply: {points: "1.5"}}
  - {id: insiders, event: purchase, when: 'member.plan == "plus"', award: {points: 7}}
tiers:
  metric: points_earned
  window: {policy: rolling, length: P12M}
  review: {downgrade: one_level}
  levels: [{id: bronze, from: 0, name: {en: Bronze}}, {id: silver, from: 1000, name: {en: Silver}}]
"""
PLUS: Final = '  - {id: plus, price: "4.99", period: P1M, multiply: {points: "1.1"}, name: {en: Plus}}\n'
YEARLY: Final = '  - {id: yearly, price: "30.00", period: P1Y, name: {en: Yearly}}\n'
LAST_OF_JANUARY: Final = datetime(2026, 1, 31, 17, tzinfo=UTC)


@pytest.fixture
async def shop(shop_with: OpenShop) -> Shop:
    return await shop_with(RULES + "plans:\n" + PLUS + YEARLY, start_at=LAST_OF_JANUARY)


@pytest.fixture
async def member(shop: Shop) -> Member:
    return await shop.member()


def joining_plan(shop: Shop, member: Member, plan: str = "plus", *, key: str | None = None) -> Command:
    """The command of `joinPlan`."""
    return Command(
        member=member.id,
        actor=f"member:{member.id}",
        key=key or f"key-{next(shop.numbers)}",
        operation="joinPlan",
        fingerprint=fingerprint_of("joinPlan", {"plan": plan}),
        decide=partial(decide_joining_plan, plan),
        check=lambda programme, _: check_joining_plan(plan, programme),
    )


def leaving_plan(member: Member, running: RunningPlan) -> Command:
    return leaving(running, member=member.id, actor=f"member:{member.id}")


async def running(shop: Shop, member: Member) -> RunningPlan | None:
    """The plan as a reader is shown it now."""
    return as_settled(await shop.wallet(member), shop.programmes.current, shop.clock.now()).plan


async def in_plus(shop: Shop, member: Member, prepaid_minor: int) -> RunningPlan:
    """Puts that much prepaid money into the wallet, and joins the plan with it."""
    await shop.adjust(member, prepaid_minor, asset=PREPAID)
    joined = (await shop.posted(joining_plan(shop, member))).changes.plan
    assert joined is not None
    return joined


async def plan_entries(shop: Shop, member: Member) -> list[Entry]:
    return [entry for entry in await shop.entries(member) if entry.kind is EntryKind.PLAN]


async def pass_until(shop: Shop, instant: datetime) -> None:
    await advance(shop.store, shop.clock, shop.ledger, instant)


async def test_joining_takes_the_price_from_prepaid_money_and_pays_until_the_end_of_the_period(
    shop: Shop, member: Member
) -> None:
    await shop.adjust(member, 5_00, asset=PREPAID)

    entry = await shop.posted(joining_plan(shop, member))

    assert entry.kind is EntryKind.PLAN
    assert [(one.source, one.destination, one.asset, one.amount) for one in entry.postings] == [
        ("member/available", "programme/plans", PREPAID, 4_99)
    ]
    assert await shop.available(member, PREPAID) == 1
    plan = await running(shop, member)
    assert plan is not None
    assert (plan.plan, plan.renews, plan.paid_until) == ("plus", True, datetime(2026, 2, 27, 23, tzinfo=UTC))


async def test_what_a_plan_takes_is_a_spending_and_keeps_an_idle_wallet(shop_with: OpenShop) -> None:
    idle = "points: {expiry: {policy: inactivity, after: P40D}}\nplans:\n" + PLUS
    shop = await shop_with(idle, start_at=LAST_OF_JANUARY)
    member = await shop.member()
    await shop.adjust(member, 100)
    await shop.adjust(member, 10_00, asset=PREPAID)
    await pass_until(shop, datetime(2026, 2, 5, 12, tzinfo=UTC))

    await shop.posted(joining_plan(shop, member))
    once = (await shop.standing(member)).expiring
    await pass_until(shop, datetime(2026, 3, 20, 12, tzinfo=UTC))
    twice = (await shop.standing(member)).expiring
    await pass_until(shop, datetime(2026, 5, 1, 12, tzinfo=UTC))

    assert once == ((100, datetime(2026, 3, 17, 23, tzinfo=UTC)),)
    assert twice == ((100, datetime(2026, 4, 14, 22, tzinfo=UTC)),)
    assert await shop.available(member) == 0


async def test_months_clamp_and_do_not_chain_from_renewal_to_renewal(shop: Shop, member: Member) -> None:
    await in_plus(shop, member, 50_00)

    await pass_until(shop, datetime(2026, 5, 1, 12, tzinfo=UTC))

    entries = await plan_entries(shop, member)
    paid_until = [entry.changes.plan.paid_until for entry in entries if entry.changes.plan is not None]
    assert paid_until == [
        datetime(2026, 2, 27, 23, tzinfo=UTC),
        datetime(2026, 3, 30, 22, tzinfo=UTC),
        datetime(2026, 4, 29, 22, tzinfo=UTC),
        datetime(2026, 5, 30, 22, tzinfo=UTC),
    ]
    assert [entry.occurred_at for entry in entries[1:]] == paid_until[:-1]
    assert await shop.available(member, PREPAID) == 50_00 - 4 * 4_99


async def test_periods_missed_while_nobody_looked_are_paid_in_order_by_whoever_looks_next(
    shop: Shop, member: Member
) -> None:
    await in_plus(shop, member, 15_00)
    await shop.move_to(datetime(2026, 6, 1, 12, tzinfo=UTC))

    seen = await running(shop, member)
    await shop.buy(member, 10_00)

    assert seen is None
    ends = [entry.changes.ended_plan for entry in await plan_entries(shop, member)]
    assert ends == [None, None, None, "plus"]
    assert await shop.available(member, PREPAID) == 15_00 - 3 * 4_99


async def test_a_plan_lapses_when_prepaid_money_is_too_little_whatever_else_there_is(
    shop: Shop, member: Member
) -> None:
    await in_plus(shop, member, 4_99 + 4_98)
    await shop.adjust(member, 100_00, asset=CASHBACK)

    await pass_until(shop, datetime(2026, 2, 27, 23, tzinfo=UTC))

    assert await running(shop, member) is None
    (_, lapsed) = await plan_entries(shop, member)
    assert (lapsed.changes.ended_plan, lapsed.postings) == ("plus", ())
    assert await shop.available(member, PREPAID) == 4_98
    assert await shop.available(member, CASHBACK) == 100_00


async def test_a_renewal_takes_the_last_cent_and_leaves_the_plan_running(shop: Shop, member: Member) -> None:
    await in_plus(shop, member, 2 * 4_99)

    await pass_until(shop, datetime(2026, 2, 27, 23, tzinfo=UTC))

    plan = await running(shop, member)
    assert plan is not None
    assert plan.periods == 2
    assert await shop.available(member, PREPAID) == 0


async def test_its_benefits_hold_until_it_lapses_and_everything_else_stays(shop: Shop, member: Member) -> None:
    await in_plus(shop, member, 4_99)
    await shop.move_to(datetime(2026, 2, 27, 22, 59, 59, tzinfo=UTC))
    within = await shop.buy(member, 100_00)
    await shop.move_to(datetime(2026, 2, 27, 23, tzinfo=UTC))

    after = await shop.buy(member, 100_00)

    assert (within.points, after.points) == (117, 100)
    assert await shop.available(member) == 217


async def test_its_multiplier_comes_after_those_of_the_rules_in_a_row_of_its_own(shop: Shop, member: Member) -> None:
    await shop.buy(member, 1_000_00)
    await in_plus(shop, member, 4_99)

    entry = await shop.buy(member, 15_00)

    assert [(row.rule, row.step, row.points) for row in entry.explanation] == [
        ("base", "award", 15),
        ("silver", "multiplier", 7),
        ("plus", "multiplier", 2),
        ("insiders", "award", 7),
        ("silver", "multiplier", 3),
        ("plus", "multiplier", 1),
    ]
    assert entry.points == 24 + 11


async def test_leaving_keeps_the_plan_until_it_was_paid_for_and_renews_no_more(shop: Shop, member: Member) -> None:
    joined = await in_plus(shop, member, 50_00)

    left = await shop.posted(leaving_plan(member, joined))
    kept = await running(shop, member)
    await pass_until(shop, datetime(2026, 2, 27, 23, tzinfo=UTC))

    assert left.postings == ()
    assert kept is not None
    assert (kept.paid_until, kept.renews) == (joined.paid_until, False)
    assert await running(shop, member) is None
    assert await shop.available(member, PREPAID) == 50_00 - 4_99


async def test_leaving_again_posts_nothing(shop: Shop, member: Member) -> None:
    joined = await in_plus(shop, member, 50_00)
    first = await shop.posted(leaving_plan(member, joined))

    outcomes = await shop.at_all([shop.ledger, shop.another_ledger()], [leaving_plan(member, joined)] * 5)

    assert all(outcome.replayed and outcome.decided == first for outcome in outcomes)
    assert len(await plan_entries(shop, member)) == 2


async def test_who_comes_back_within_the_paid_period_pays_nothing_and_can_leave_again(
    shop: Shop, member: Member
) -> None:
    joined = await in_plus(shop, member, 50_00)
    await shop.posted(leaving_plan(member, joined))

    back = await shop.posted(joining_plan(shop, member))
    again = back.changes.plan
    assert again is not None
    left = await shop.posted(leaving_plan(member, again))

    assert back.postings == ()
    assert (again.renews, again.paid_until, again.started_on) == (True, joined.paid_until, joined.started_on)
    assert left.changes.plan is not None
    assert not left.changes.plan.renews


async def test_who_comes_back_after_the_end_pays_and_begins_anew(shop: Shop, member: Member) -> None:
    joined = await in_plus(shop, member, 50_00)
    await shop.posted(leaving_plan(member, joined))
    await shop.move_to(datetime(2026, 3, 10, 12, tzinfo=UTC))

    await shop.posted(joining_plan(shop, member))

    plan = await running(shop, member)
    assert plan is not None
    assert (plan.periods, plan.paid_until) == (1, datetime(2026, 4, 9, 22, tzinfo=UTC))
    assert await shop.available(member, PREPAID) == 50_00 - 2 * 4_99


async def test_one_plan_at_a_time(shop: Shop, member: Member) -> None:
    joined = await in_plus(shop, member, 50_00)

    again = await shop.refused(joining_plan(shop, member))
    other = await shop.refused(joining_plan(shop, member, "yearly"))
    await shop.posted(leaving_plan(member, joined))
    other_after_leaving = await shop.refused(joining_plan(shop, member, "yearly"))

    assert [problem.state for problem in (again, other, other_after_leaving) if isinstance(problem, WrongState)] == [
        "RUNNING",
        "RUNNING",
        "LEFT",
    ]


async def test_too_little_prepaid_money_is_refused_and_nothing_is_taken(shop: Shop, member: Member) -> None:
    await shop.adjust(member, 4_98, asset=PREPAID)
    await shop.adjust(member, 100_00, asset=CASHBACK)

    problem = await shop.refused(joining_plan(shop, member))

    assert isinstance(problem, InsufficientBalance)
    assert (problem.asset, problem.available, problem.required) == (PREPAID, "4.98", "4.99")


async def test_a_plan_that_the_programme_does_not_have_is_not_found(shop: Shop, member: Member) -> None:
    problem = await shop.refused(joining_plan(shop, member, "gone"))

    assert isinstance(problem, NotFound)
    assert problem.what == "plan"


async def test_twenty_callers_with_one_key_join_once(shop: Shop, member: Member) -> None:
    await shop.adjust(member, 50_00, asset=PREPAID)

    outcomes = await shop.all([joining_plan(shop, member, key="the-key")] * 20)

    assert sorted(outcome.replayed for outcome in outcomes) == [False] + [True] * 19
    assert await shop.available(member, PREPAID) == 50_00 - 4_99


async def test_a_renewal_is_at_the_price_of_the_programme_in_force_then(shop: Shop, member: Member) -> None:
    await in_plus(shop, member, 20_00)
    await shop.publish(RULES + "plans:\n" + PLUS.replace("4.99", "9.99"))

    await pass_until(shop, datetime(2026, 2, 28, 12, tzinfo=UTC))

    assert await shop.available(member, PREPAID) == 20_00 - 4_99 - 9_99


async def test_a_plan_that_was_given_up_lapses_at_its_end(shop: Shop, member: Member) -> None:
    await in_plus(shop, member, 20_00)
    await shop.publish("".join(line for line in RULES.splitlines(keepends=True) if "insiders" not in line))
    kept = await running(shop, member)

    await pass_until(shop, datetime(2026, 2, 28, 12, tzinfo=UTC))

    assert kept is not None
    assert await running(shop, member) is None
    assert await shop.available(member, PREPAID) == 20_00 - 4_99


async def test_another_length_of_period_is_counted_from_the_renewal(shop: Shop, member: Member) -> None:
    await in_plus(shop, member, 50_00)
    await shop.publish(RULES + "plans:\n" + PLUS.replace("P1M", "P7D"))

    await pass_until(shop, datetime(2026, 3, 9, 12, tzinfo=UTC))

    entries = await plan_entries(shop, member)
    assert [entry.changes.plan.paid_until for entry in entries if entry.changes.plan is not None] == [
        datetime(2026, 2, 27, 23, tzinfo=UTC),
        datetime(2026, 3, 6, 23, tzinfo=UTC),
        datetime(2026, 3, 13, 23, tzinfo=UTC),
    ]


async def test_the_audit_passes_over_plans_that_were_joined_renewed_left_and_lapsed(shop: Shop, member: Member) -> None:
    joined = await in_plus(shop, member, 12_00)
    await shop.posted(leaving_plan(member, joined))
    await shop.posted(joining_plan(shop, member))
    await pass_until(shop, datetime(2026, 6, 1, 12, tzinfo=UTC))

    report = await audit(shop.store)

    assert report.ok, report.differences
    assert (await shop.wallet(member)).plan is None
