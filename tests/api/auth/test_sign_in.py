"""Signing in with an identity token of an OpenID Connect issuer, which runs beside the test."""

import asyncio
import dataclasses
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from firebase_admin import auth

from api.auth import oidc
from api.auth.identity import IdentityRefused
from api.auth.identity_tokens import IdentityTokens
from domain.settings import Mode, OidcIssuer, Settings
from domain.store.connection import Store
from tests.api.auth.issuer import AUDIENCE, RSA_KEY, Issuer, opened_issuer
from tests.api.auth.test_tokens import _part
from tests.api.shop import Shop, data, opened_shop

SIGN_IN = """
mutation($input: SignInInput!) {
  signIn(input: $input) {
    __typename
    ... on Session {
      accessToken refreshToken isNew
      member { id profile { displayName email phone locale timeZone } wallet { points { available } } }
    }
    ... on SignInRefused { code message reason }
    ... on InvalidInput { fields { path message } }
  }
}
"""
EC_KEY = ec.generate_private_key(ec.SECP256R1())
OTHER_RSA_KEY = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    async with opened_issuer() as issuer:
        yield issuer


@pytest.fixture
async def shop(store: Store, settings: Settings, issuer: Issuer) -> AsyncIterator[Shop]:
    """A shop whose members sign in with that issuer."""
    known = OidcIssuer(url=issuer.url, audiences=(AUDIENCE, "kiosk"))
    async with opened_shop(store, dataclasses.replace(settings, oidc_issuers=(known,))) as shop:
        yield shop


async def sign_in(shop: Shop, token: str, device: str | None = None) -> dict[str, Any]:
    answered: dict[str, Any] = data(await shop.ask(SIGN_IN, {"input": {"idToken": token, "device": device}}))["signIn"]
    return answered


async def refused(shop: Shop, token: str) -> str:
    """The reason; and nothing was made."""
    answered = await sign_in(shop, token)
    assert (answered["__typename"], answered["code"]) == ("SignInRefused", "SIGN_IN_REFUSED")
    assert await shop.services.store.members.count_documents({}) == 0
    assert await shop.services.store.sessions.count_documents({}) == 0
    reason: str = answered["reason"]
    return reason


async def test_a_person_becomes_a_member_on_first_sight_and_is_the_same_one_later(shop: Shop, issuer: Issuer) -> None:
    first = await sign_in(shop, issuer.token(name="Ana Novak", locale="sl_SI", zoneinfo="Europe/Ljubljana"))
    again = await sign_in(shop, issuer.token(name="Ana Kranjc", aud="kiosk"), device="Ana's tablet")
    other = await sign_in(shop, issuer.token("bor"))
    me = data(await shop.ask("{ me { id sessions { device } } }", token=again["accessToken"]))["me"]

    assert first["isNew"] is True
    assert first["member"]["wallet"]["points"]["available"] == 100
    assert first["member"]["profile"] == {
        "displayName": "Ana Novak",
        "email": None,
        "phone": None,
        "locale": "sl-SI",
        "timeZone": "Europe/Ljubljana",
    }
    assert (again["isNew"], again["member"]) == (False, first["member"])
    assert (other["isNew"], other["member"]["id"] == first["member"]["id"]) == (True, False)
    assert me["id"] == first["member"]["id"]
    assert {each["device"] for each in me["sessions"]} == {"Ana's tablet", None}


async def test_two_phones_at_once_are_one_member(shop: Shop, issuer: Issuer) -> None:
    both = await asyncio.gather(*(sign_in(shop, issuer.token()) for _ in range(2)))

    assert len({each["member"]["id"] for each in both}) == 1
    assert sorted(each["isNew"] for each in both) == [False, True]
    assert issuer.fetched == 1


@pytest.mark.parametrize(("verified", "email"), [(True, "a@example.com"), ("true", "a@example.com"), (False, None)])
async def test_an_address_that_the_issuer_did_not_verify_is_nobodys(
    shop: Shop, issuer: Issuer, verified: object, email: str | None
) -> None:
    claims: dict[str, Any] = {"email": "a@example.com", "email_verified": verified, "phone_number": "+38640123456"}

    signed_in = await sign_in(shop, issuer.token(**claims))

    assert signed_in["member"]["profile"]["email"] == email
    assert signed_in["member"]["profile"]["phone"] is None


async def test_what_a_profile_cannot_hold_is_left_out(shop: Shop, issuer: Issuer) -> None:
    claims: dict[str, Any] = {
        "name": 5,
        "locale": "xx-nowhere",
        "zoneinfo": "Mars/Base",
        "email": "none",
        "email_verified": True,
    }

    signed_in = await sign_in(shop, issuer.token(**claims))

    assert signed_in["member"]["profile"] == {
        "displayName": None,
        "email": None,
        "phone": None,
        "locale": "en",
        "timeZone": "America/New_York",
    }


async def test_es256_is_taken_and_a_token_without_a_kid_is_of_the_only_key(shop: Shop, issuer: Issuer) -> None:
    issuer.published = {"ec-1": EC_KEY, "rsa-1": RSA_KEY}

    by_curve = await sign_in(shop, issuer.token(kid="ec-1"))
    by_only_key = await sign_in(shop, issuer.token(kid=None, key=EC_KEY))

    assert by_curve["member"]["id"] == by_only_key["member"]["id"]


def hs256_with_the_public_key(issuer: Issuer) -> str:
    pem = RSA_KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    head, body = _part(b'{"alg": "HS256", "typ": "JWT", "kid": "rsa-1"}'), issuer.token().encode().split(b".")[1]
    return b".".join((head, body, _part(hmac.digest(pem, head + b"." + body, "sha256")))).decode()


def ago(seconds: int) -> int:
    return int(time.time()) - seconds


WRONG: dict[str, tuple[str, Callable[[Issuer], str]]] = {
    "garbage": ("MALFORMED", lambda _: "garbage"),
    "empty": ("MALFORMED", lambda _: ""),
    "too long": ("MALFORMED", lambda issuer: issuer.token(name="x" * 20_000)),
    "no issuer": ("MALFORMED", lambda issuer: issuer.token(without="iss")),
    "an access token": ("MALFORMED", lambda issuer: issuer.token(headers={"typ": "at+jwt"})),
    "another issuer": ("ISSUER_UNKNOWN", lambda issuer: issuer.token(iss="https://other.example")),
    "a slash more": ("ISSUER_UNKNOWN", lambda issuer: issuer.token(iss=issuer.url + "/")),
    "another audience": ("AUDIENCE_WRONG", lambda issuer: issuer.token(aud="another-app")),
    "one of ours among others": ("AUDIENCE_WRONG", lambda issuer: issuer.token(aud=[AUDIENCE, "another-app"])),
    "no audience": ("INVALID", lambda issuer: issuer.token(without="aud")),
    "expired": ("EXPIRED", lambda issuer: issuer.token(iat=ago(400), exp=ago(61))),
    "no end": ("INVALID", lambda issuer: issuer.token(without="exp")),
    "an end out of this world": ("INVALID", lambda issuer: issuer.token(exp=float("inf"))),
    "not yet": ("NOT_YET_VALID", lambda issuer: issuer.token(nbf=ago(-120))),
    "issued tomorrow": ("NOT_YET_VALID", lambda issuer: issuer.token(iat=ago(-86_400), exp=ago(-90_000))),
    "no sub": ("INVALID", lambda issuer: issuer.token(without="sub")),
    "an empty sub": ("INVALID", lambda issuer: issuer.token("")),
    "a long sub": ("INVALID", lambda issuer: issuer.token("x" * 256)),
    "alg none": ("INVALID", lambda issuer: issuer.token(key="", algorithm="none")),
    "HS256 with the public key": ("INVALID", hs256_with_the_public_key),
    "RS512": ("INVALID", lambda issuer: issuer.token(key=RSA_KEY, algorithm="RS512")),
    "another key": ("INVALID", lambda issuer: issuer.token(key=OTHER_RSA_KEY)),
    "another kind of key": ("KEY_UNKNOWN", lambda issuer: issuer.token(key=EC_KEY)),
    "an unknown kid": ("KEY_UNKNOWN", lambda issuer: issuer.token(kid="x", key=RSA_KEY)),
    "what must be understood": ("MALFORMED", lambda issuer: issuer.token(headers={"crit": ["x"], "x": 1})),
}


@pytest.mark.parametrize("name", WRONG)
async def test_a_token_that_proves_nobody_makes_nobody(shop: Shop, issuer: Issuer, name: str) -> None:
    reason, made = WRONG[name]

    assert await refused(shop, made(issuer)) == reason


async def test_a_device_with_a_long_name_is_an_input_that_cannot_be_taken(shop: Shop, issuer: Issuer) -> None:
    answered = await sign_in(shop, issuer.token(), device="x" * 101)

    assert [each["path"] for each in answered["fields"]] == ["device"]
    assert await shop.services.store.members.count_documents({}) == 0


async def test_a_new_key_is_found_at_once_and_a_gone_one_is_gone(shop: Shop, issuer: Issuer) -> None:
    await sign_in(shop, issuer.token())
    old = issuer.token()
    issuer.published = {"rsa-2": OTHER_RSA_KEY}

    rotated = await sign_in(shop, issuer.token(kid="rsa-2"))

    assert rotated["isNew"] is False
    assert (await sign_in(shop, old))["reason"] == "KEY_UNKNOWN"
    assert issuer.fetched == 2


async def test_made_up_kids_do_not_flood_the_issuer(shop: Shop, issuer: Issuer) -> None:
    await sign_in(shop, issuer.token())

    for number in range(20):
        await sign_in(shop, issuer.token(kid=f"made-up-{number}", key=RSA_KEY))

    assert issuer.fetched == 2


async def test_keys_outlive_an_issuer_that_is_away_for_a_while(shop: Shop, issuer: Issuer) -> None:
    await sign_in(shop, issuer.token())
    issuer.fails = True
    known = shop.services.identities._issuers[issuer.url]

    known._read_at -= oidc.FRESH_SECONDS
    known._tried_at -= oidc.FRESH_SECONDS
    away_for_an_hour = await sign_in(shop, issuer.token())
    known._read_at -= oidc.STALE_SECONDS
    away_for_a_day = await sign_in(shop, issuer.token())

    assert away_for_an_hour["__typename"] == "Session"
    assert away_for_a_day["reason"] == "ISSUER_UNAVAILABLE"


async def test_an_issuer_that_says_it_is_another_one_is_not_believed(shop: Shop, issuer: Issuer) -> None:
    issuer.names_itself = "https://other.example"

    assert await refused(shop, issuer.token()) == "ISSUER_UNAVAILABLE"


@pytest.mark.parametrize(
    "more", [{"jwks_uri": None}, {"jwks_uri": "file:///etc/passwd"}, {"jwks_uri": "http://[", "x": 1}]
)
async def test_keys_that_cannot_be_had_are_the_issuers_fault(shop: Shop, issuer: Issuer, more: dict[str, Any]) -> None:
    issuer.more = more

    assert await refused(shop, issuer.token()) == "ISSUER_UNAVAILABLE"


async def test_a_weak_key_is_none(shop: Shop, issuer: Issuer) -> None:
    weak = rsa.generate_private_key(public_exponent=65_537, key_size=1_024)
    issuer.published = {"rsa-1": weak}

    assert await refused(shop, issuer.token(key=RSA_KEY)) == "KEY_UNKNOWN"


def emulated(project: str = "demo-wallet", **changes: Any) -> str:
    """A token as Firebase's emulator makes them."""
    sound = {
        "iss": f"https://securetoken.google.com/{project}",
        "aud": project,
        "sub": "ana",
        "iat": ago(1),
        "exp": ago(-300),
        "phone_number": "+38640123456",
        "firebase": {"sign_in_provider": "phone"},
    }
    return jwt.encode(sound | changes, "", algorithm="none")


async def test_a_sandbox_takes_the_tokens_of_firebases_emulator(shop: Shop) -> None:
    first, again = await sign_in(shop, emulated()), await sign_in(shop, emulated())

    assert (first["isNew"], again["isNew"]) == (True, False)
    assert first["member"]["profile"]["phone"] == "+38640123456"
    assert first["member"]["id"] == again["member"]["id"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"aud": "another"}, "AUDIENCE_WRONG"),
        ({"exp": 1}, "EXPIRED"),
        ({"iss": "https://securetoken.google.com/another", "aud": "demo-wallet"}, "AUDIENCE_WRONG"),
        ({"sub": ""}, "INVALID"),
    ],
)
async def test_but_not_every_token_of_it(shop: Shop, changes: dict[str, Any], reason: str) -> None:
    assert await refused(shop, emulated(**changes)) == reason


async def test_production_takes_no_token_without_a_signature(settings: Settings) -> None:
    production = dataclasses.replace(settings, mode=Mode.PRODUCTION)

    with pytest.raises(IdentityRefused, match="ISSUER_UNKNOWN"):
        await IdentityTokens(production).identity(emulated())


async def test_a_token_of_firebase_auth_is_verified_by_its_own_library(
    settings: Settings, issuer: Issuer, tmp_path: Path
) -> None:
    """Google's keys are those of the issuer beside the test; that is all that is not as it would be."""
    project = dataclasses.replace(
        settings, mode=Mode.PRODUCTION, firebase_project="my-shop", firebase_credentials=service_account(tmp_path)
    )
    identities = IdentityTokens(project)
    app = await identities._app()
    assert app is not None
    auth._get_client(app._app)._token_verifier.id_token_verifier.cert_url = f"{issuer.url}/certificates"
    claims: dict[str, Any] = {"iss": "https://securetoken.google.com/my-shop", "aud": "my-shop", "name": "Ana"}

    identity = await identities.identity(issuer.token(**claims))
    reasons = []
    for wrong in (
        issuer.token(**claims, key=OTHER_RSA_KEY),
        issuer.token(**(claims | {"aud": "another-shop"})),
        issuer.token(**(claims | {"iss": "https://securetoken.google.com/another-shop"})),
        issuer.token(**claims, exp=ago(100)),
        emulated("my-shop"),
    ):
        with pytest.raises(IdentityRefused) as refused:
            await identities.identity(wrong)
        reasons.append(refused.value.reason.value)
    issuer.fails = True
    auth._get_client(app._app)._token_verifier.id_token_verifier.cert_url = f"{issuer.url}/keys"
    with pytest.raises(IdentityRefused, match="ISSUER_UNAVAILABLE"):
        await identities.identity(issuer.token(**claims))
    await identities.close()

    assert (identity.issuer, identity.subject) == ("https://securetoken.google.com/my-shop", "ana")
    assert identity.profile.display_name == "Ana"
    assert reasons == ["INVALID", "AUDIENCE_WRONG", "ISSUER_UNKNOWN", "EXPIRED", "INVALID"]


def service_account(folder: Path) -> Path:
    """A file of credentials with a key of nobody's."""
    pem = RSA_KEY.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = folder / "credentials.json"
    file.write_text(
        json.dumps(
            {
                "type": "service_account",
                "project_id": "my-shop",
                "private_key": pem.decode(),
                "client_email": "wallet@my-shop.iam.gserviceaccount.com",
                "token_uri": "https://oauth2.googleapis.com/token",
            }
        )
    )
    return file
