from typing import Any

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from domain.programme.cel import Condition, ConditionError, check
from domain.programme.facts import EXAMPLES, FACTS, MemberFacts

PURCHASE = ("purchase", "member")


def failures(rule: str) -> float:
    return REGISTRY.get_sample_value("wallet_rule_errors_total", {"rule": rule}) or 0.0


def facts(**member: Any) -> dict[str, Any]:
    purchase = {"total_minor": 500, "hour": 9, "categories": ("PASTRY",), "skus": ("1",)}
    return {"purchase": purchase, "member": MemberFacts(id="m1", **member).as_facts()}


@pytest.mark.parametrize(
    ("source", "holds"),
    [
        ('member.tier == "gold"', True),
        ('member.tier in ["silver", "vip"]', False),
        ('member.tags.exists(t, t == "bakery")', True),
        ('"PASTRY" in purchase.categories && purchase.hour < 12', True),
        ("purchase.skus.size() == 1", True),
        ('member.tier.startsWith("g") ? true : false', True),
        ('"member.nonsense" == member.tier // purchase.nonsense', False),
        ("has(member.age_years) && member.age_years == null", True),
    ],
)
def test_a_condition_holds_or_not(source: str, holds: bool) -> None:
    check(source, groups=PURCHASE)

    assert Condition(source, rule="r").holds(facts(tier="gold", tags=("bakery",))) is holds


def test_an_answer_is_remembered_only_for_equal_facts() -> None:
    condition = Condition("member.points >= 10 && purchase.total_minor > 100", rule="r")

    assert [condition.holds(facts(points=points)) for points in (9, 10, 9, 11, 10)] == [
        False,
        True,
        False,
        True,
        True,
    ]
    assert all(condition.holds(facts(points=points)) for points in range(10, 1_000))


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("member.points / 0 == 1", "ZeroDivisionError"),
        ("member.age_years >= 18", "TypeError"),
        ("purchase.place == ''", "KeyError"),
        ("purchase.total_minor", "TypeError"),
        ("purchase.total_minor * 9223372036854775807 > 0", "OverflowError"),
        ("nonsense(member.points)", "RuntimeError"),
    ],
)
def test_what_fails_to_evaluate_is_false_logged_and_counted(source: str, reason: str) -> None:
    condition = Condition(source, rule=f"fails-{reason}")
    before = failures(condition.rule)

    with capture_logs() as logs:
        assert condition.holds(facts()) is False
        assert condition.holds(facts()) is False

    assert failures(condition.rule) == before + 2
    assert [(log["event"], log["rule"], log["error"]) for log in logs] == [("rule_failed", condition.rule, reason)] * 2


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("", "Not CEL"),
        ("member.", "Not CEL: line 1, character 8"),
        ("(" * 500 + "true" + ")" * 500, "Longer than 1000 characters"),
        ("(" * 300 + "true" + ")" * 300, "Not CEL"),
        ("member.points", "Gives int"),
        ("member", "`member` alone says nothing"),
        ('member["points"] == 1', "`member` alone says nothing"),
        ("member.pionts == 1", "`member.pionts` is not a known fact; known are member.tier"),
        ("false && member.pionts == 1", "`member.pionts` is not a known fact"),
        ("points == 1", "`points` is not a known fact; known here: purchase.…, member.…"),
        ("line.quantity == 1", "`line` has no meaning for this event"),
        ("true || nonsense(1)", "`nonsense` is not a known function"),
        ("member.tier > 5", "Types that do not go together"),
        ("member.tags.exists(member, true)", "name the loop's variable otherwise"),
        ("purchase.skus.all(a, purchase.skus.all(b, a == b))", "A loop"),
        (" || ".join(["member.tags.exists(t, t == 'x')"] * 5), "More than 4"),
    ],
)
def test_what_may_not_be_published_is_refused_with_a_remedy(source: str, message: str) -> None:
    with pytest.raises(ConditionError) as caught:
        check(source, groups=PURCHASE)

    assert message in str(caught.value)


def test_every_fact_has_an_example_of_the_same_kind() -> None:
    for example in EXAMPLES:
        assert {group: tuple(values) for group, values in example.items()} == dict(FACTS)

    assert FACTS["member"] == tuple(MemberFacts(id="").as_facts())


def test_a_member_without_a_purchase_counts_the_days_since_joining() -> None:
    assert MemberFacts(id="", days_since_joined=9).as_facts()["days_since_purchase"] == 9
    assert MemberFacts(id="", days_since_joined=9, days_since_purchase=0).as_facts()["days_since_purchase"] == 0
