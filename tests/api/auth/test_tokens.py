"""Which tokens hold and which do not, through /graphql; and the keys behind them."""

import asyncio
import base64
import dataclasses
import hmac
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from api.access import Anonymous, MemberCaller, PartnerCaller, StaffCaller
from api.auth.tokens import ScopeUnknown, open_tokens
from domain.partners.denial import deny
from domain.partners.signing_key import KeysLocked, SigningKey
from domain.settings import Settings
from domain.store.connection import Store
from tests.api.conftest import DONE, Edge, codes
from tests.api.shop import START

ME = "{ me { id } }"
GRAPHQL = "application/graphql-response+json"
DAY = timedelta(days=1)


def signing_key(edge: Edge) -> SigningKey:
    return edge.services.tokens._keyring.keys[0]


def forged(
    edge: Edge,
    claims: dict[str, Any] | None = None,
    *,
    headers: dict[str, Any] | None = None,
    key: Any = None,
    algorithm: str = "ES256",
    without: str = "",
) -> str:
    """A member's token as the server would make it, but for what is given."""
    now = int(edge.clock.now().timestamp())
    issuer = edge.services.settings.public_url
    sound = {
        "iss": issuer,
        "aud": issuer,
        "sub": "m1",
        "client_id": "member-app",
        "kind": "member",
        "iat": now,
        "exp": now + 600,
        "jti": "j1",
    }
    payload = {name: value for name, value in (sound | (claims or {})).items() if name != without}
    own = signing_key(edge)
    header = {"typ": "at+jwt", "kid": own.kid} | (headers or {})
    return jwt.encode(
        payload,
        own.private if key is None else key,
        algorithm=algorithm,
        headers={name: value for name, value in header.items() if value is not None or name == "typ"},
    )


def public_pem(edge: Edge) -> bytes:
    return signing_key(edge).public.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def hs256_with_the_public_key(edge: Edge) -> str:
    """By hand, for the library refuses to sign like this."""
    head, body, _ = forged(edge).encode().split(b".")
    head = _part(json.dumps({"alg": "HS256", "typ": "at+jwt", "kid": signing_key(edge).kid}).encode())
    signature = hmac.digest(public_pem(edge), head + b"." + body, "sha256")
    return (head + b"." + body + b"." + _part(signature)).decode()


def _part(content: bytes) -> bytes:
    return base64.urlsafe_b64encode(content).rstrip(b"=")


def alg_none(edge: Edge) -> str:
    return forged(edge, key="", algorithm="none")


FORGERIES: dict[str, Callable[[Edge], str]] = {
    "alg none": alg_none,
    "alg none, signature kept": lambda edge: alg_none(edge) + forged(edge).split(".")[2],
    "HS256 with the public key": hs256_with_the_public_key,
    "another key under the right kid": lambda edge: forged(edge, key=ec.generate_private_key(ec.SECP256R1())),
    "typ JWT": lambda edge: forged(edge, headers={"typ": "JWT"}),
    "no typ": lambda edge: forged(edge, headers={"typ": None}),
    "unknown kid": lambda edge: forged(edge, headers={"kid": "another"}),
    "no kid": lambda edge: forged(edge, headers={"kid": None}),
    "another audience": lambda edge: forged(edge, {"aud": "https://other.example"}),
    "another issuer": lambda edge: forged(edge, {"iss": "https://other.example"}),
    "expired": lambda edge: forged(edge, _times(edge, -601, -1)),
    "expires now": lambda edge: forged(edge, _times(edge, -600, 0)),
    "not yet valid": lambda edge: forged(edge, _times(edge, 30, 300)),
    "lives too long": lambda edge: forged(edge, _times(edge, 0, 3_600)),
    "exp as text": lambda edge: forged(edge, {"exp": "9999999999"}),
    "exp without end": lambda edge: forged(edge, {"exp": float("inf")}),
    "no exp": lambda edge: forged(edge, without="exp"),
    "no iat": lambda edge: forged(edge, without="iat"),
    "no sub": lambda edge: forged(edge, without="sub"),
    "no jti": lambda edge: forged(edge, without="jti"),
    "an unknown kind": lambda edge: forged(edge, {"kind": "admin"}),
    "kind as a list": lambda edge: forged(edge, {"kind": ["member"]}),
    "sub as a number": lambda edge: forged(edge, {"sub": 1}),
    "sub empty": lambda edge: forged(edge, {"sub": ""}),
    "a changed letter": lambda edge: forged(edge)[:-5] + "AAAAA",
    "garbage": lambda _: "garbage",
    "dots": lambda _: "..",
    "too long": lambda _: "a." * 3_000,
    "empty": lambda _: "",
    "not ASCII": lambda _: "\u00e9\u00e9",
}


def _times(edge: Edge, issued: int, expires: int) -> dict[str, Any]:
    now = int(edge.clock.now().timestamp())
    return {"iat": now + issued, "exp": now + expires}


@pytest.mark.parametrize("name", FORGERIES)
async def test_a_token_that_does_not_hold_is_refused_like_every_other(edge: Edge, name: str) -> None:
    token = FORGERIES[name](edge)

    refused = await edge.client.post(
        "/graphql",
        json={"query": ME},
        headers={
            b"Accept": GRAPHQL.encode(),
            b"Authorization": f"Bearer {token}".encode(),
            b"X-Request-Id": b"request-1",
        },
    )
    anonymous = await edge.ask(ME, accept=GRAPHQL, headers={"X-Request-Id": "request-1"})

    assert refused.status_code == 401
    assert refused.headers["www-authenticate"] == 'Bearer realm="wallet", error="invalid_token"'
    assert anonymous.headers["www-authenticate"] == 'Bearer realm="wallet"'
    assert codes(refused) == ["UNAUTHENTICATED"]
    assert refused.content == anonymous.content
    assert DONE.recorded == []


async def test_the_forgeries_start_from_a_token_that_holds(edge: Edge) -> None:
    response = await edge.ask(ME, token=forged(edge))

    assert response.json()["data"] == {"me": {"id": "m1"}}


@pytest.mark.parametrize("header", ["Basic bTE6cHc=", "Bearer", "bearer  ", "Token abc"])
async def test_another_scheme_is_no_token(edge: Edge, header: str) -> None:
    response = await edge.ask(ME, headers={"Authorization": header})

    assert codes(response) == ["UNAUTHENTICATED"]


async def test_a_public_field_is_open_to_who_brings_an_old_token(edge: Edge) -> None:
    response = await edge.ask("{ programme { name } }", token="garbage")

    assert response.json()["data"] == {"programme": {"name": "Café"}}


async def test_a_token_holds_for_ten_minutes_of_the_sandboxs_clock(edge: Edge) -> None:
    issued = await edge.services.tokens.issue_member_token("m1", edge.clock.now())

    await edge.pass_time(timedelta(minutes=9, seconds=50))
    before = await edge.ask(ME, token=issued.text)
    await edge.pass_time(timedelta(seconds=11))
    after = await edge.ask(ME, token=issued.text)

    assert before.json()["data"] == {"me": {"id": "m1"}}
    assert codes(after) == ["UNAUTHENTICATED"]


async def test_each_kind_of_token_speaks_for_its_caller(edge: Edge) -> None:
    tokens, now = edge.services.tokens, edge.clock.now()
    await edge.partner_token()

    member = await tokens.issue_member_token("m1", now, session="s1")
    partner = await tokens.issue_partner_token("pa_till", ["wallet:read", "activity:write"], now)
    delegated = await tokens.issue_partner_token("pa_till", ["wallet:read"], now, member_id="m1")
    staff = await tokens.issue_staff_token("ana", ["staff:adjust"], now)

    callers = [await tokens.caller_of(f"Bearer {each.text}", now) for each in (member, partner, delegated, staff)]
    assert callers == [
        MemberCaller(member_id="m1", session="s1"),
        PartnerCaller(client_id="pa_till", scopes=frozenset({"wallet:read", "activity:write"})),
        PartnerCaller(client_id="pa_till", scopes=frozenset({"wallet:read"}), member_id="m1"),
        StaffCaller(subject="ana", scopes=frozenset({"staff:adjust"})),
    ]
    assert [caller.actor for caller in callers] == [
        "member:m1",
        "partner:pa_till",
        "partner:pa_till",
        "staff:ana",
    ]
    assert await tokens.caller_of(None, now) == Anonymous()


async def test_a_token_is_as_rfc_9068_wants_it(edge: Edge) -> None:
    token = await edge.partner_token("wallet:read", "activity:write")

    header, claims = jwt.get_unverified_header(token), jwt.decode(token, options={"verify_signature": False})

    keys = (await edge.client.get("/.well-known/jwks.json")).json()["keys"]
    assert header == {"alg": "ES256", "typ": "at+jwt", "kid": keys[0]["kid"]}
    assert claims["exp"] - claims["iat"] == 600
    assert claims["iss"] == claims["aud"] == "http://localhost:8000"
    assert (claims["sub"], claims["client_id"]) == ("pa_till", "pa_till")
    assert claims["scope"] == "activity:write wallet:read"
    assert jwt.PyJWK(keys[0]).key.public_numbers() == signing_key(edge).public.public_numbers()


async def test_a_staff_token_has_staff_scopes_only(edge: Edge) -> None:
    with pytest.raises(ScopeUnknown, match="wallet:read"):
        await edge.services.tokens.issue_staff_token("ana", ["wallet:read"], START)


async def test_a_disabled_partners_tokens_stop(edge: Edge, store: Store, settings: Settings) -> None:
    token = await edge.partner_token("members:read")
    await store.partners.update_one({"_id": "pa_till"}, {"$set": {"disabled": True}})

    caller = await edge.services.tokens.caller_of(f"Bearer {token}", edge.clock.now())

    assert caller == Anonymous(token_refused=True)


async def test_what_ended_before_its_time_is_refused_in_the_same_shape(edge: Edge, store: Store) -> None:
    tokens, now = edge.services.tokens, edge.clock.now()
    of_disabled = await edge.partner_token("members:read")
    await store.partners.update_one({"_id": "pa_till"}, {"$set": {"disabled": True}})
    of_session = (await tokens.issue_member_token("m1", now, session="s1")).text
    of_grant = (await tokens.issue_partner_token("pa_app", ["members:read"], now, member_id="m1", grant="g1")).text
    of_member = (await tokens.issue_member_token("m2", now)).text
    await store.partners.insert_one({"_id": "pa_app", "disabled": False})
    for name in ("session|s1", "grant|g1", "member|m2"):
        await deny(store, name, now=now)
    headers = {"X-Request-Id": "request-1"}

    anonymous = await edge.ask(ME, accept=GRAPHQL, headers=headers)
    refused = [
        await edge.ask(ME, token=token, accept=GRAPHQL, headers=headers)
        for token in (of_disabled, of_session, of_grant, of_member)
    ]

    assert [each.status_code for each in refused] == [401] * 4
    assert {each.content for each in refused} == {anonymous.content}


async def test_a_denial_ends_with_the_tokens_that_it_is_for(edge: Edge, store: Store) -> None:
    now = edge.clock.now()
    await deny(store, "member|m1", now=now)
    tokens = await open_tokens(store, edge.services.settings, now)
    old = (await tokens.issue_member_token("m1", now)).text
    later = now + timedelta(minutes=20)
    new = (await tokens.issue_member_token("m1", later)).text

    assert await tokens.caller_of(f"Bearer {old}", now) == Anonymous(token_refused=True)
    tokens.forget_denials()
    assert await tokens.caller_of(f"Bearer {new}", later) == MemberCaller(member_id="m1")


async def test_processes_that_start_at_once_share_one_key(store: Store, settings: Settings) -> None:
    opened = await asyncio.gather(*(open_tokens(store, settings, START) for _ in range(8)))

    kids = {(await each.jwks(START))["keys"][0]["kid"] for each in opened}
    assert len(kids) == 1
    assert await store.signing_keys.count_documents({}) == 1


async def test_the_next_key_is_published_before_it_signs_and_the_old_one_outlives_its_tokens(
    edge: Edge,
) -> None:
    tokens = edge.services.tokens
    start = signing_key(edge).signs_from

    async def kids(after: timedelta) -> tuple[list[str], str]:
        published = [key["kid"] for key in (await tokens.jwks(start + after))["keys"]]
        issued = await tokens.issue_member_token("m1", start + after)
        return published, jwt.get_unverified_header(issued.text)["kid"]

    (first,), signing = await kids(29 * DAY)
    assert signing == first

    (first, second), signing = await kids(30 * DAY - timedelta(hours=1))
    assert signing == first

    last = await tokens.issue_member_token("m1", start + 30 * DAY - timedelta(minutes=1))
    published, signing = await kids(30 * DAY + timedelta(minutes=1))
    assert published == [first, second]
    assert signing == second
    holds_at = start + 30 * DAY + timedelta(minutes=8)
    assert await tokens.caller_of(f"Bearer {last.text}", holds_at) == MemberCaller(member_id="m1")

    published, signing = await kids(30 * DAY + timedelta(minutes=20))
    assert published == [second]


async def test_a_clock_that_jumps_years_leaves_no_moment_without_a_key(edge: Edge) -> None:
    await edge.pass_time(3 * 365 * DAY)
    after = await edge.ask(ME, token=await edge.member_token())
    await edge.pass_time(timedelta(hours=2))
    later = await edge.ask(ME, token=await edge.member_token())

    assert after.json()["data"] == later.json()["data"] == {"me": {"id": "m1"}}


async def test_a_key_that_another_process_made_is_found(edge: Edge, store: Store, settings: Settings) -> None:
    now = edge.clock.now() + 30 * DAY - timedelta(minutes=30)
    other = await open_tokens(store, settings, now)
    issued = await other.issue_member_token("m1", now + timedelta(minutes=40))

    caller = await edge.services.tokens.caller_of(f"Bearer {issued.text}", now + timedelta(minutes=40))

    assert caller == MemberCaller(member_id="m1")


async def test_a_key_of_another_process_is_found_however_fast_a_sandboxs_clock_moves(
    edge: Edge, store: Store, settings: Settings
) -> None:
    other, start = await open_tokens(store, settings, edge.clock.now()), edge.clock.now()

    callers = []
    for month in range(1, 7):
        now = start + month * 31 * DAY
        token = (await other.issue_member_token("m1", now)).text
        callers.append(await edge.services.tokens.caller_of(f"Bearer {token}", now) if month % 2 else None)

    assert callers == [MemberCaller(member_id="m1"), None] * 3


async def test_unknown_kids_make_no_more_than_one_look_up_in_a_while(edge: Edge) -> None:
    tokens = edge.services.tokens
    tokens._reloaded_at -= 60
    forgery = forged(edge, headers={"kid": "another"})
    seen = tokens._keyring

    await tokens.caller_of(f"Bearer {forgery}", edge.clock.now())
    once = tokens._keyring
    await tokens.caller_of(f"Bearer {forgery}", edge.clock.now())

    assert once is not seen
    assert tokens._keyring is once


async def test_private_keys_are_not_readable_in_the_database(edge: Edge, store: Store) -> None:
    document = await store.signing_keys.find_one({})

    assert document is not None
    der = signing_key(edge).private.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    assert der not in bytes(document["private"])
    assert len(document["private"]) == len(der) + 28


async def test_keys_of_another_secret_are_named_at_the_start(edge: Edge, store: Store, settings: Settings) -> None:
    other = dataclasses.replace(settings, secret="another-secret-that-is-long-enough-for-it")

    with pytest.raises(KeysLocked, match="WALLET_SECRET"):
        await open_tokens(store, other, START)
