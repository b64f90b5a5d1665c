"""What publishing says of templates: each mistake with its path and remedy (SEMANTICS §11)."""

import json
from typing import Any

import pytest
import yaml

from domain.programme.definition import check_source
from domain.programme.problem import Severity


def with_texts(example_source: str, template: str, *, links: list[str] | None = None, **changes: Any) -> str:
    """The example programme with another English text in that template."""
    data = yaml.safe_load(example_source)
    text = data["templates"].setdefault(template, {}).setdefault("en", {})
    text |= changes
    if links is not None:
        data["messaging"]["links"] = links
    return json.dumps(data, default=str)


def problems(source: str, severity: Severity) -> list[tuple[str, str]]:
    return [(each.path, each.message) for each in check_source(source).problems if each.severity is severity]


@pytest.mark.parametrize(
    ("template", "changes", "path", "remedy"),
    [
        ("welcome-1", {"titel": "Hi"}, "en.titel", "Did you mean `title`?"),
        ("welcome-1", {"body": ""}, "en.body", "Must not be empty."),
        ("welcome-1", {"body": "{name"}, "en.body", "A brace { or } has no partner"),
        ("welcome-1", {"body": "{points, plural, one {#}}"}, "en.body", "no form `other`"),
        ("welcome-1", {"body": "{point}"}, "en.body", "There is no variable {point} here; known are balance, bonus,"),
        ("near-store-1", {"link": "corner://place/{id}"}, "en.link", "There is no variable {id} here"),
        ("near-store-1", {"link": "corner://place/{place_id, number}"}, "en.link", "plain variables only"),
        ("near-store-1", {"link": "https://corner.example.evil/"}, "en.link", "Begins with none of messaging.links"),
        (
            "welcome-3",
            {"body": "{bonus, plural, other {#}}"},
            "en.body",
            "bonus is money. Write {bonus}, {bonus, number}",
        ),
        ("welcome-3", {"body": "{bonus} {bonus, number}"}, "en.body", "stands alone and with a format"),
        ("expiring-1", {"body": "{date, time, short}"}, "en.body", "date is day. Write {date}, {date, date}."),
        ("streak-1", {"link": "corner://{until}"}, "en.link", "{until} is instant, which no link takes"),
        ("welcome-2", {"title": None}, "en", "Has no title, which PUSH needs"),
        ("welcome-2", {"image_url": "http://corner.example/a.png"}, "en.image_url", "Must be an https:// address"),
        ("win-back-1", {"body": "{name} " * 10}, "en", "A push message has at most 4096 bytes; filled at its longest"),
    ],
)
def test_each_mistake_in_a_template_is_told_with_its_place_and_remedy(
    example_source: str, template: str, changes: dict[str, Any], path: str, remedy: str
) -> None:
    found = problems(with_texts(example_source, template, **changes), Severity.ERROR)

    assert [where for where, _ in found] == [f"templates.{template}.{path}"]
    assert remedy in found[0][1]


def test_a_variable_must_be_known_to_every_cascade_that_sends_the_template(example_source: str) -> None:
    data = yaml.safe_load(example_source)
    data["cascades"][2]["steps"].append({"send": "EMAIL", "template": "welcome-3"})

    found = problems(json.dumps(data, default=str), Severity.ERROR)

    message = "{bonus} is not known where the cascade starts by lapsed; make another template."
    assert found == [("templates.welcome-3.en.body", message)]


def test_a_template_has_the_default_language_and_none_that_is_not_supported(example_source: str) -> None:
    data = yaml.safe_load(example_source)
    data["templates"]["welcome-2"] = {"sl": {"title": "Da", "body": "Da"}, "de": {"title": "Ja", "body": "Ja"}}

    found = problems(json.dumps(data, default=str), Severity.ERROR)

    assert found == [
        ("templates.welcome-2", "Has no text in the default locale; add `en: …`."),
        (
            "templates.welcome-2.de",
            "The locale de is not supported; add it to locales.supported, or leave the text out.",
        ),
    ]


@pytest.mark.parametrize(
    ("link", "remedy"),
    [("corner", "the beginning of an address"), ("https://corner.example", "Has no / after the host")],
)
def test_what_links_may_begin_with_leads_to_one_place(example_source: str, link: str, remedy: str) -> None:
    source = with_texts(example_source, "welcome-1", links=["corner://", link])

    found = problems(source, Severity.ERROR)

    assert [where for where, _ in found] == ["messaging.links.1"]
    assert remedy in found[0][1]


def test_missing_languages_missing_plural_forms_and_unused_templates_are_warned_of(example_source: str) -> None:
    data = yaml.safe_load(example_source)
    data["templates"]["welcome-1"]["sl"]["body"] = "{points, plural, one {# točka} other {# točk}}"
    data["templates"]["unused"] = {"en": {"title": "Hi", "body": "Hi {anybody}"}}
    data["locales"]["fallback"] = {"kk": ["ru", "en"], "ro": ["en"]}
    for name in set(data["templates"]) - {"welcome-1", "unused"}:
        data["templates"][name] |= {locale: {"title": "Hi", "body": "Hi"} for locale in ("sl", "et", "ru")}

    source = json.dumps(data, default=str)

    assert problems(source, Severity.WARNING) == [
        ("templates.welcome-1.sl.body", "{points, plural} lacks few, two of sl; `other` is read there."),
        ("templates.unused", "No cascade sends it; drop it, or name it in a step."),
        ("templates.unused", "Has no text in sl, et, ru; these members read it in en."),
    ]
    assert problems(source, Severity.ERROR) == []


def test_whole_numbers_need_no_form_that_only_fractions_have(example_source: str) -> None:
    data = yaml.safe_load(example_source)
    data["locales"]["supported"].append("cs")
    data["templates"]["welcome-1"]["cs"] = {
        "title": "Ahoj",
        "body": "{points, plural, one {# bod} few {# body} other {# bodů}}",
    }

    data["locales"]["fallback"]["cs"] = ["en"]

    assert problems(json.dumps(data, default=str), Severity.WARNING) == []
