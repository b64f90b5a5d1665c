"""A worker killed with SIGKILL while it keeps a birthday: the next one finishes, and it is given once."""

import signal

import pytest

from domain.ledger.audit import audit
from domain.ledger.command import fingerprint_of
from domain.members.enrolment import Enrolled, enrol
from domain.members.member import Profile
from domain.settings import Settings
from tests.faults.test_kill_worker import eventually, started
from tests.ledger.conftest import OpenShop
from tests.ledger.shop import START

BIRTHDAY = "earning: [{id: birthday, event: birthday, award: {points: 200}}]\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("killed", "left"),
    [
        ({"command": "insert", "collection": "journal", "when": "before"}, 0),
        ({"command": "insert", "collection": "journal", "when": "after"}, 200),
        ({"command": "update", "collection": "members", "when": "before"}, 200),
    ],
    ids=["before the entry", "after the entry", "before it is said when to look again"],
)
async def test_a_worker_killed_at_a_birthday_is_followed_by_one_that_finishes(
    shop_with: OpenShop, settings: Settings, killed: dict[str, str], left: int
) -> None:
    shop = await shop_with(BIRTHDAY)
    enrolled = await enrol(
        shop.ledger,
        client_id="till",
        reference="ana",
        profile=Profile(birthday=START.date().replace(year=1980, day=5)),
        key="enrol-ana",
        fingerprint=fingerprint_of("enrolMember", {}),
        now=START,
    )
    assert isinstance(enrolled, Enrolled)
    await shop.store.members.update_one({"_id": enrolled.member.id}, {"$set": {"birthday_due_at": START}})
    await shop.move_by(days=5)

    first = started(settings, killed)
    died = await first.ended()
    between = await shop.available(enrolled.member)
    second = started(settings)

    async def kept() -> bool:
        return await shop.store.members.find_one({"birthday_due_at": {"$lt": shop.clock.now()}}) is None

    await eventually(kept)

    assert died == -signal.SIGKILL
    assert between == left
    assert await second.stop() == 0
    assert await shop.available(enrolled.member) == 200
    report = await audit(shop.store)
    assert report.ok, report.differences
