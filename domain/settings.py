"""What the operator decides, read from the environment here and nowhere else.

`read_settings` checks everything before anything starts and raises one `SettingsError` that lists every
problem, so that an operator repairs all of it in one go. Production is the mode unless asked otherwise, and
refuses a sandbox's secrets; a sandbox has a default for everything.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import urlsplit

SANDBOX_SECRET: Final = "sandbox-secret-known-to-everyone-never-in-production"  # noqa: S105 -- known on purpose
SECRET_LENGTH: Final = 32
FCM_URL: Final = "https://fcm.googleapis.com"
FCM_QUOTA_PER_MINUTE: Final = 600_000
STRIPE_URL: Final = "https://api.stripe.com"
FIREBASE_EMULATOR: Final = "FIREBASE_AUTH_EMULATOR_HOST"
"""Firebase's own variable, which its library reads for itself."""
LOCAL_URL: Final = "http://localhost:8000"
LOOPBACK_PROXIES: Final = ("127.0.0.1", "::1")

_ORIGIN: Final = re.compile(r"https://[a-z0-9.-]+(:(?!443$)[0-9]{1,5})?|http://[a-z0-9.-]+(:(?!80$)[0-9]{1,5})?")

_T = TypeVar("_T")


class SettingsError(Exception):
    """The settings cannot be used; `problems` holds one sentence for each thing that is wrong."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        assert problems, "an error without a problem"
        self.problems = problems
        super().__init__("The settings cannot be used:\n" + "\n".join(f"  - {each}" for each in problems))


class Mode(StrEnum):
    PRODUCTION = "production"
    SANDBOX = "sandbox"


class DocumentMode(StrEnum):
    """Which documents members and anonymous callers may run: any, or only those of a manifest."""

    LENIENT = "lenient"
    STRICT = "strict"


@dataclass(frozen=True, slots=True, kw_only=True)
class OidcIssuer:
    """An OpenID Connect issuer as it names itself, to the character, and the audiences that its tokens may be for.

    Without audiences they are for WALLET_PUBLIC_URL.
    """

    url: str
    audiences: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of DESIGN §7, checked. Secrets are left out of the `repr`.

    `mongodb_url` is None where the embedded server on the folder `data` is meant. URLs have no slash at
    their end; issuers stay as they were written. `trusted_proxies` are addresses and networks whose
    X-Forwarded-For is believed, `allowed_origins` those of web pages whose scripts may call the API.
    """

    mode: Mode
    mongodb_url: str | None = field(repr=False)
    database: str
    data: Path
    programme: Path | None
    public_url: str
    secret: str = field(repr=False)
    fcm_url: str
    fcm_quota_per_minute: int
    firebase_credentials: Path | None
    firebase_project: str | None
    oidc_issuers: tuple[OidcIssuer, ...]
    stripe_key: str | None = field(repr=False)
    stripe_webhook_secret: str | None = field(repr=False)
    stripe_url: str
    trusted_documents: tuple[Path, ...]
    trusted_documents_mode: DocumentMode
    trusted_proxies: tuple[str, ...]
    allowed_origins: tuple[str, ...] = ()
    smtp_url: str | None = field(default=None, repr=False)
    smtp_from: str | None = None

    @property
    def sandbox(self) -> bool:
        return self.mode is Mode.SANDBOX


def read_settings(environ: Mapping[str, str] = os.environ, **overrides: str | Path | None) -> Settings:
    """The settings in `environ` (`WALLET_…`); `overrides`, named as the fields, go before the variables.

    Overrides are what the command line was told; one that is None was not told. A variable that is empty
    counts as not set. Raises SettingsError naming every problem, and TypeError for an override that is no
    setting.
    """
    if unknown := overrides.keys() - Settings.__dataclass_fields__.keys():
        raise TypeError(f"not a setting: {', '.join(sorted(unknown))}")
    source = _Source(environ=environ, overrides=overrides, problems=[])
    mode = source.read("mode", _mode, Mode.PRODUCTION)
    production = mode is Mode.PRODUCTION
    settings = Settings(
        mode=mode,
        mongodb_url=source.read("mongodb_url", _mongodb_url, None),
        database=source.read("database", _database, "wallet"),
        data=source.read("data", _folder, Path(".wallet")),
        programme=source.read("programme", _file, None),
        public_url=source.read("public_url", _url_for(production=production), LOCAL_URL),
        secret=source.read("secret", _secret_for(production=production), SANDBOX_SECRET),
        fcm_url=source.read("fcm_url", _url_for(production=production), FCM_URL),
        fcm_quota_per_minute=source.read("fcm_quota_per_minute", _quota, FCM_QUOTA_PER_MINUTE),
        firebase_credentials=source.read("firebase_credentials", _file, None),
        firebase_project=source.read("firebase_project", _firebase_project, None),
        oidc_issuers=source.read("oidc_issuers", _issuers_for(production=production), ()),
        stripe_key=source.read("stripe_key", _stripe_key_for(production=production), None),
        stripe_webhook_secret=source.read("stripe_webhook_secret", _stripe_webhook_secret, None),
        stripe_url=source.read("stripe_url", _url_for(production=production), STRIPE_URL),
        trusted_documents=source.read("trusted_documents", _files, ()),
        trusted_documents_mode=source.read("trusted_documents_mode", _document_mode, DocumentMode.LENIENT),
        trusted_proxies=source.read("trusted_proxies", _networks, LOOPBACK_PROXIES),
        allowed_origins=source.read("allowed_origins", _origins_for(production=production), ()),
        smtp_url=source.read("smtp_url", _smtp_url, None),
        smtp_from=source.read("smtp_from", _sender, None),
    )
    if production:
        source.require("secret", f"at least {SECRET_LENGTH} characters at random (openssl rand -hex 32)")
        source.require("public_url", "the address that members use, such as https://wallet.example.com")
        if environ.get(FIREBASE_EMULATOR):
            source.problems.append(
                f"{FIREBASE_EMULATOR} is set; in production it should not be, for Firebase Auth would then take "
                "tokens that anybody can make"
            )
    if source.given("stripe_key"):
        source.require(
            "stripe_webhook_secret",
            "the webhook's signing secret (whsec_…), as WALLET_STRIPE_KEY is set",
        )
    if settings.trusted_documents_mode is DocumentMode.STRICT:
        source.require("trusted_documents", "the app's manifest, as WALLET_TRUSTED_DOCUMENTS_MODE is strict")
    if source.given("smtp_url"):
        source.require("smtp_from", "the sender of e-mail, such as Corner Club <hello@corner.example>")
    if source.problems:
        raise SettingsError(tuple(source.problems))
    return settings


class _Wrong(Exception):  # noqa: N818 -- a step of the reading, never seen outside
    """Carries what is wrong with a value and what it should be, as the rest of a sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    environ: Mapping[str, str]
    overrides: Mapping[str, str | Path | None]
    problems: list[str]

    def given(self, name: str) -> str | None:
        override = self.overrides.get(name)
        text = self.environ.get(_variable(name), "") if override is None else str(override)
        return text.strip() or None

    def read(self, name: str, parse: Callable[[str], _T], default: _T) -> _T:
        text = self.given(name)
        if text is None:
            return default
        try:
            return parse(text)
        except _Wrong as wrong:
            self.problems.append(f"{_variable(name)} {wrong}")
            return default

    def require(self, name: str, should_be: str) -> None:
        if self.given(name) is None:
            self.problems.append(f"{_variable(name)} is missing; it should be {should_be}")


def _variable(name: str) -> str:
    return f"WALLET_{name.upper()}"


def _mode(text: str) -> Mode:
    if text not in {*Mode}:
        raise _Wrong(f"is {text!r}; it should be production or sandbox")
    return Mode(text)


def _mongodb_url(text: str) -> str:
    if not re.match(r"mongodb(\+srv)?://[^/]", text):
        raise _Wrong("is not a connection string; it should begin with mongodb:// or mongodb+srv:// and a host")
    return text


def _database(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,63}", text):
        raise _Wrong(f"is {text!r}; it should be 1 to 63 letters, digits, _ or -")
    return text


def _folder(text: str) -> Path:
    path = Path(text).expanduser()
    if path.exists() and not path.is_dir():
        raise _Wrong(f"is {text!r}, which is a file; it should be a folder, made if it does not exist")
    return path


def _file(text: str) -> Path:
    path = Path(text).expanduser()
    if not path.is_file():
        raise _Wrong(f"is {text!r}, where there is no file; it should be the path of a file that can be read")
    return path


def _files(text: str) -> tuple[Path, ...]:
    return tuple(_file(each.strip()) for each in text.split(",") if each.strip())


def _document_mode(text: str) -> DocumentMode:
    if text not in {*DocumentMode}:
        raise _Wrong(f"is {text!r}; it should be lenient or strict")
    return DocumentMode(text)


def _networks(text: str) -> tuple[str, ...]:
    networks = tuple(re.split(r"[\s,]+", text))
    for network in networks:
        try:
            ip_network(network)
        except ValueError:
            raise _Wrong(f"has {network!r}; it should be addresses or networks such as 10.0.0.0/8") from None
    return networks


def _url_for(*, production: bool) -> Callable[[str], str]:
    def parse(text: str) -> str:
        parts = urlsplit(text)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
            raise _Wrong(f"is {text!r}; it should be an address such as https://wallet.example.com")
        if production and parts.scheme == "http" and not _is_loopback(parts.hostname):
            raise _Wrong(f"is {text!r}; in production it should begin with https://, or be loopback")
        return text.rstrip("/")

    return parse


def _origins_for(*, production: bool) -> Callable[[str], tuple[str, ...]]:
    """Origins as browsers write them, to the character (RFC 6454 §6.2)."""
    check = _url_for(production=production)

    def parse(text: str) -> tuple[str, ...]:
        origins = tuple(re.split(r"[\s,]+", text))
        for origin in origins:
            check(origin)
            if not _ORIGIN.fullmatch(origin):
                raise _Wrong(f"has {origin!r}; browsers write it in small letters, with no path and no usual port")
        return origins

    return parse


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _secret_for(*, production: bool) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if production and text == SANDBOX_SECRET:
            raise _Wrong("is the sandbox's, which everyone knows; it should be a random text of your own")
        if len(text) < SECRET_LENGTH:
            raise _Wrong(f"has {len(text)} characters; it should have at least {SECRET_LENGTH}, at random")
        return text

    return parse


def _quota(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) < 60:  # noqa: PLR2004 -- one a second
        raise _Wrong(f"is {text!r}; it should be a whole number of messages a minute, at least 60")
    return int(text)


def _firebase_project(text: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9-]{4,28}[a-z0-9]", text):
        raise _Wrong(f"is {text!r}; it should be a Firebase project's id such as my-shop-1a2b3")
    return text


def _issuers_for(*, production: bool) -> Callable[[str], tuple[OidcIssuer, ...]]:
    """Issuers as OpenID Connect Core §2 names them, compared to the character: a slash at the end stays.

    Each may be followed by the audiences of its tokens, the client ids of the apps, with a | before each.
    """
    check = _url_for(production=production)

    def parse(text: str) -> tuple[OidcIssuer, ...]:
        issuers = []
        for each in re.split(r"[\s,]+", text):
            url, *audiences = each.split("|")
            check(url)
            if not all(audiences):
                raise _Wrong(f"is {text!r}; an audience is missing after a |, as in https://id.example.com|my-app")
            issuers.append(OidcIssuer(url=url, audiences=tuple(audiences)))
        if len({issuer.url for issuer in issuers}) < len(issuers):
            raise _Wrong(f"is {text!r}; it names an issuer twice, where one with several audiences is meant: a|b|c")
        return tuple(issuers)

    return parse


def _stripe_key_for(*, production: bool) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if not re.match(r"(sk|rk)_(test|live)_", text):
            raise _Wrong("is not a Stripe secret key; it should begin with sk_live_, rk_live_, sk_test_ or rk_test_")
        live = text[3:].startswith("live_")
        if production and not live:
            raise _Wrong("is a key for tests; in production it should begin with sk_live_ or rk_live_")
        if live and not production:
            raise _Wrong("would charge real cards; in a sandbox it should begin with sk_test_ or rk_test_")
        return text

    return parse


def _smtp_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        is_address = parts.scheme in {"smtp", "smtps"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_address = False
        parts = urlsplit("")
    if not is_address or parts.path or parts.query or parts.fragment:
        raise _Wrong(
            "is not a mail server; it should be smtp://user:password@host:587 or smtps://user:password@host:465"
        )
    return text


def _sender(text: str) -> str:
    """A name and an address, as a From header has them."""
    if not re.fullmatch(r"(?:[^<>@\r\n]+ )?<?[^\s<>@,;:]+@[^\s<>@,;:.]+(?:\.[^\s<>@,;:.]+)*>?", text):
        raise _Wrong(f"is {text!r}; it should be a sender such as Corner Club <hello@corner.example>")
    return text


def _stripe_webhook_secret(text: str) -> str:
    if not text.startswith("whsec_"):
        raise _Wrong("is not a Stripe signing secret; it should begin with whsec_")
    return text
