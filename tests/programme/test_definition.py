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


def damaged(source: str, *replacements: tuple[str, str]) -> str:
    for old, new in replacements:
        assert source.count(old) == 1, old
        source = source.replace(old, new)
    return source


def errors(source: str) -> dict[str, str]:
    checked = check_source(source)
    assert checked.definition is None
    assert all(problem.severity is Severity.ERROR for problem in checked.problems)
    found = {problem.path: problem.message for problem in checked.problems}
    assert len(found) == len(checked.problems)
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


@pytest.mark.parametrize(
    ("old", "new", "path", "message"),
    [
        ("late_days: 400", "late_day: 400", "late_day", "Did you mean `late_days`?"),
        ("late_days: 400", 'late_days: "400"', "late_days", "Must be a whole number, without quotes."),
        ("late_days: 400", "late_days: 4000", "late_days", "Must be at most 3660."),
        ("currency: USD", "currency: USX", "currency", "'USX' is not an ISO 4217 currency code"),
        ("time_zone: America/New_York", "time_zone: America/York", "time_zone", "is not an IANA time zone"),
        ("programme: corner", "programme: Corner Club", "programme", "Must be an id: small letters"),
        ("[en, sl, ro, et, ru, kk]", "[en, sl, ro, et, ru, kk, xq]", "locales.supported.6", "'xq' is not a known"),
        ("default: en,", "default: de,", "locales.default", "add it there"),
        ("sl: Klub Vogal", "de: Klub Ecke", "name.de", "add it to locales.supported"),
        ("name: {en: Bronze}", "name: {sl: Bron}", "tiers.levels.0.name", "bronze: Has no text in the default locale"),
        (
            'per: "1.00", give: 1}}, text: {en: 1',
            "per: 1.00, give: 1}}, text: {en: 1",
            "earning.0.award.points.per",
            'base: Must be a decimal number in quotes, such as "1.0"',
        ),
        (
            'max: "3.00"',
            'max: "3.001"',
            "earning.4.award.cashback.max",
            "pastry-cashback: USD has 2 decimals; 3.001 has 3.",
        ),
        ('max: "3.00"', 'max: "-3.00"', "earning.4.award.cashback.max", "an amount here is above zero"),
        ('percent: "5"', 'percent: "150"', "earning.4.award.cashback.percent", "Must be above 0 and at most 100."),
        (
            'multiply: {points: "1.25"}',
            "multiply: {points: 1.25}",
            "earning.1.multiply.points",
            "tier-silver: Must be a decimal",
        ),
        (
            'member.tier == "silver"',
            'member.teir == "silver"',
            "earning.1.when",
            "tier-silver: `member.teir` is not a known fact",
        ),
        (
            "lines: 'line.category == \"PASTRY\"', award: {cash",
            "lines: 'line.category = \"PASTRY\"', award: {cash",
            "earning.4.lines",
            "pastry-cashback: Not CEL: line 1, character 15",
        ),
        ("purchase.total_minor >= 10000", "purchase.total_minor", "earning.6.when", "Gives int, not true or false"),
        (
            "purchase.total_minor >= 10000",
            'purchase.total_minor >= "x"',
            "earning.6.when",
            "Types that do not go together",
        ),
        (
            "purchase.total_minor >= 10000",
            "top_up.amount_minor >= 1",
            "earning.6.when",
            "has no meaning for this event",
        ),
        ("member.purchases > 0 &&", "mmber.purchases > 0 &&", "segments.1.when", "lapsed: `mmber` is not a known fact"),
        ("when: 'entry.points > 0'", "when: 'entry.point > 0'", "cascades.6.when", "earned: `entry.point` is not"),
        (
            "{count: 1, per: month}}\n  - {id: happy",
            "{count: 1, per: moon}}\n  - {id: happy",
            "earning.6.limit.per",
            "big-basket: Must be one of",
        ),
        (
            "award: {voucher: next-20}",
            "award: {voucher: next-21}",
            "earning.6.award.voucher",
            "There is no next-21 in vouchers; known there are five-off",
        ),
        ("bonus: growing-ten}", "bonus: growing}", "earning.8.award.bonus", "welcome: There is no growing in bonuses"),
        ("[store-330, store-424]", "[store-330, store-1]", "earning.7.pilot.places.1", "There is no store-1 in places"),
        ("stock: 7, tier: gold", "stock: 7, tier: golden", "rewards.3.tier", "tasting: There is no golden in tiers"),
        ("counts: streak.weekly", "counts: streak.monthly", "badges.3.counts", "There is no monthly in streaks"),
        ("event: feedback", "event: feedbak", "earning.14.event", "There is no event 'feedbak'"),
        ("nth: 4, within: P60D", "nth: 4", "earning.15", "same-item: `nth` and `within` belong to"),
        ("from: 1500,", "from: 400,", "tiers.levels.2.from", "gold: Does not rise"),
        ("from: 0, name", "from: 10, name", "tiers.levels.0.from", "must begin at 0"),
        (
            "metric: points_earned",
            "metric: spend",
            "tiers.levels.1.from",
            'silver: Must be an amount in quotes, such as "500.00".',
        ),
        ("levels: [5, 25, 100]", "levels: [5, 25, 25]", "badges.0.levels.2", "regular: Does not rise"),
        ("{id: weekly, event: purchase", "{id: weekly, event: same_sku", "streaks.0.event", "Only an earning rule has"),
        ("levels: [3, 6, 12]", "levels: [3, 101]", "badges.1.levels.1", "explorer: Is too many to remember"),
        ("target: 8,", "target: 101,", "challenges.0.target", "summer-basket: Is too many to remember"),
        (
            "event: purchase, counts: distinct_categories",
            "event: feedback, counts: distinct_categories",
            "challenges.0.event",
            "Only a purchase counts distinct_categories",
        ),
        (
            "event: purchase, counts: distinct_categories",
            "event: purchase, counts: activity.share",
            "challenges.0.event",
            "Never counts activity.share",
        ),
        (
            "until: 2017-07-01, award: {points: 150}",
            "until: 2017-06-01, award: {points: 150}",
            "challenges.0.until",
            "Ends before it starts",
        ),
        ("size: 4, per_day: 2", "size: 0, per_day: 2", "stamp_cards.0.size", "Must be at least 1"),
        ('lines: \'line.sku == "1082185" ||', 'lines: \'lane.sku == "1082185" ||', "stamp_cards.0.lines", "bread:"),
        ("{id: tier-gold", "{id: tier-silver", "earning.2.id", "The id tier-silver is taken by earning.1"),
        (
            "policy: rolling, after: P12M, round_to",
            "policy: rollin, after: P12M, round_to",
            "points.expiry.policy",
            "Must be one of 'rolling'",
        ),
        ("policy: rolling, after: P12M, round_to", "policy: rolling, round_to", "points.expiry", "needs `after`"),
        (
            "policy: rolling, after: P12M, round_to",
            "policy: none, after: P12M, round_to",
            "points.expiry",
            "takes no `after`",
        ),
        ("pending: P14D", "pending: PT14H", "cashback.pending", "whole days are counted here"),
        (
            "from: 2017-06-01, until: 2017-09-01}",
            "from: 2017-06-01, until: 2017-06-01}",
            "earning.7.valid",
            "Ends before it starts",
        ),
        ("until: 2017-09-01}", "until: 2017-09-31}", "earning.7.valid.until", "2017-09-31 is not in the calendar"),
        (
            'discount: {percent: "20"}',
            'discount: {percent: "20", amount: "1"}',
            "vouchers.0.discount",
            "Must have one of",
        ),
        ('top_up_max: "150.00"', 'top_up_max: "1.00"', "prepaid.limits.top_up_max", "Is below top_up_min"),
        ("award: {points: 200}}", "award: {}}", "earning.9.award", "birthday: Gives nothing"),
        ("award: {points: 200}}", 'award: {points: {per: "1.00", give: 1}}}', "earning.9", "has no amount"),
        ("expires: P90D}\n\ntiers", "expires: P50D}\n\ntiers", "bonuses.0.expires", "Expires before its last step"),
        ("- {id: plus, price", "- {id: base, price", "plans.0.id", "The id base is taken by earning.0"),
        ('minimum: "20.00", friend', 'minimum: "20.00", after: PT1H, friend', "referral.after", "has a time part"),
    ],
)
def test_a_damaged_programme_is_refused_with_the_path_and_the_remedy(
    example_source: str, old: str, new: str, path: str, message: str
) -> None:
    found = errors(damaged(example_source, (old, new)))

    assert path in found
    assert message in found[path]


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
        ("a: \ud800", "no valid Unicode"),
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
