"""What a member reads: his language with its plurals, money and dates, or nothing at all (SEMANTICS §10.15)."""

from typing import Any, Final

from tests.api.post import a_cascade, consents, later, publish, push, said, tell, the_run, with_phone
from tests.api.shop import Shop, a_purchase, new_key
from tests.api.test_firebase_answers import alarms
from tests.notifications.phones import Phones

LOCALES: Final = {
    "default": "en",
    "supported": ["en", "sl", "ro", "et", "ru", "kk"],
    "fallback": {"kk": ["ru", "en"]},
}
FORMS: Final = {
    "sl": "{balance, plural, one {# točka} two {# točki} few {# točke} other {# točk}}",
    "ro": "{balance, plural, one {# punct} few {# puncte} other {# de puncte}}",
    "et": "{balance, plural, one {# punkt} other {# punkti}}",
    "ru": "{balance, plural, one {# балл} few {# балла} many {# баллов} other {# балла}}",
    "kk": "{balance, plural, one {# ұпай ғана} other {# ұпай}}",
    "en": "{balance, plural, one {# point} other {# points}}",
}
READ: Final = {
    "sl": {1: "1 točka", 2: "2 točki", 3: "3 točke", 5: "5 točk", 101: "101 točka", 1_302: "1.302 točki"},
    "ro": {1: "1 punct", 2: "2 puncte", 19: "19 puncte", 20: "20 de puncte", 101: "101 puncte"},
    "et": {1: "1 punkt", 2: "2 punkti"},
    "ru": {1: "1 балл", 2: "2 балла", 5: "5 баллов", 11: "11 баллов", 21: "21 балл"},
    "kk": {1: "1 ұпай ғана", 2: "2 ұпай"},
    "en": {1: "1 point", 0: "0 points", 1_234: "1,234 points"},
}
INBOX: Final = "{ me { inbox { nodes { title body link } } } }"


async def read(post: Shop, member: str) -> list[str]:
    return sorted([node["body"] for node in (await post.phone(member, INBOX))["me"]["inbox"]["nodes"]])


async def test_plurals_are_those_of_the_members_language(post: Shop) -> None:
    texts = {"points": {locale: {"title": "!", "body": body} for locale, body in FORMS.items()}}
    await publish(post, a_cascade("points"), templates=texts, locales=LOCALES)
    members = {}
    for locale, forms in READ.items():
        for points in forms:
            members[locale, points] = member = await post.enrol(locale=locale)
            if points:
                given = {"member": member, "points": points, "reason": "A start", "idempotencyKey": new_key()}
                await post.adjust(given)
            await tell(post, member, "points")
    await later(post, minutes=1)

    for (locale, points), member in members.items():
        assert [text.replace("\N{NO-BREAK SPACE}", " ") for text in await read(post, member)] == [READ[locale][points]]


async def test_a_language_falls_back_as_the_programme_states(post: Shop) -> None:
    def in_(*locales: str) -> dict[str, Any]:
        return {locale: {"title": locale, "body": f"{locale}!"} for locale in locales}

    await publish(
        post,
        *(a_cascade(name, trigger={"event": "activity.go"}) for name in ("all", "russian", "english", "estonian")),
        templates={
            "all": in_("en", "ru", "kk", "sl"),
            "russian": in_("en", "ru"),
            "english": in_("en"),
            "estonian": in_("et", "en"),
        },
        locales=LOCALES,
    )
    told = {"kk": await post.enrol(locale="kk"), "kk-KZ": await post.enrol(locale="kk-KZ")}
    told |= {"sl-SI": await post.enrol(locale="sl-SI"), "fr": await post.enrol(locale="fr"), "none": await post.enrol()}
    by_phone = await post.enrol()
    await with_phone(post, by_phone, endpoint="old-phone", locale="en")
    await later(post, seconds=1)
    await with_phone(post, by_phone, endpoint="new-phone", locale="kk")
    for member in (*told.values(), by_phone):
        await tell(post, member, "go")
    await later(post, minutes=1)

    kazakh, english = ["en!", "en!", "kk!", "ru!"], ["en!", "en!", "en!", "en!"]
    assert [await read(post, told[locale]) for locale in ("kk", "kk-KZ")] == [kazakh, kazakh]
    assert await read(post, told["sl-SI"]) == ["en!", "en!", "en!", "sl!"]
    assert [await read(post, told[locale]) for locale in ("fr", "none")] == [english, english]
    assert await read(post, by_phone) == kazakh


async def test_money_numbers_dates_and_links_are_written_in_the_language(post: Shop, phones: Phones) -> None:
    pattern = "{amount} · {points, number} · {balance, number}"
    texts = {
        "receipt": {
            locale: {"title": "{name}: " + locale, "body": pattern, "link": "corner://of/{name}/{points}"}
            for locale in ("en", "sl", "ru")
        }
    }
    await publish(
        post,
        a_cascade("receipt", trigger={"event": "purchase"}),
        templates=texts,
        locales=LOCALES,
        messaging={"links": ["corner://"]},
    )
    for locale in ("en", "sl", "ru"):
        member = await post.enrol(locale=locale, displayName="Ana {points} Š")
        await with_phone(post, member, endpoint=f"phone-{locale}")
        await post.record(a_purchase(member, "12345.60"))
    await later(post, minutes=1)

    shown = {locale: phones.device(f"phone-{locale}")["screen"][0] for locale in ("en", "sl", "ru")}
    assert {locale: item["title"] for locale, item in shown.items()} == {
        locale: f"Ana {{points}} Š: {locale}" for locale in shown
    }
    bodies = {locale: " ".join(item["body"].split()) for locale, item in shown.items()}
    assert bodies == {
        "en": "$12,345.60 · 12,345 · 12,345",
        "sl": "12.345,60 $ · 12.345 · 12.345",
        "ru": "12 345,60 $ · 12 345 · 12 345",
    }
    assert {item["link"] for item in shown.values()} == {"corner://of/Ana%20%7Bpoints%7D%20%C5%A0/12345"}


async def test_a_missing_variable_stops_that_send_with_the_reason_and_an_alarm(post: Shop, phones: Phones) -> None:
    texts = {
        "greets": {"en": {"title": "Hello", "body": "Hello {name}, {points} points."}},
        "plain": {"en": {"title": "Plain", "body": "Hello."}},
    }
    cap = {"caps": [{"id": "one", "category": "MARKETING", "count": 1, "per": "day"}]}
    steps = ({"send": ["PUSH", "EMAIL"], "template": "greets"}, push("plain"))
    await publish(post, a_cascade("news", *steps, category="MARKETING"), templates=texts, messaging=cap)
    nameless, named, silent = (
        await post.enrol(email="n@example.com"),
        await post.enrol(displayName="Ana"),
        await post.enrol(),
    )
    for member in (nameless, named, silent):
        await consents(post, member)
    for member in (nameless, named):
        await with_phone(post, member)
    before = await alarms(post, "message_not_rendered")
    for member in (nameless, named, silent):
        await tell(post, member, "news")
    await later(post, minutes=1)

    assert said(await the_run(post, nameless, "news")) == ["not sent: not rendered: name", "sent by PUSH", "done"]
    assert said(await the_run(post, named, "news")) == ["sent by PUSH", "not sent: capped: one", "done"]
    assert said(await the_run(post, silent, "news"))[0] == "not sent: unreachable: PUSH, EMAIL"
    assert await read(post, nameless) == ["Hello."]
    assert await read(post, silent) == ["Hello."]
    assert phones.titles(f"fid-{nameless}") == ["Plain"]
    assert await alarms(post, "message_not_rendered") == before + 2
