"""Which reports of a place count, to the millisecond and the metre."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from domain.programme.cascade import compile_cascades
from domain.programme.cascade_format import Cascade
from domain.programme.format import Location, Place
from notifications.location import Ignored, Listener, Report, Transition, judge, listeners_to, ready

NOW = datetime(2026, 7, 6, 22, 30, tzinfo=UTC)
ZONE = ZoneInfo("Europe/Ljubljana")
SHOP = Place(
    id="shop",
    name="Shop",
    location=Location(latitude=46.05, longitude=14.5),
    radius_m=150,
    closed=[date(2026, 7, 8)],
)
REPORT = Report(member="ana", place=SHOP, transition=Transition.DWELL, occurred_at=NOW, accuracy_metres=150.0)
MILLISECOND = timedelta(milliseconds=1)


@pytest.mark.parametrize(
    ("occurred_at", "now", "ignored"),
    [
        (NOW - timedelta(minutes=15), NOW, None),
        (NOW - timedelta(minutes=15) - MILLISECOND, NOW, Ignored.TOO_OLD),
        (NOW + timedelta(minutes=5), NOW, None),
        (NOW + timedelta(minutes=5) + MILLISECOND, NOW, Ignored.IN_FUTURE),
        (datetime(2026, 7, 7, 22, 0, tzinfo=UTC), datetime(2026, 7, 7, 22, 1, tzinfo=UTC), Ignored.CLOSED),
        (datetime(2026, 7, 7, 21, 59, tzinfo=UTC), datetime(2026, 7, 7, 22, 1, tzinfo=UTC), None),
        (datetime(2026, 7, 8, 22, 0, tzinfo=UTC), datetime(2026, 7, 8, 22, 1, tzinfo=UTC), None),
    ],
)
def test_the_edges_of_time(occurred_at: datetime, now: datetime, ignored: Ignored | None) -> None:
    assert judge(replace(REPORT, occurred_at=occurred_at), has_consent=True, zone=ZONE, now=now) == ignored


def test_a_report_that_is_less_exact_than_the_fence_is_ignored_and_one_that_does_not_know_is_not() -> None:
    judged = [
        judge(replace(REPORT, accuracy_metres=metres), has_consent=True, zone=ZONE, now=NOW)
        for metres in (150.0, 150.001, None)
    ]

    assert judged == [None, Ignored.TOO_INACCURATE, None]
    assert judge(REPORT, has_consent=False, zone=ZONE, now=NOW) is Ignored.NO_CONSENT


def test_each_cascade_cools_down_by_itself() -> None:
    hourly, daily = (
        Listener(cascade="hourly", cooldown=timedelta(hours=1)),
        Listener(cascade="daily", cooldown=timedelta(days=1)),
    )
    counted_at = {"hourly": NOW, "daily": NOW}

    def at(length: timedelta) -> list[Listener]:
        return ready(replace(REPORT, occurred_at=NOW + length), [hourly, daily], counted_at)

    assert at(timedelta(0)) == [hourly, daily]
    assert at(timedelta(hours=1) - MILLISECOND) == []
    assert at(timedelta(hours=1)) == [hourly]
    assert at(timedelta(days=1)) == [hourly, daily]
    assert at(-MILLISECOND) == []


def test_a_cascade_may_be_about_some_places_only() -> None:
    triggers = {
        "everywhere": {"event": "place.dwell", "cooldown": "P1D"},
        "here": {"event": "place.dwell", "place": "shop"},
        "there": {"event": "place.dwell", "place": ["other"]},
        "entering": {"event": "place.enter"},
    }
    steps = [{"send": "PUSH", "template": "near"}]
    sections = [
        Cascade.model_validate({"id": name, "category": "SERVICE", "trigger": trigger, "steps": steps})
        for name, trigger in triggers.items()
    ]

    found = listeners_to(compile_cascades(sections).values(), "place.dwell", "shop")

    assert found == [Listener(cascade="everywhere", cooldown=timedelta(days=1)), Listener(cascade="here")]
