"""Public keys as JWKs (RFC 7517), for verifying others' signatures: which are accepted, and how they are read."""

from collections.abc import Mapping
from typing import Final

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

ALGORITHMS: Final = ("RS256", "ES256")
LEAST_RSA_BITS: Final = 2_048
PublicKey = RSAPublicKey | EllipticCurvePublicKey
_MEMBERS: Final = {"RSA": ("kty", "n", "e"), "EC": ("kty", "crv", "x", "y")}


def public_key(jwk: object) -> PublicKey | None:
    """The key of a JWK if it is one for signatures by RS256 or ES256, long enough; None for every other."""
    if not isinstance(jwk, Mapping) or jwk.get("use", "sig") != "sig" or not isinstance(jwk.get("kid", ""), str):
        return None
    algorithm = {"RSA": "RS256", "EC": "ES256"}.get(str(jwk.get("kty")))
    if algorithm is None or jwk.get("alg", algorithm) != algorithm:
        return None
    try:
        key = jwt.PyJWK({name: jwk[name] for name in _MEMBERS[str(jwk["kty"])]}, algorithm=algorithm).key
    except (jwt.PyJWTError, KeyError, ValueError, TypeError):
        return None
    if isinstance(key, RSAPublicKey) and key.key_size >= LEAST_RSA_BITS:
        return key
    return key if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1) else None


def public_half(jwk: Mapping[str, object]) -> dict[str, str]:
    """What is kept of a JWK that `public_key` takes: its public numbers and its id, whatever else came with it."""
    names = (*_MEMBERS[str(jwk["kty"])], *(("kid",) if "kid" in jwk else ()))
    return {name: str(jwk[name]) for name in names}


def algorithm_of(key: PublicKey) -> str:
    """The one algorithm that the key verifies."""
    return "RS256" if isinstance(key, RSAPublicKey) else "ES256"
