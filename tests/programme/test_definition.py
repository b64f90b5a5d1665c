from datetime import date
from fractions import Fraction
from pathlib import Path

import pytest

from domain.ledger.expiry import Period
from domain.programme.definition import (
    DefinitionInvalid,
    ProgrammeProblem,
    Severity,
    check_source,
    read_definition,
)
from tests.programme.mistakes import MISTAKES, damaged, with_mistakes


def errors(source: str) -> dict[str, str]:
    checked = check_source(source)
    assert checked.definition is None
    problems = [problem for problem in checked.problems if problem.severity is Severity.ERROR]
    found = {problem.path: problem.message for problem in problems}
    assert len(found) == len(problems)
    return found


def test_the_example_programme_has_no_problem(example_source: str) -> None:
    checked = check_source(example_source)

    assert checked.problems == ()
    assert checked.definition is not None
    assert checked.definition.programme == "corner"
    assert checked.definition.late_days == 400


def test_a_date_may_be_quoted_as_json_must_write_it(example_source: str) -> None:
    quoted = damaged(example_source, ("valid: {from: 2017-06-01,", 'valid: {from: "2017-06-01",'))

    assert read_definition(quoted) == read_definition(example_source)
    assert errors(damaged(quoted, ('"2017-06-01"', '"2017-06-31"'))) == {
        "earning.7.valid.from": "happy-hour: Must be a date such as 2017-06-01."
    }


def test_the_sections_are_typed(example_source: str) -> None:
    definition = read_definition(example_source)

    assert definition.name["sl"] == "Klub Vogal"
    assert definition.points.refund_grace == Period(days=14)
    assert definition.prepaid.hold_expires == Period(seconds=1_800)
    assert definition.earning[1].multiply is not None
    assert definition.earning[1].multiply.points == Fraction(5, 4)
    assert definition.earning[10].reported_by == ["member"]
    assert definition.places[2].closed == [date(2017, 12, 25)]
    assert definition.rewards[3].tier == "gold"
    assert list(definition.templates)[:2] == ["welcome-1", "welcome-2"]
    assert definition.messaging.quiet_hours is not None
    assert (definition.messaging.quiet_hours.from_, definition.messaging.quiet_hours.until) == ("22:00", "08:00")


@pytest.mark.parametrize("kind", MISTAKES)
def test_a_damaged_programme_is_refused_with_the_path_and_the_remedy(example_source: str, kind: str) -> None:
    found = errors(with_mistakes(example_source, kind))

    mistake = MISTAKES[kind]
    assert mistake.path in found
    assert mistake.remedy in found[mistake.path]


def test_every_problem_is_told_at_once_and_in_order(example_source: str) -> None:
    source = damaged(
        example_source,
        ("currency: USD", "currency: USX"),
        ("{id: base, event: purchase", "{id: base, evnt: purchase"),
        ("award: {voucher: next-20}", "award: {voucher: next-21}"),
        ("from: 1500,", "from: 400,"),
        ("size: 4, ", ""),
        ("member.days_since_joined < 30", "member.days_since_joined"),
    )

    assert list(errors(source)) == [
        "currency",
        "earning.0.event",
        "earning.0.evnt",
        "earning.6.award.voucher",
        "tiers.levels.2.from",
        "stamp_cards.0.size",
        "segments.0.when",
    ]


def test_what_names_something_that_is_wrong_itself_is_no_second_problem(example_source: str) -> None:
    source = damaged(
        example_source,
        ("period: week, goal: 1", "period: fortnight, goal: 1"),
        ("radius_m: 150, region: south", "radius_m: 1, region: harbour"),
        ("pilot: {places: [store-330, store-424]}", "pilot: {regions: [harbour]}"),
        ("purchase.total_minor >= 10000", 'purchase.region == "harbour"'),
    )

    assert list(errors(source)) == ["streaks.0.period", "places.2.radius_m"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("", "must be a group of keys"),
        ("[]", "must be a group of keys"),
        ("a: b: c", "Not YAML: line 1, column 5"),
        ("a: [1", "Not YAML: line 2"),
        ("a: \x00", "Not YAML"),
        ("a: \ud800", "not valid Unicode"),
        ("a: &x 1\nb: *x", "line 2, column 4: aliases"),
        ("<<: {a: 1}", "line 1, column 1: a key must be a plain word"),
        ("? [a]\n: b", "a key must be a plain word"),
        ("a: !!python/object:os.system x", "line 1, column 4: tags"),
        ("a: 1\n---\nb: 2", "another document"),
        ("a: " + "[" * 5_000, "deeper than 24 levels"),
        ("a: [" + "1," * 100_001 + "]", "more than 100000 values"),
        ("a: " + "x" * 1_048_576, "at most 1048576 (1 MiB)"),
    ],
    ids=range(14),
)
def test_what_is_no_bounded_yaml_is_refused_with_its_place(source: str, message: str) -> None:
    (problem,) = check_source(source).problems

    assert problem.path == ""
    assert message in problem.message


def test_a_key_that_is_there_twice_is_refused(example_source: str) -> None:
    found = errors(damaged(example_source, ("currency: USD", "currency: USD\ncurrency: EUR")))

    assert found == {"currency": "line 7, column 1: the key is here twice; remove one of them."}


def test_words_that_older_yaml_takes_for_truth_values_and_times_stay_text(example_source: str) -> None:
    source = damaged(example_source, ('from: "22:00"', "from: 22:00"), ("food-bank, name", "no, name"))

    definition = read_definition(source)

    assert definition.messaging.quiet_hours is not None
    assert definition.messaging.quiet_hours.from_ == "22:00"
    assert definition.charities[0].id == "no"


def test_a_multiplier_without_an_award_to_multiply_is_a_warning(example_source: str) -> None:
    source = damaged(example_source, ("{id: tier-vip, event: purchase", "{id: tier-vip, event: activity.run"))

    checked = check_source(source)

    assert checked.definition is not None
    assert checked.problems == (
        ProgrammeProblem(
            path="earning.3",
            message="tier-vip: Multiplies nothing: no rule gives an award for activity.run.",
            severity=Severity.WARNING,
        ),
    )


def test_reading_an_invalid_source_raises_with_all_problems(example_source: str) -> None:
    with pytest.raises(DefinitionInvalid) as caught:
        read_definition(damaged(example_source, ("currency: USD", "currency: USX")))

    assert [problem.path for problem in caught.value.problems] == ["currency"]


def test_there_is_one_example_programme() -> None:
    root = Path(__file__).parents[2]

    assert [path.relative_to(root).parts for path in root.glob("programme.yaml")] == [("programme.yaml",)]
