"""What an answer from FCM means: the table of errors, as one pure function.

An answer says three things: what became of the message, whom it concerns beyond this message (a device, all
devices of a platform, the project, our credential), and how long to wait. The rows are those of
firebase.google.com/docs/cloud-messaging/error-codes. What no row knows is never taken for more than it says: nothing
is deleted because of it, and nothing is taken for delivered.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any, Final

from notifications.channel import Fate

QUOTA_FLOOR_SECONDS: Final = 60.0
SERVER_FLOOR_SECONDS: Final = 10.0
PAUSE_SECONDS: Final = 300.0
"""How long nothing is tried where a person has to mend something: a key, a credential, an address."""
MAX_RETRY_AFTER_SECONDS: Final = 86_400.0

_FCM_ERROR: Final = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
_BAD_REQUEST: Final = "type.googleapis.com/google.rpc.BadRequest"
_QUOTA_FAILURE: Final = "type.googleapis.com/google.rpc.QuotaFailure"
_REGISTRATION: Final = frozenset({"message.token", "message.fid"})


class Scope(StrEnum):
    """Whom a verdict concerns beside the message, each wider than the one before."""

    MESSAGE = "MESSAGE"
    DEVICE = "DEVICE"
    PLATFORM = "PLATFORM"
    PROJECT = "PROJECT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """As it came. `body` is the JSON object that was in it, empty where there was none; `at` is the machine's clock."""

    status: int
    body: Mapping[str, Any]
    retry_after: str | None
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`reason` is FCM's word for it. `wait_seconds` is the least, before jitter.

    Where it `grows` it is twice as long each time. With `credential` our own was turned down. With `alarm` a person
    must look at it.
    """

    fate: Fate
    reason: str
    scope: Scope = Scope.MESSAGE
    wait_seconds: float | None = None
    grows: bool = False
    credential: bool = False
    alarm: bool = False


def judge(answer: Answer) -> Verdict:  # noqa: C901 -- a case for each row of the table
    """The row of the table that the answer belongs to."""
    reason = _reason(answer)
    asked = retry_after_seconds(answer.retry_after, at=answer.at)
    match answer.status:
        case 200 if isinstance(answer.body.get("name"), str):
            return Verdict(fate=Fate.ACCEPTED, reason="ACCEPTED")
        case 404 if reason == "UNREGISTERED":
            return Verdict(fate=Fate.GONE, reason=reason)
        case 400 if reason == "INVALID_ARGUMENT":
            if _names_registration(answer.body):
                return Verdict(fate=Fate.GONE, reason="INVALID_REGISTRATION")
            return Verdict(fate=Fate.REFUSED, reason=reason, alarm=True)
        case 403 if reason == "SENDER_ID_MISMATCH":
            return Verdict(fate=Fate.SET_ASIDE, reason=reason)
        case 401 if reason in {"THIRD_PARTY_AUTH_ERROR", "APNS_AUTH_ERROR"}:
            return _paused("THIRD_PARTY_AUTH_ERROR", scope=Scope.PLATFORM)
        case 401:
            return _paused("UNAUTHENTICATED", scope=Scope.PROJECT, credential=True)
        case 429:
            return Verdict(
                fate=Fate.RETRY,
                reason="QUOTA_EXCEEDED",
                scope=Scope.DEVICE if _quota_is_of_a_device(answer.body) else Scope.PROJECT,
                wait_seconds=asked or QUOTA_FLOOR_SECONDS,
            )
        case status if status < 300 or status >= 500:  # noqa: PLR2004 -- HTTP
            return Verdict(
                fate=Fate.AMBIGUOUS,
                reason=reason,
                wait_seconds=max(SERVER_FLOOR_SECONDS, asked or 0.0),
                grows=asked is None,
            )
        case 403 | 404:
            return _paused(reason, scope=Scope.PROJECT)
        case _:
            return Verdict(fate=Fate.RETRY, reason=reason, wait_seconds=PAUSE_SECONDS, grows=True, alarm=True)


def retry_after_seconds(text: str | None, *, at: datetime) -> float | None:
    """Seconds from a `Retry-After` (RFC 9110 §10.2.3), a number or an HTTP date after `at`; None if it says nothing."""
    if text is None:
        return None
    text = text.strip()
    if text.isascii() and text.isdigit():
        return min(float(text), MAX_RETRY_AFTER_SECONDS)
    try:
        when = parsedate_to_datetime(text)
    except ValueError:
        return None
    seconds = ((when if when.tzinfo else when.replace(tzinfo=UTC)) - at).total_seconds()
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS)


def _paused(reason: str, *, scope: Scope, credential: bool = False) -> Verdict:
    return Verdict(
        fate=Fate.RETRY,
        reason=reason,
        scope=scope,
        wait_seconds=PAUSE_SECONDS,
        grows=True,
        credential=credential,
        alarm=True,
    )


def _reason(answer: Answer) -> str:
    """FCM's own code, else the status of google.rpc, else the number."""
    for detail in _details(answer.body, _FCM_ERROR):
        code = detail.get("errorCode")
        if isinstance(code, str) and code:
            return code
    status = _error(answer.body).get("status")
    return status if isinstance(status, str) and status else f"HTTP_{answer.status}"


def _names_registration(body: Mapping[str, Any]) -> bool:
    """Whether it is the registration alone that is wrong: told by fields, or where no field is named, in words."""
    fields = {
        violation.get("field")
        for detail in _details(body, _BAD_REQUEST)
        for violation in _mappings(detail.get("fieldViolations"))
    }
    if fields:
        return fields <= _REGISTRATION
    message = _error(body).get("message")
    return isinstance(message, str) and "registration" in message.lower()


def _quota_is_of_a_device(body: Mapping[str, Any]) -> bool:
    return any(
        "device" in f"{violation.get('subject')} {violation.get('description')}".lower()
        for detail in _details(body, _QUOTA_FAILURE)
        for violation in _mappings(detail.get("violations"))
    )


def _details(body: Mapping[str, Any], kind: str) -> Iterator[Mapping[str, Any]]:
    return (detail for detail in _mappings(_error(body).get("details")) if detail.get("@type") == kind)


def _error(body: Mapping[str, Any]) -> Mapping[str, Any]:
    error = body.get("error")
    return error if isinstance(error, Mapping) else {}


def _mappings(value: object) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Sequence) and not isinstance(value, str):
        yield from (each for each in value if isinstance(each, Mapping))
