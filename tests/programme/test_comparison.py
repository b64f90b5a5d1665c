"""Comparisons that are answered without CEL, beside what CEL answers."""

from typing import Any

import cel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.programme.comparison import comparisons_in

NUMBERS = st.integers(-3, 3) | st.sampled_from([10**18 - 1, -(10**18) + 1])
TEXTS = st.sampled_from(["", "gold", "store-330", "a b", "1"])
SPACES = st.sampled_from(["", " ", "\n "])


@st.composite
def comparisons(draw: st.DrawFn) -> str:
    fact = draw(st.sampled_from(["member.points", "member.tier", "member.age_years", "line.sku"]))
    if draw(st.booleans()):
        operator, value = draw(st.sampled_from(["==", "!=", "<", "<=", ">", ">="])), str(draw(NUMBERS))
    else:
        quote = draw(st.sampled_from("\"'"))
        operator, value = draw(st.sampled_from(["==", "!="])), f"{quote}{draw(TEXTS)}{quote}"
    return f"{draw(SPACES)}{fact}{draw(SPACES)}{operator}{draw(SPACES)}{value}{draw(SPACES)}"


OTHERS = st.sampled_from(
    [
        '"a || b" == member.tier',
        'member.tier == "a && b"',
        r'member.tier == "a\"b"',
        "member.points / 0 == 1",
        '"bakery" in member.tags',
        "member.points + 1 > 2",
        "!member.is_new",
        "member.is_new == true",
        "member.points > 1 ? member.is_new : true",
        "member.is_new // && false",
        "(member.points > 1 || member.is_new)",
        "(member.points > 1 && member.is_new)",
        "[1, 2].exists(n, n == member.points)",
        'member.tier.startsWith("g")',
    ]
)


@st.composite
def conditions(draw: st.DrawFn) -> str:
    parts = draw(st.lists(comparisons() | comparisons() | OTHERS, min_size=1, max_size=4))
    source = parts[0]
    joined = draw(st.sampled_from(["&&", "||"]))
    for part in parts[1:]:
        operator = joined if draw(st.integers(0, 5)) else draw(st.sampled_from(["&&", "||"]))
        source = f"{source} {operator} {part}"
    return source


FACTS = st.fixed_dictionaries(
    {
        "member": st.fixed_dictionaries(
            {
                "points": NUMBERS,
                "tier": TEXTS,
                "age_years": st.none() | NUMBERS,
                "is_new": st.booleans(),
                "tags": st.just(("bakery",)) | st.just(()),
            }
        ),
        "line": st.fixed_dictionaries({"sku": TEXTS}),
    }
)


@given(conditions(), FACTS)
@settings(max_examples=200, deadline=None)
def test_what_is_answered_is_what_cel_answers(source: str, facts: dict[str, dict[str, Any]]) -> None:
    chain = comparisons_in(source)
    answer = None if chain is None else chain.answer(facts)

    if answer is not None:
        assert cel.compile(source).execute(facts) is answer


@pytest.mark.parametrize(
    ("source", "answer"),
    [
        ('member.tier == "gold"', True),
        ('member.tier == "gold" && member.points < 4', False),
        ('member.points < 4 || member.tier == "gold"', True),
        ('member.points < 4 || "x" in member.tags', None),
        ('member.points < 4 && "x" in member.tags', False),
        ('member.points < 4 && member.tier == "gold" || true', None),
        ("member.age_years >= 18", None),
        ("member.age_years >= 18 && member.points < 4", False),
        ("member.points", None),
    ],
)
def test_a_chain_is_answered_by_the_comparison_that_decides_it(source: str, answer: bool | None) -> None:
    chain = comparisons_in(source)
    facts = {"member": {"tier": "gold", "points": 4, "age_years": None, "tags": ("x",)}}

    assert (None if chain is None else chain.answer(facts)) is answer


def test_a_fact_that_is_not_there_is_a_mistake() -> None:
    chain = comparisons_in("member.points > 4")

    assert chain is not None
    with pytest.raises(KeyError):
        chain.answer({"member": {}})
