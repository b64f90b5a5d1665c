"""The rate in a time of the test's own."""

from hypothesis import given
from hypothesis import strategies as st

from notifications.firebase.rate import Rate


def sent_within(rate: Rate, since: int, until: int) -> int:
    """How many go by a sender that always has one more."""
    at, sent = float(since), 0
    while at < until:
        waited = rate.take(at, longest=1_000.0)
        assert waited is not None
        at += waited
        sent += at < until
    return sent


def test_a_process_begins_low_and_reaches_its_quota_after_a_minute() -> None:
    rate = Rate(1_000.0)

    by_second = {second: sent_within(rate, second, second + 1) for second in range(70)}

    assert 50 <= by_second[0] <= 70
    assert 480 <= by_second[29] <= 560
    assert all(995 <= by_second[second] <= 1_005 for second in range(61, 70))


def test_after_a_minutes_silence_it_begins_low_again() -> None:
    rate = Rate(1_000.0)
    sent_within(rate, 0, 70)

    assert 995 <= sent_within(rate, 75, 76) <= 1_105
    assert sent_within(rate, 137, 138) <= 170


def test_a_quota_used_up_halves_the_rate_from_where_it_rises_again() -> None:
    rate = Rate(1_000.0)
    sent_within(rate, 0, 70)

    rate.slow_down(70.0)
    at_once = sent_within(rate, 70, 71)
    later = sent_within(rate, 71, 110) / 39

    assert 500 <= at_once <= 520
    assert 700 <= later <= 900


def test_however_often_it_is_slowed_down_one_a_second_goes() -> None:
    rate = Rate(1_000.0)
    rate.take(0.0, longest=0.0)

    for _ in range(50):
        rate.slow_down(0.0)

    assert rate.per_second(0.0) == 1.0


@given(st.lists(st.floats(0, 0.2), min_size=1, max_size=200), st.floats(1, 500))
def test_no_second_has_more_than_the_rate_and_the_burst(gaps: list[float], most: float) -> None:
    rate = Rate(most)
    at, gone = 0.0, []

    for gap in gaps:
        at += gap
        waited = rate.take(at, longest=5.0)
        if waited is not None:
            gone.append(at + waited)

    for start in gone:
        assert sum(start <= each < start + 1 for each in gone) <= most * 1.1 + 2
