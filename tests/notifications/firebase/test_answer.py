"""Answers that are not what the table expects: nothing is deleted, and nothing is taken for delivered."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifications.channel import Fate
from notifications.firebase.answer import Answer, Scope, judge, retry_after_seconds

AT = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "details", "status", "message", "@type", "errorCode", "fieldViolations"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=5,
)


def answer(status: int, body: dict[str, Any] | None = None, retry_after: str | None = None) -> Answer:
    return Answer(status=status, body=body or {}, retry_after=retry_after, at=AT)


@pytest.mark.parametrize(
    ("status", "body", "fate", "scope"),
    [
        (404, {}, Fate.RETRY, Scope.PROJECT),
        (404, {"error": {"status": "NOT_FOUND"}}, Fate.RETRY, Scope.PROJECT),
        (403, {"error": {"status": "PERMISSION_DENIED"}}, Fate.RETRY, Scope.PROJECT),
        (400, {}, Fate.RETRY, Scope.MESSAGE),
        (400, {"error": {"status": "FAILED_PRECONDITION"}}, Fate.RETRY, Scope.MESSAGE),
        (400, {"error": {"status": "INVALID_ARGUMENT", "message": "Invalid JSON"}}, Fate.REFUSED, Scope.MESSAGE),
        (302, {}, Fate.RETRY, Scope.MESSAGE),
        (200, {}, Fate.AMBIGUOUS, Scope.MESSAGE),
        (502, {}, Fate.AMBIGUOUS, Scope.MESSAGE),
        (
            429,
            {"error": {"details": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo"}]}},
            Fate.RETRY,
            Scope.PROJECT,
        ),
    ],
)
def test_an_answer_without_a_row_of_its_own_is_taken_for_no_more_than_it_says(
    status: int, body: dict[str, Any], fate: Fate, scope: Scope
) -> None:
    verdict = judge(answer(status, body))

    assert (verdict.fate, verdict.scope) == (fate, scope)
    assert verdict.wait_seconds is not None or fate is Fate.REFUSED


def test_a_wrong_field_beside_a_wrong_registration_deletes_nothing() -> None:
    violations = [{"field": "message.token"}, {"field": "message.data"}]
    detail = {"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": violations}

    verdict = judge(answer(400, {"error": {"status": "INVALID_ARGUMENT", "details": [detail]}}))

    assert verdict.fate is Fate.REFUSED


def test_an_old_answer_that_names_the_registration_in_words_is_read() -> None:
    message = "The registration token is not a valid FCM registration token"

    verdict = judge(answer(400, {"error": {"status": "INVALID_ARGUMENT", "message": message}}))

    assert verdict.fate is Fate.GONE


@pytest.mark.parametrize("retry_after", [None, "0", "Thu, 26 Nov 2026 11:00:00 GMT", "soon"])
def test_a_quota_that_names_no_time_to_come_is_left_alone_for_a_minute(retry_after: str | None) -> None:
    verdict = judge(answer(429, retry_after=retry_after))

    assert (verdict.fate, verdict.wait_seconds) == (Fate.RETRY, 60.0)


@given(st.integers(200, 599), st.dictionaries(st.just("error"), JSON), st.none() | st.text(max_size=40))
def test_every_answer_has_a_verdict(status: int, body: dict[str, Any], retry_after: str | None) -> None:
    verdict = judge(answer(status, body, retry_after))

    assert verdict.reason
    assert verdict.fate is not Fate.ACCEPTED
    assert (verdict.wait_seconds is None) == (verdict.fate in {Fate.GONE, Fate.SET_ASIDE, Fate.REFUSED})


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("0", 0.0),
        (" 120 ", 120.0),
        ("9999999", 86_400.0),
        ("Thu, 26 Nov 2026 12:00:30 GMT", 30.0),
        ("Thursday, 26-Nov-26 12:00:30 GMT", 30.0),
        ("Thu, 26 Nov 2026 11:00:00 GMT", 0.0),
        ("Thu, 26 Nov 2026 25:00:00 GMT", None),
    ],
)
def test_a_retry_after_is_seconds_or_a_date(text: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(text, at=AT) == seconds
