"""An OpenID Connect issuer that really runs: a discovery document, keys that can be changed, and tokens."""

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
RSA_KEY = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
AUDIENCE = "wallet-app"


@dataclass(kw_only=True)
class Issuer:
    """`published` are the keys by their ids; `fetched` counts how often they were asked for; `fails` answers 500."""

    url: str
    published: dict[str, PrivateKey] = field(default_factory=lambda: {"rsa-1": RSA_KEY})
    names_itself: str | None = None
    fetched: int = 0
    fails: bool = False
    more: dict[str, Any] = field(default_factory=dict)

    def token(
        self,
        subject: str = "ana",
        *,
        kid: str | None = "rsa-1",
        key: Any = None,
        algorithm: str | None = None,
        headers: dict[str, Any] | None = None,
        without: str = "",
        **claims: Any,
    ) -> str:
        """An identity token of this issuer, sound but for what is given."""
        now = int(time.time())
        sound = {"iss": self.url, "aud": AUDIENCE, "sub": subject, "iat": now, "exp": now + 300}
        payload = {name: value for name, value in (sound | claims).items() if name != without}
        signs_with = self.published[kid] if key is None and kid is not None else key
        named = {} if kid is None else {"kid": kid}
        return jwt.encode(
            payload,
            signs_with,
            algorithm=algorithm or ("RS256" if isinstance(signs_with, rsa.RSAPrivateKey) else "ES256"),
            headers=named | (headers or {}),
        )

    def jwks(self) -> dict[str, Any]:
        return {"keys": [{"kid": kid, "use": "sig", **public_jwk(key)} for kid, key in self.published.items()]}


def public_jwk(key: PrivateKey) -> dict[str, Any]:
    made = (
        RSAAlgorithm.to_jwk(key.public_key())
        if isinstance(key, rsa.RSAPrivateKey)
        else ECAlgorithm.to_jwk(key.public_key())
    )
    read: dict[str, Any] = json.loads(made)
    return read


def public_pem(key: PrivateKey) -> str:
    return (
        key.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )


@asynccontextmanager
async def opened_issuer() -> AsyncIterator[Issuer]:
    """An issuer on a port of its own."""
    issuer = Issuer(url="")

    async def discovery(_request: web.Request) -> web.Response:
        named = issuer.names_itself or issuer.url
        return web.json_response({"issuer": named, "jwks_uri": f"{issuer.url}/keys", **issuer.more})

    async def keys(_request: web.Request) -> web.Response:
        issuer.fetched += 1
        return web.Response(status=500) if issuer.fails else web.json_response(issuer.jwks())

    async def certificates(_request: web.Request) -> web.Response:
        """As Google publishes the keys of Firebase Auth: PEM by kid."""
        return web.json_response({kid: public_pem(key) for kid, key in issuer.published.items()})

    app = web.Application()
    app.router.add_get("/certificates", certificates)
    app.router.add_get("/.well-known/openid-configuration", discovery)
    app.router.add_get("/keys", keys)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    issuer.url = f"http://{host}:{port}"
    yield issuer
    await runner.cleanup()
