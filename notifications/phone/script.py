"""What the stand-in answers: FCM's own answers, one after another as a test scripted them, or else success.

Bodies and codes are those of firebase.google.com/docs/reference/fcm/rest/v1/ErrorCode.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

_FCM_ERROR: Final = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
_BAD_REQUEST: Final = "type.googleapis.com/google.rpc.BadRequest"
_QUOTA_FAILURE: Final = "type.googleapis.com/google.rpc.QuotaFailure"
MAX_SECONDS: Final = 600.0

EVERYBODY: Final = "*"
"""In place of an endpoint: whoever has no script of its own."""


class ScriptInvalid(Exception):  # noqa: N818 -- says what is the case
    """The script cannot be followed; the message says what is wrong in it."""


class Kind(StrEnum):
    """The rows of the table, and DROPPED: the connection is cut without an answer."""

    OK = "OK"
    UNREGISTERED = "UNREGISTERED"
    INVALID_REGISTRATION = "INVALID_REGISTRATION"
    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    SENDER_ID_MISMATCH = "SENDER_ID_MISMATCH"
    THIRD_PARTY_AUTH_ERROR = "THIRD_PARTY_AUTH_ERROR"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    QUOTA_OF_PROJECT = "QUOTA_OF_PROJECT"
    QUOTA_OF_DEVICE = "QUOTA_OF_DEVICE"
    INTERNAL = "INTERNAL"
    UNAVAILABLE = "UNAVAILABLE"
    DROPPED = "DROPPED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scripted:
    """One answer. With `delivers` the phone gets the message all the same; it does after OK in any case.

    `seconds` pass between the delivery and the answer. `retry_after` is the header as it is sent.
    """

    kind: Kind = Kind.OK
    delivers: bool = False
    seconds: float = 0.0
    retry_after: str | None = None

    @property
    def delivered(self) -> bool:
        return self.delivers or self.kind is Kind.OK


class Script:
    """The answers to come, for each endpoint and for everybody."""

    def __init__(self) -> None:
        self._answers: dict[str, deque[tuple[Scripted, int | None]]] = {}

    def write(self, endpoint: str, answers: object) -> None:
        """Replaces the endpoint's answers: a list of objects with the fields of `Scripted`, and how many `times`.

        `times` is 1 where it is not given, and null for ever. Raises ScriptInvalid.
        """
        if not isinstance(answers, list):
            raise ScriptInvalid("the script should be a list of answers")
        self._answers[endpoint] = deque(_read(each, at) for at, each in enumerate(answers))

    def next(self, endpoint: str) -> Scripted:
        """The next answer for the endpoint, taken out of the script."""
        for name in (endpoint, EVERYBODY):
            queue = self._answers.get(name)
            if queue:
                answer, times = queue[0]
                if times is not None:
                    queue.popleft()
                    if times > 1:
                        queue.appendleft((answer, times - 1))
                return answer
        return _ALL_IS_WELL

    def forget(self) -> None:
        self._answers.clear()


def refusal(kind: Kind, target: str) -> tuple[int, Mapping[str, Any]]:  # noqa: C901 -- a case for each row
    """Status and body of an answer that is not OK; `target` is the field of the registration, `fid` or `token`."""
    match kind:
        case Kind.UNREGISTERED:
            return _error(404, "NOT_FOUND", "Requested entity was not found.", _fcm("UNREGISTERED"))
        case Kind.INVALID_REGISTRATION:
            field = {"field": f"message.{target}", "description": "Invalid registration"}
            return _error(
                *(400, "INVALID_ARGUMENT", "The registration token is not a valid FCM registration token"),
                *(_fcm("INVALID_ARGUMENT"), {"@type": _BAD_REQUEST, "fieldViolations": [field]}),
            )
        case Kind.INVALID_ARGUMENT:
            return invalid("message.notification.image", "Invalid value")
        case Kind.SENDER_ID_MISMATCH:
            return _error(403, "PERMISSION_DENIED", "SenderId mismatch", _fcm("SENDER_ID_MISMATCH"))
        case Kind.THIRD_PARTY_AUTH_ERROR:
            return _error(401, "UNAUTHENTICATED", "Auth error from APNS", _fcm("THIRD_PARTY_AUTH_ERROR"))
        case Kind.UNAUTHENTICATED:
            return _error(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.")
        case Kind.QUOTA_OF_PROJECT | Kind.QUOTA_OF_DEVICE:
            subject = "project" if kind is Kind.QUOTA_OF_PROJECT else "device"
            violation = {"subject": subject, "description": f"Message rate of the {subject} exceeded"}
            return _error(
                *(429, "RESOURCE_EXHAUSTED", "Quota exceeded."),
                *(_fcm("QUOTA_EXCEEDED"), {"@type": _QUOTA_FAILURE, "violations": [violation]}),
            )
        case Kind.INTERNAL:
            return _error(500, "INTERNAL", "Internal error encountered.", _fcm("INTERNAL"))
        case Kind.UNAVAILABLE:
            return _error(503, "UNAVAILABLE", "The service is currently unavailable.", _fcm("UNAVAILABLE"))
        case Kind.OK | Kind.DROPPED:
            raise AssertionError(kind)


def invalid(field: str, description: str) -> tuple[int, Mapping[str, Any]]:
    """The answer to a body with something wrong in it."""
    violation = {"field": field, "description": description}
    return _error(
        *(400, "INVALID_ARGUMENT", f"Invalid value at '{field}': {description}"),
        *(_fcm("INVALID_ARGUMENT"), {"@type": _BAD_REQUEST, "fieldViolations": [violation]}),
    )


_ALL_IS_WELL: Final = Scripted()


def _error(code: int, status: str, message: str, *details: Mapping[str, Any]) -> tuple[int, Mapping[str, Any]]:
    return code, {"error": {"code": code, "message": message, "status": status, "details": list(details)}}


def _fcm(code: str) -> Mapping[str, Any]:
    return {"@type": _FCM_ERROR, "errorCode": code}


def _read(given: object, at: int) -> tuple[Scripted, int | None]:
    if not isinstance(given, dict) or (unknown := given.keys() - {*Scripted.__dataclass_fields__, "times"}):
        named = "" if not isinstance(given, dict) else f" without {', '.join(sorted(unknown))}"
        raise ScriptInvalid(f"[{at}] should be an object{named}")
    fields = dict(given)
    times = fields.pop("times", 1)
    if times is not None and (not isinstance(times, int) or times < 1):
        raise ScriptInvalid(f"[{at}].times is {times!r}; it should be a whole number from 1 on, or null")
    if (kind := fields.get("kind", Kind.OK)) not in {*Kind}:
        raise ScriptInvalid(f"[{at}].kind is {kind!r}; it should be one of {', '.join(Kind)}")
    seconds = fields.get("seconds", 0.0)
    if not isinstance(seconds, int | float) or not 0 <= seconds <= MAX_SECONDS:
        raise ScriptInvalid(f"[{at}].seconds is {seconds!r}; it should be 0 to {MAX_SECONDS:.0f}")
    return Scripted(**{**fields, "kind": Kind(kind)}), times
