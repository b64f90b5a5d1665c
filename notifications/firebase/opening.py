"""Which push there is, by the settings: FCM's, a stand-in's, or none."""

from typing import Final
from uuid import uuid4

from domain.settings import FCM_URL, Settings
from notifications.firebase.admin import open_app
from notifications.firebase.bearer import Bearer, FixedBearer, RefreshedBearer
from notifications.firebase.carrier import FirebaseCarrier
from notifications.firebase.rate import Rate

SANDBOX_BEARER: Final = "sandbox-bearer-of-a-stand-in"
SANDBOX_PROJECT: Final = "sandbox-wallet"


def open_firebase(settings: Settings) -> FirebaseCarrier | None:
    """The carrier of PUSH; None where nobody could be reached: there are neither credentials nor a stand-in.

    A sandbox without credentials sends a fixed bearer to the address that it was given, never to Google's. Raises
    FirebaseUnusable.
    """
    project, bearer = settings.firebase_project or SANDBOX_PROJECT, _bearer_of_sandbox(settings)
    if bearer is None:
        if settings.sandbox and settings.firebase_credentials is None:
            return None
        app = open_app(settings, name=f"push-{uuid4()}")
        if app is None:
            return None
        project, bearer = app.project, RefreshedBearer(app.access_token, closed=app.close)
    return FirebaseCarrier(
        url=settings.fcm_url,
        project=project,
        bearer=bearer,
        rate=Rate(settings.fcm_quota_per_minute / 60),
    )


def _bearer_of_sandbox(settings: Settings) -> Bearer | None:
    without = settings.sandbox and settings.firebase_credentials is None
    return FixedBearer(SANDBOX_BEARER) if without and settings.fcm_url != FCM_URL else None
