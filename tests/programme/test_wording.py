import string
from collections.abc import Callable
from datetime import date

import pytest
from babel.core import Locale

from domain.programme.earning import ExplanationRow
from domain.programme.programme import Programme
from domain.programme.wording import expiry_policy, explain, localised, ways_to_earn
from domain.programme.words import WORDS

NBSP = "\N{NO-BREAK SPACE}"


@pytest.mark.parametrize(
    ("row", "locale", "text"),
    [
        (ExplanationRow("base", "award", 12, 0), "sl", "1 point for every dollar"),
        (ExplanationRow("tier-silver", "multiplier", 3, 0), "en", "Points × 1.25 with Silver"),
        (ExplanationRow("tier-silver", "multiplier", 3, 0), "sl", "Točke × 1,25 s stopnjo Silver"),
        (ExplanationRow("happy-hour", "multiplier", 3, 0), "ru", "Баллы × 2"),
        (ExplanationRow("produce-double", "limit", -3, 0), "en", "Limit of 40 points a week"),
        (ExplanationRow("produce-double", "limit", -3, 0), "ro", "Limită: 40 de puncte pe săptămână"),
        (ExplanationRow("pastry-cashback", "limit", 0, -50), "en", "Limit of $3.00 a purchase"),
        (ExplanationRow("pastry-cashback", "limit", 0, -50), "et", f"Piirang: 3,00{NBSP}$ ostu kohta"),
        (ExplanationRow("big-basket", "award", 0, 0), "en", "Voucher: 20 % off your next shop"),
        (ExplanationRow("birthday", "award", 200, 0), "kk", "Туған күн: 200 ұпай"),
        (ExplanationRow("adjustment", "award", 5, 0), "en", "adjustment"),
    ],
)
def test_a_row_is_explained_in_the_members_language(
    example: Programme, row: ExplanationRow, locale: str, text: str
) -> None:
    assert explain(example, row, locale) == text


@pytest.mark.parametrize(
    ("locale", "text"),
    [
        ("sl-SI", "Klub Vogal"),
        ("kk", "«Бұрыш» клубы"),
        ("de", "Corner Club"),
        ("", "Corner Club"),
        ("x_y-z", "Corner Club"),
    ],
)
def test_a_text_falls_back_as_the_programme_says(example: Programme, locale: str, text: str) -> None:
    assert localised(example, example.definition.name, locale) == text


def test_kazakh_falls_back_to_russian_before_english(example: Programme) -> None:
    assert localised(example, {"en": "Bread", "ru": "Хлеб"}, "kk-KZ") == "Хлеб"


def test_the_ways_to_earn_are_one_sentence_a_rule_with_its_limits(example: Programme) -> None:
    ways = ways_to_earn(example, "en")

    assert len(ways) == 17 + 8
    assert ways[0] == "1 point for every dollar"
    assert ways[4] == "5 % cashback on pastry, at most $3.00 a purchase"
    assert ways[5] == "1 point for every $1.00 on selected products, at most 40 points a week"
    assert ways[7] == "Points × 2, conditions apply, until 8/31/2017"
    assert ways[8] == "Joining: 100 points + Bonus: $10.00"
    assert ways[16] == "Top-up: $5.00 cashback, conditions apply, at most 1 × a month"


def test_ways_to_earn_on_a_day_leave_out_what_is_not_in_force(example: Programme) -> None:
    assert len(ways_to_earn(example, "en", on=date(2017, 6, 30))) == 17 + 8
    assert len(ways_to_earn(example, "en", on=date(2017, 8, 31))) == 17 + 7
    assert len(ways_to_earn(example, "en", on=date(2017, 9, 1))) == 16 + 7


def test_what_gives_without_an_earning_rule_is_told_by_its_name(example: Programme) -> None:
    assert ways_to_earn(example, "en")[17:] == [
        "Week by week × 4: 40 points",
        "Week by week × 13: Voucher: A coffee on us",
        "Day by day × 3: 15 points",
        "Bread card × 4: Voucher: A pastry on us",
        "Summer basket: 150 points, until 6/30/2017",
        "Corner Plus: Points × 1.1",
        "Inviting a friend: 200 points, conditions apply",
        "Coming by a friend's invitation: 100 points, conditions apply",
    ]


@pytest.mark.parametrize(
    ("locale", "fixed", "growing", "referral"),
    [
        ("en", "Week by week × 4: 40 points", "Joining: 100 points + Bonus: $10.00", "Inviting a friend: 200 points"),
        ("sl", "Week by week × 4: 40 točk", "Pridružitev: 100 točk + Bonus: 10,00 $", "Povabilo prijatelja: 200 točk"),
        (
            "ro",
            "Week by week × 4: 40 de puncte",
            "Înscriere: 100 de puncte + Bonus: 10,00 USD",
            "Invitarea unui prieten: 200 de puncte",
        ),
        ("et", "Week by week × 4: 40 punkti", "Liitumine: 100 punkti + Boonus: 10,00 $", "Sõbra kutsumine: 200 punkti"),
        (
            "ru",
            "Week by week × 4: 40 баллов",
            "Регистрация: 100 баллов + Бонус: 10,00 $",
            "Приглашение друга: 200 баллов",
        ),
        ("kk", "Week by week × 4: 40 ұпай", "Тіркелу: 100 ұпай + Бонус: 10,00 $", "Дос шақыру: 200 ұпай"),
    ],
)
def test_every_language_tells_what_is_given(
    example: Programme, locale: str, fixed: str, growing: str, referral: str
) -> None:
    ways = [way.replace(NBSP, " ") for way in ways_to_earn(example, locale)]

    assert ways[17] == fixed
    assert ways[8] == growing
    assert ways[23].startswith(f"{referral}, ")


@pytest.mark.parametrize(
    ("locale", "text"),
    [
        (
            "en",
            "Points: valid for 12 months, to the end of the month. Cashback: waiting time 14 days, valid for 6 months.",
        ),
        (
            "sl",
            "Točke: veljavnost 12 mesecev, do konca meseca. Vračilo: čakalna doba 14 dni, veljavnost 6 mesecev.",
        ),
        (
            "ru",
            "Баллы: срок действия 12 месяцев, до конца месяца. Кешбэк: срок ожидания 14 дней, срок действия 6 месяцев.",
        ),
    ],
)
def test_the_expiry_policy_is_said_in_words(example: Programme, locale: str, text: str) -> None:
    assert expiry_policy(example, locale) == text


@pytest.mark.parametrize(
    ("section", "text"),
    [
        ("", "Points: no expiry."),
        ("points: {expiry: {policy: none}}", "Points: no expiry."),
        ("points: {expiry: {policy: calendar}}", "Points: valid until 31 December of the same year."),
        (
            "points: {expiry: {policy: inactivity, after: P1Y, round_to: end_of_year}}",
            "Points: valid for 12 months after the last use, to the end of the year.",
        ),
    ],
)
def test_every_policy_has_its_words(programme_with: Callable[[str], Programme], section: str, text: str) -> None:
    assert expiry_policy(programme_with(section), "en") == text


@pytest.mark.parametrize("language", sorted(WORDS))
def test_every_language_has_every_phrase_with_the_same_names(language: str) -> None:
    def names(text: str) -> set[str]:
        return {name for _, name, _, _ in string.Formatter().parse(text) if name}

    def plain(words: dict[str, str]) -> dict[str, set[str]]:
        plurals = ("points.", "months.", "days.")
        return {phrase: names(text) for phrase, text in words.items() if not phrase.startswith(plurals)}

    forms = {Locale(language).plural_form(number) for number in range(1, 1_000)} | {"other"}

    assert plain(dict(WORDS[language])) == plain(dict(WORDS["en"]))
    for noun in ("points", "months", "days"):
        assert {phrase for phrase in WORDS[language] if phrase.startswith(noun)} == {f"{noun}.{form}" for form in forms}


@pytest.mark.parametrize(
    ("locale", "words"),
    [
        ("sl", ["1 točka", "2 točki", "3 točke", "5 točk", "101 točka"]),
        ("ru", ["1 балл", "2 балла", "3 балла", "5 баллов", "101 балл"]),
        ("ro", ["1 punct", "2 puncte", "3 puncte", "5 puncte", "101 puncte"]),
    ],
)
def test_points_bend_with_their_number(
    programme_with: Callable[[str], Programme], locale: str, words: list[str]
) -> None:
    rules = ", ".join(
        f"{{id: r{points}, event: purchase, award: {{points: {points}}}}}" for points in (1, 2, 3, 5, 101)
    )
    programme = programme_with(f"earning: [{rules}]")

    assert ways_to_earn(programme, locale) == words
