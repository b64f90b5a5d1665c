"""Identity: who an issuer says that a person is, in an identity token that is then traded for a session.

Tokens come from outside, so their times are judged by the machine's own clock, not by a sandbox's, which may stand
in another year. What the issuer says of the person becomes his profile on first sight, as far as it can be taken.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any, Final

from api.faults import Faults
from api.profiles import ProfileInput, read_profile
from domain.members.member import Profile

MAX_SUBJECT_LENGTH: Final = 255
CLOCK_SKEW_SECONDS: Final = 60
_TRUE: Final = (True, "true")


class IdentityReason(StrEnum):
    """Why an identity token gives no session."""

    MALFORMED = "MALFORMED"
    ISSUER_UNKNOWN = "ISSUER_UNKNOWN"
    ISSUER_UNAVAILABLE = "ISSUER_UNAVAILABLE"
    KEY_UNKNOWN = "KEY_UNKNOWN"
    AUDIENCE_WRONG = "AUDIENCE_WRONG"
    EXPIRED = "EXPIRED"
    NOT_YET_VALID = "NOT_YET_VALID"
    INVALID = "INVALID"


MESSAGES: Final[Mapping[IdentityReason, str]] = {
    IdentityReason.MALFORMED: "This is not an identity token: send the ID token as the issuer gave it (a signed JWT).",
    IdentityReason.ISSUER_UNKNOWN: "The token's issuer is not one that members of this wallet sign in with.",
    IdentityReason.ISSUER_UNAVAILABLE: "The token's issuer cannot be asked for its keys at the moment. Try again.",
    IdentityReason.KEY_UNKNOWN: "The token is signed with a key that its issuer does not publish. Get a new token.",
    IdentityReason.AUDIENCE_WRONG: "The token was made for another app. Get one for this wallet's app.",
    IdentityReason.EXPIRED: "The token has expired. Get a new one from the issuer.",
    IdentityReason.NOT_YET_VALID: "The token is not valid yet. Check the issuer's clock, and try again.",
    IdentityReason.INVALID: "The token is invalid. Get a new one from the issuer.",
}


class IdentityRefused(Exception):  # noqa: N818 -- says what is the case
    """The token proves nobody; nothing was made."""

    def __init__(self, reason: IdentityReason) -> None:
        self.reason = reason
        super().__init__(reason.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A person as one issuer knows him. The same `issuer` and `subject` are for ever the same person."""

    issuer: str
    subject: str
    profile: Profile


def identity_from(claims: Mapping[str, Any]) -> Identity:
    """The identity in verified claims (OpenID Connect Core §5.1). Raises IdentityRefused for one without a subject.

    An e-mail address or a telephone number that the issuer has not verified is nobody's; what is not of a form that
    a profile has is left out.
    """
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 1 <= len(subject) <= MAX_SUBJECT_LENGTH or not subject.isprintable():
        raise IdentityRefused(IdentityReason.INVALID)
    told: dict[str, Any] = {
        "display_name": _text(claims.get("name")),
        "email": _text(claims.get("email")) if claims.get("email_verified") in _TRUE else None,
        "phone": _phone(claims),
        "locale": (_text(claims.get("locale")) or "").replace("_", "-") or None,
        "time_zone": _text(claims.get("zoneinfo")),
    }
    return Identity(
        issuer=str(claims["iss"]),
        subject=subject,
        profile=Profile(**{name: value for name, value in told.items() if value is not None and _fits(name, value)}),
    )


def _text(claim: object) -> str | None:
    return claim.strip() or None if isinstance(claim, str) else None


def _phone(claims: Mapping[str, Any]) -> str | None:
    """Firebase tells numbers only that it has verified."""
    verified = claims.get("phone_number_verified") in _TRUE or "firebase" in claims
    return _text(claims.get("phone_number")) if verified else None


def _fits(name: str, value: str) -> bool:
    faults = Faults()
    told = ProfileInput()
    setattr(told, name, value)
    read_profile(told, faults, today=date.max)
    return faults.problem is None
