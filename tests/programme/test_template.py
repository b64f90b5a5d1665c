"""What messages say: plurals, numbers, money and days of six languages, and what stops one (SEMANTICS §10.15)."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.programme.programme import Programme
from domain.programme.template import MissingVariable, PatternError, Rendered, TemplateText, arguments, render
from domain.programme.variables import MoneyValue, Value
from notifications.template import render_template

UTC_ZONE = ZoneInfo("UTC")
NUMBERS = (0, 1, 2, 3, 4, 5, 11, 21, 101, 1_000)
POINTS = {
    "sl": "{n, plural, one {# točka} two {# točki} few {# točke} other {# točk}}",
    "ro": "{n, plural, one {# punct} few {# puncte} other {# de puncte}}",
    "et": "{n, plural, one {# punkt} other {# punkti}}",
    "ru": "{n, plural, one {# балл} few {# балла} many {# баллов} other {# балла}}",
    "kk": "{n, plural, one {# ұпай} other {# ұпай}}",
    "en": "{n, plural, one {# point} other {# points}}",
}


def body(pattern: str, locale: str = "en", zone: ZoneInfo = UTC_ZONE, **variables: Any) -> str | MissingVariable:
    rendered = render(TemplateText(body=pattern), locale, variables, zone=zone)
    return rendered.body if isinstance(rendered, Rendered) else rendered


@pytest.mark.parametrize(
    ("locale", "read"),
    [
        (
            "sl",
            "0 točk|1 točka|2 točki|3 točke|4 točke|5 točk|11 točk|21 točk|101 točka|1.000 točk",
        ),
        (
            "ro",
            "0 puncte|1 punct|2 puncte|3 puncte|4 puncte|5 puncte|11 puncte|21 de puncte|101 puncte|1.000 de puncte",
        ),
        (
            "et",
            "0 punkti|1 punkt|2 punkti|3 punkti|4 punkti|5 punkti|11 punkti|21 punkti|101 punkti|1 000 punkti",
        ),
        (
            "ru",
            "0 баллов|1 балл|2 балла|3 балла|4 балла|5 баллов|11 баллов|21 балл|101 балл|1 000 баллов",
        ),
        ("kk", "0 ұпай|1 ұпай|2 ұпай|3 ұпай|4 ұпай|5 ұпай|11 ұпай|21 ұпай|101 ұпай|1 000 ұпай"),
        (
            "en",
            "0 points|1 point|2 points|3 points|4 points|5 points|11 points|21 points|101 points|1,000 points",
        ),
    ],
)
def test_plurals_are_those_of_the_language(locale: str, read: str) -> None:
    texts = [body(POINTS[locale], locale, n=number) for number in NUMBERS]

    assert "|".join(str(text) for text in texts).replace("\xa0", " ") == read


@pytest.mark.parametrize(
    ("locale", "money", "day", "instant"),
    [
        ("en", "$1,234.50", "October 25", "Sunday, 2:30\u202fAM"),
        ("sl", "1234,50 $", "25. oktober", "nedelja, 02:30"),
        ("ro", "1.234,50 USD", "25 octombrie", "duminică, 02:30"),
        ("et", "1234,50 $", "25. oktoober", "pühapäev, 02:30"),
        ("ru", "1 234,50 $", "25 октября", "воскресенье, 02:30"),
        ("kk", "1 234,50 $", "25 қазан", "жексенбі, 02:30"),
    ],
)
def test_money_days_and_times_are_written_as_the_language_does(locale: str, money: str, day: str, instant: str) -> None:
    values: dict[str, Any] = {
        "bonus": MoneyValue(amount=Decimal("1234.50"), currency="USD"),
        "date": date(2026, 10, 25),
        "until": datetime(2026, 10, 25, 1, 30, tzinfo=UTC),
    }
    pattern = "{bonus}|{date, date, ::dMMMM}|{until, date, ::EEEE}, {until, time, short}"

    text = body(pattern, locale, ZoneInfo("Europe/Ljubljana"), **values)

    assert str(text).replace("\xa0", " ").split("|") == [money, day, instant]


def test_an_instant_is_told_by_the_clock_on_the_members_wall() -> None:
    until = datetime(2026, 7, 6, 23, 30, tzinfo=UTC)

    days = [body("{until, date, ::EEEEdMMMM}", zone=ZoneInfo(zone), until=until) for zone in ("UTC", "Asia/Almaty")]

    assert days == ["Monday, July 6", "Tuesday, July 7"]


@given(st.text(min_size=1).filter(lambda text: text.strip() != ""))
def test_what_a_member_calls_himself_is_never_read_as_a_pattern(name: str) -> None:
    assert body("Hello {name}!", name=name) == f"Hello {name}!"


@pytest.mark.parametrize(
    ("pattern", "variables"),
    [
        ("{points, plural, one {#} other {#}}", {}),
        ("{points, plural, one {#} other {#}}", {"points": "ten"}),
        ("{points, number}", {"points": True}),
        ("{points, date, short}", {"points": 10}),
        ("{points}", {"points": " "}),
        ("{points}", {"points": datetime(2026, 7, 6, 8, 30)}),  # noqa: DTZ001 -- an instant without a zone is none
        ("{points} {points, number}", {"points": MoneyValue(amount=Decimal("1.00"), currency="USD")}),
    ],
)
def test_what_is_missing_or_of_another_type_is_a_value_and_no_message(pattern: str, variables: dict[str, Any]) -> None:
    assert body(pattern, **variables) == MissingVariable(variables=("points",))


def test_all_that_is_missing_is_named_once_wherever_it_stands() -> None:
    text = TemplateText(title="{name}", body="{points, number} {name}", link="corner://place/{place_id}")

    assert render(text, "en", {}, zone=UTC_ZONE) == MissingVariable(variables=("name", "points", "place_id"))


def test_variables_in_links_are_percent_encoded() -> None:
    text = TemplateText(body="Look", link="https://corner.example/p/{place_id}?n={points}&d={date}")
    values: Mapping[str, Value] = {"place_id": "a/b?c=d&é", "points": 1_000, "date": date(2026, 7, 6)}

    rendered = render(text, "sl", values, zone=UTC_ZONE)

    assert isinstance(rendered, Rendered)
    assert rendered.link == "https://corner.example/p/a%2Fb%3Fc%3Dd%26%C3%A9?n=1000&d=2026-07-06"


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("it's {a} '{x}' ''{b}''", ["a", "b"]),
        ("{a, plural, offset:1 =0 {none} one {{b}} other {# '#{' {c}}} {d}", ["a", "b", "c", "d"]),
        ("{a, select, x {{b, date, EEEE 'at }' h}} other {}}{c}", ["a", "b", "c"]),
        ("{ a , number , ::currency/USD }{a}", ["a", "a"]),
    ],
)
def test_the_variables_of_a_pattern_are_found_where_icu_finds_them(pattern: str, names: list[str]) -> None:
    assert [argument.name for argument in arguments(pattern)] == names


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("{name", "A brace { or } has no partner"),
        ("{points, plural, one {#}}", "no form `other`"),
        ("{points, spellout}", "{points, spellout} is not taken"),
        ("{until, time, full}", "would show a zone"),
        ("{until, date, ::Hmz}", "would show a zone"),
    ],
)
def test_a_pattern_that_cannot_be_used_says_why(pattern: str, said: str) -> None:
    with pytest.raises(PatternError, match=said.replace("{", r"\{").replace("}", r"\}")):
        arguments(pattern)


@pytest.mark.parametrize(
    ("locale", "template", "read_in"),
    [
        ("sl", "welcome-1", "sl"),
        ("sl-SI", "welcome-1", "sl"),
        ("kk", "welcome-1", "kk"),
        ("kk", "expiring-1", "ru"),
        ("kk", "win-back-1", "en"),
        ("et", "expiring-1", "en"),
        ("de", "welcome-1", "en"),
    ],
)
def test_a_member_reads_the_language_that_the_programme_names_for_his(
    example: Programme, locale: str, template: str, read_in: str
) -> None:
    values: Mapping[str, Value] = {"name": "Ana", "points": 2, "date": date(2026, 7, 6)}

    rendered = render_template(example, template, locale=locale, variables=values, zone=UTC_ZONE)

    assert isinstance(rendered, Rendered)
    assert rendered.locale == read_in


def test_a_member_without_a_name_is_called_what_the_programme_says(example: Programme) -> None:
    values: Mapping[str, Value] = {"points": 2}

    rendered = render_template(example, "welcome-1", locale="sl", variables=values, zone=UTC_ZONE)

    assert rendered == Rendered(
        locale="sl",
        title="Dobrodošli, sosed!",
        body="Čakata vas 2 točki.",
        link="corner://wallet",
        image_url=None,
    )
