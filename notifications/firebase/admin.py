"""firebase-admin, and no other file imports it: the app, its credentials, identity tokens, and messages for FCM.

All of it but :func:`wire_body` blocks on the network: call it in a thread. The library sends nothing for us; its
connection ignores `Retry-After` and loses results (`notifications.firebase.carrier` is ours).

    FirebaseUnusable   the credentials cannot be read, or do not belong to a project
    Unreachable        Google gave no answer; nothing is known
    IdTokenInvalid     the identity token is not one of the project's, or its time is over
    Unsendable         a message that FCM would not take
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Final

import firebase_admin
import orjson
from firebase_admin import auth, credentials, exceptions, messaging
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import GoogleAuthError

from domain.settings import Settings, SettingsError
from notifications.channel import Endpoint, EndpointKind, Message, MessageCategory, Platform

MAX_PAYLOAD_BYTES: Final = 4_096
MAX_COLLAPSE_ID_BYTES: Final = 64
MAX_TTL: Final = timedelta(days=28)
MAX_LABEL: Final = 50
HTTP_TIMEOUT_SECONDS: Final = 5
"""The library's own is two minutes, in which who signs in would wait."""

_NO_LABEL: Final = re.compile(r"[^a-zA-Z0-9\-_.~%]", re.ASCII)
_DIGEST: Final = 8


class FirebaseUnusable(SettingsError):  # noqa: N818 -- says what is the case
    """What the operator gave cannot be used; the problem says why."""

    def __init__(self, problem: str) -> None:
        super().__init__((problem,))


class Unreachable(Exception):  # noqa: N818 -- says what is the case
    """Google gave no answer, or none that says anything."""


class IdTokenInvalid(Exception):  # noqa: N818 -- says what is the case
    """`reason` is for logs, not for the caller."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class Unsendable(Exception):  # noqa: N818 -- says what is the case
    """FCM would not take what the message became for this member; `reason` says why."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessToken:
    """What a request to Google carries, until `expires_at` of the machine's clock."""

    text: str
    expires_at: datetime


class FirebaseApp:
    """One app of firebase-admin. `project` is the Firebase project's id."""

    def __init__(self, app: firebase_admin.App) -> None:
        self._app = app

    @property
    def project(self) -> str:
        name: str = self._app.project_id
        return name

    def access_token(self) -> AccessToken:
        """A new access token. Blocks. Raises Unreachable, also where Google refuses the credentials."""
        try:
            made = self._app.credential.get_access_token()
        except (GoogleAuthError, exceptions.FirebaseError, OSError) as error:
            raise Unreachable(f"{type(error).__name__}: {error}") from error
        return AccessToken(text=made.access_token, expires_at=made.expiry.replace(tzinfo=UTC))

    def verify_id_token(self, token: str, *, skew_seconds: int = 0) -> Mapping[str, Any]:
        """The claims of an identity token of Firebase Auth, verified. Blocks when Google's keys have to be fetched.

        Raises IdTokenInvalid and Unreachable.
        """
        try:
            claims: Mapping[str, Any] = auth.verify_id_token(token, app=self._app, clock_skew_seconds=skew_seconds)
        except auth.CertificateFetchError as error:
            raise Unreachable(str(error)) from error
        except (ValueError, exceptions.FirebaseError) as error:
            raise IdTokenInvalid(str(error)) from error
        return claims

    def close(self) -> None:
        """Gives up what the library holds open."""
        firebase_admin.delete_app(self._app)


def open_app(settings: Settings, *, name: str) -> FirebaseApp | None:
    """The app of the settings, or None where they name neither credentials nor a project.

    `name` is unlike that of every other app that is open in this process. With a project alone it is Google's
    own environment that has the credentials (in production), or nobody (in a sandbox: tokens can be verified,
    :meth:`FirebaseApp.access_token` cannot be asked for). Raises FirebaseUnusable.
    """
    if settings.firebase_credentials is None and settings.firebase_project is None:
        return None
    options: dict[str, Any] = {"httpTimeout": HTTP_TIMEOUT_SECONDS}
    if settings.firebase_project is not None:
        options["projectId"] = settings.firebase_project
    try:
        credential = _credential(settings)
        app = firebase_admin.initialize_app(credential, options, name=name)
    except (ValueError, OSError) as error:
        raise FirebaseUnusable(f"WALLET_FIREBASE_CREDENTIALS cannot be used: {error}") from error
    if app.project_id is None:
        firebase_admin.delete_app(app)
        raise FirebaseUnusable("WALLET_FIREBASE_PROJECT is missing; the credentials name no project of their own")
    return FirebaseApp(app)


def wire_body(message: Message, endpoint: Endpoint, *, now: datetime) -> bytes:
    """The body of `messages:send`, built and checked by firebase-admin.

    Android's tag, the collapse id of APNs and the tag of the web are all the delivery id, so that whatever comes
    twice is seen once. The life that the message has left goes along. Raises Unsendable.
    """
    assert message.delivery_id
    assert len(message.delivery_id.encode()) <= MAX_COLLAPSE_ID_BYTES, message.delivery_id
    try:
        built = orjson.loads(str(_built(message, endpoint, now=now)))
    except ValueError as error:
        raise Unsendable(str(error)) from error
    target = {name: built.pop(name) for name in ("fid", "token") if name in built}
    size = len(orjson.dumps(built))
    if size > MAX_PAYLOAD_BYTES:
        raise Unsendable(f"The payload has {size} bytes; it should have at most {MAX_PAYLOAD_BYTES}.")
    return orjson.dumps({"message": built | target})


def analytics_label(label: str) -> str:
    """The label as FCM takes it: its characters, at most 50; what is cut off is replaced by a digest."""
    text = _NO_LABEL.sub("_", label)
    if len(text) <= MAX_LABEL:
        return text
    return f"{text[: MAX_LABEL - _DIGEST - 1]}~{sha256(label.encode()).hexdigest()[:_DIGEST]}"


def _credential(settings: Settings) -> credentials.Base | AnonymousCredentials:
    if settings.firebase_credentials is not None:
        return credentials.Certificate(str(settings.firebase_credentials))
    return AnonymousCredentials() if settings.sandbox else credentials.ApplicationDefault()  # type: ignore[no-untyped-call]


def _built(message: Message, endpoint: Endpoint, *, now: datetime) -> messaging.Message:
    everything = endpoint.platform is None
    data = {"delivery_id": message.delivery_id}
    if message.recalls:
        data["recalls"] = "true"
    elif message.link is not None:
        data["link"] = message.link
    built = messaging.Message(
        data=data,
        fcm_options=messaging.FCMOptions(analytics_label=analytics_label(message.label)),
        android=_android(message, now=now) if everything or endpoint.platform is Platform.ANDROID else None,
        apns=_apns(message) if everything or endpoint.platform is Platform.IOS else None,
        webpush=_webpush(message, now=now) if everything or endpoint.platform is Platform.WEB else None,
    )
    if not message.recalls:
        built.notification = messaging.Notification(title=message.title, body=message.body, image=message.image_url)
    match endpoint.kind:
        case EndpointKind.FID:
            built.fid = endpoint.value
        case EndpointKind.TOKEN:
            built.token = endpoint.value  # said to the constructor it is a DeprecationWarning
        case EndpointKind.EMAIL | EndpointKind.PHONE:
            raise AssertionError(endpoint.kind)
    return built


def _android(message: Message, *, now: datetime) -> messaging.AndroidConfig:
    return messaging.AndroidConfig(
        ttl=_left(message, now=now),
        priority="high" if _urgent(message) else "normal",
        notification=None if message.recalls else messaging.AndroidNotification(tag=message.delivery_id),
    )


def _apns(message: Message) -> messaging.APNSConfig:
    headers = {
        "apns-collapse-id": message.delivery_id,
        "apns-expiration": str(int(message.expires_at.timestamp())),
        "apns-priority": "10" if _urgent(message) and not message.recalls else "5",
        "apns-push-type": "background" if message.recalls else "alert",
    }
    if message.recalls:
        return messaging.APNSConfig(
            headers=headers, payload=messaging.APNSPayload(aps=messaging.Aps(content_available=True))
        )
    return messaging.APNSConfig(
        headers=headers,
        payload=messaging.APNSPayload(
            aps=messaging.Aps(sound="default", mutable_content=True if message.image_url else None)
        ),
        fcm_options=messaging.APNSFCMOptions(image=message.image_url) if message.image_url else None,
    )


def _webpush(message: Message, *, now: datetime) -> messaging.WebpushConfig:
    """The web opens addresses of the web only; another link is the app's to open, by its data."""
    link = message.link if message.link is not None and message.link.startswith("https://") else None
    return messaging.WebpushConfig(
        headers={"TTL": str(int(_left(message, now=now).total_seconds()))},
        notification=None if message.recalls else messaging.WebpushNotification(tag=message.delivery_id),
        fcm_options=None if message.recalls or link is None else messaging.WebpushFCMOptions(link=link),
    )


def _urgent(message: Message) -> bool:
    return message.category is MessageCategory.TRANSACTIONAL


def _left(message: Message, *, now: datetime) -> timedelta:
    return min(max(message.expires_at - now, timedelta()), MAX_TTL)
