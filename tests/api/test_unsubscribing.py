"""One click in a mail program leaves the mailing, without a login, as often as it is made (RFC 8058)."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, Final

import pytest

from domain.settings import Settings
from domain.store.connection import Store
from domain.store.deadline import within
from tests.api.post import a_cascade, consents, later, opened_post, publish, said, tell, the_run
from tests.api.shop import Shop
from tests.notifications.mailbox import Mailbox, opened_mailbox
from tests.notifications.phones import Phones

PUBLIC: Final = "https://wallet.example"
ME: Final = "{ me { consents { purpose granted version } } }"
CLICK: Final = {"List-Unsubscribe": "One-Click"}


@pytest.fixture
async def mailbox() -> AsyncIterator[Mailbox]:
    async with opened_mailbox() as opened:
        yield opened


@pytest.fixture
async def post(store: Store, settings: Settings, phones: Phones, mailbox: Mailbox) -> AsyncIterator[Shop]:
    own = replace(
        settings,
        public_url=PUBLIC,
        smtp_url=f"smtp://127.0.0.1:{mailbox.port}",
        smtp_from="Corner Club <hello@corner.example>",
    )
    async with opened_post(store, own, phones) as shop:
        yield shop


async def marketing(shop: Shop, member: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = (await shop.phone(member, ME))["me"]["consents"]
    return next(each for each in found if each["purpose"] == "MARKETING")


async def test_one_click_withdraws_the_consent_and_nothing_more_comes(post: Shop, mailbox: Mailbox) -> None:
    letter = {"send": "EMAIL", "template": "letter"}
    await publish(post, a_cascade("news", letter, category="MARKETING"), a_cascade("bill", {**letter}))
    member, other = await post.enrol(email="ana@example.com"), await post.enrol(email="bor@example.com")
    for each in (member, other):
        await consents(post, each)
    await tell(post, member, "news")
    await tell(post, other, "bill")
    await later(post, minutes=1)
    news, bill = sorted(mailbox.taken, key=lambda mail: str(mail["To"]))
    address = news["List-Unsubscribe"].split(",")[0].strip("<>")
    path = address.removeprefix(PUBLIC)

    looked = await post.http.get(path)
    with within(0.000_001):
        away = await post.http.post(path, data=CLICK)
    before = await marketing(post, member)
    clicks = [await post.http.post(path, data=CLICK) for _ in range(3)]
    after = await marketing(post, member)
    strange = [await post.http.post(path[:-1] + ("A" if path[-1] != "A" else "B"), data=CLICK)]
    strange += [await post.http.post(f"/unsubscribe/{each}", data=CLICK) for each in (member, f"{member}.", ".")]

    assert news["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert news["List-Unsubscribe"].endswith("<mailto:hello@corner.example?subject=unsubscribe>")
    assert member not in address
    assert (bill["List-Unsubscribe"], bill["List-Unsubscribe-Post"]) == (None, None)
    assert (looked.status_code, '<form method="post">' in looked.text, before["granted"]) == (200, True, True)
    assert (away.status_code, "Please try again" in away.text) == (503, True)
    assert [click.status_code for click in clicks] == [200] * 3
    assert len({click.text for click in clicks}) == 1
    assert after == {"purpose": "MARKETING", "granted": False, "version": "one-click"}
    assert (await marketing(post, other))["granted"] is True
    assert [answer.status_code for answer in strange] == [404] * 4


async def test_who_left_gets_no_more_offers_and_who_is_forgotten_is_not_told_of(post: Shop, mailbox: Mailbox) -> None:
    letter = {"send": "EMAIL", "template": "letter"}
    await publish(post, a_cascade("news", letter, {"wait": "P1D"}, letter, category="MARKETING"))
    left, forgotten = await post.enrol(email="ana@example.com"), await post.enrol(email="bor@example.com")
    for each in (left, forgotten):
        await consents(post, each)
        await tell(post, each, "news")
    await later(post, minutes=1)
    paths = {
        str(mail["To"]): mail["List-Unsubscribe"].split(",")[0].strip("<>").removeprefix(PUBLIC)
        for mail in mailbox.taken
    }
    await post.phone(forgotten, 'mutation { eraseMe(confirm: "ERASE") { at } }')

    answers = [await post.http.post(paths[to], data=CLICK) for to in ("ana@example.com", "bor@example.com")]
    await later(post, days=2)

    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].text == answers[1].text
    assert len(mailbox.taken) == 2
    assert "not sent: no consent: MARKETING" in said(await the_run(post, left, "news"))
